"""Trains a classifier, publishes it with its metrics, and promotes it if it is better than what is in production: python trainer.py [C]

C is the regularisation of the model. The registry is where MODEL_REGISTRY_ENDPOINT says. Needs scikit-learn.
"""

import pickle
import sys
import tempfile
from pathlib import Path

import sklearn
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelregistry import Registry, errors

MODEL = "breast-cancer"


def main() -> None:
    """Trains, publishes, promotes."""
    params = {"C": float(sys.argv[1]) if len(sys.argv) > 1 else 1.0, "max_iter": 1000}
    data = load_breast_cancer()
    train, test, train_target, test_target = train_test_split(data.data, data.target, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(**params)).fit(train, train_target)
    likely = model.predict_proba(test)[:, 1]
    metrics = {"auc": roc_auc_score(test_target, likely), "log_loss": log_loss(test_target, likely)}
    with Registry.connect() as registry, tempfile.TemporaryDirectory() as folder:
        Path(folder, "model.pkl").write_bytes(pickle.dumps(model))
        registry.create_model(MODEL, model_type="classification", exist_ok=True)
        version = registry.publish(
            folder,
            MODEL,
            metrics={"test": metrics},
            params=params,
            framework="sklearn",
            framework_version=sklearn.__version__,
            features=[{"name": name, "dtype": "float64"} for name in data.feature_names],
        )
        try:
            before = registry.version(f"{MODEL}@production").metrics["test"].values["log_loss"]
        except errors.NotFound:
            before = float("inf")
        better = metrics["log_loss"] < before
        if better:
            registry.promote(version.name, comment=f"log loss {metrics['log_loss']:.4f}, was {before:.4f}")
        print(f"{version.name}: log loss {metrics['log_loss']:.4f}, {'promoted' if better else 'not promoted'}")


main()
