"""Writes the rows behind the models of ../legacy-registry: python generate.py. Needs scikit-learn and pandas.

They are data sets that ship inside scikit-learn, in the splits that the models were trained and measured with. `target` is what is to be told.
"""

from pathlib import Path

from sklearn import datasets
from sklearn.model_selection import train_test_split

HERE = Path(__file__).parent

for name, load, wanted in [
    ("diabetes-progression", datasets.load_diabetes, ["train", "validation", "test"]),
    ("breast-cancer", datasets.load_breast_cancer, ["test"]),
]:
    rest, test = train_test_split(load(as_frame=True).frame, test_size=0.2, random_state=7)
    train, validation = train_test_split(rest, test_size=0.25, random_state=7)
    splits = {"train": train, "validation": validation, "test": test}
    (HERE / name).mkdir(exist_ok=True)
    for split in wanted:
        splits[split].to_csv(HERE / name / f"{split}.csv", index=False)
