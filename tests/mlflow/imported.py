"""The registry of an MLflow server, taken over: imported.py REGISTRY MLFLOW REGISTRYCTL. REGISTRY is empty."""

import json
import subprocess
import sys
import time
import urllib.request

import mlflow
import numpy
from mlflow import MlflowClient
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

REGISTRY, MLFLOW, REGISTRYCTL = sys.argv[1:]
NAMESPACE = "taken-over"
OURS = f"{REGISTRY}/namespaces/{NAMESPACE}"
mlflow.set_tracking_uri(MLFLOW)
mlflow.set_registry_uri(MLFLOW)
theirs = MlflowClient()


def command(*arguments):
    return [REGISTRYCTL, "--endpoint", REGISTRY, "--wait", "0s", "--namespace", NAMESPACE, "--json", "import", "mlflow", MLFLOW, *arguments]


def imported(*arguments):
    done = subprocess.run(command(*arguments), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def get(path):
    with urllib.request.urlopen(REGISTRY + path) as answer:
        return json.load(answer)


def done(what):
    print("ok", what, flush=True)


x, y = load_breast_cancer(return_X_y=True)
NAME = "Tumour model, 1st"
mlflow.set_experiment("imported")
models = []
for c in (0.01, 0.1, 1.0, 10.0):
    model = LogisticRegression(max_iter=5000, C=c).fit(x, y)
    models.append(model)
    with mlflow.start_run():
        mlflow.log_param("c", c)
        mlflow.log_metric("val_accuracy", model.score(x, y))
        # As before MLflow 3: the files of a run, and a version that names it.
        mlflow.sklearn.log_model(model, name="model", registered_model_name=NAME)
theirs.delete_model_version(NAME, "2")
theirs.set_registered_model_alias(NAME, "champion", "3")
theirs.set_registered_model_alias(NAME, "staging", "4")
theirs.transition_model_version_stage(NAME, "1", "Archived")
theirs.transition_model_version_stage(NAME, "3", "Production")
theirs.set_registered_model_tag(NAME, "team", "risk")
theirs.set_model_version_tag(NAME, "3", "note", "x" * 3000)
theirs.update_model_version(NAME, "3", description="the third")
theirs.create_registered_model("elsewhere", description="lies in a bucket")
theirs.create_model_version("elsewhere", "dbfs:/models/1")

subprocess.run([REGISTRYCTL, "--endpoint", REGISTRY, "namespace", "create", NAMESPACE], check=True, capture_output=True)

# Broken off somewhere, and run again.
first = subprocess.Popen(command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
versions = f"/v1/namespaces/{NAMESPACE}/models/-/versions?showDeleted=true"
while first.poll() is None and not get(versions).get("versions"):
    time.sleep(0.01)
first.kill()
first.wait()
summary = imported()
assert (summary["models"], summary["versions"], summary["references"]) == (2, 4, 1), summary
done("taken over, in two goes")

mlflow.set_registry_uri(OURS)
ours = MlflowClient()
for name in (NAME, "elsewhere"):
    before, after = theirs.get_registered_model(name), ours.get_registered_model(name)
    assert (before.tags, before.description) == (after.tags, after.description), (before, after)
    for version in theirs.search_model_versions(f"name = '{name}'"):
        same = ours.get_model_version(name, version.version)
        for what in ("description", "source", "run_id", "tags", "status"):
            assert (getattr(version, what) or "") == (getattr(same, what) or "") or what == "tags", (what, version, same)
        assert version.tags == same.tags, (version.tags, same.tags)
stages = {v.version: v.current_stage for v in ours.search_model_versions(f"name = '{NAME}'")}
assert stages == {"1": "Archived", "3": "Production", "4": "Staging"}, stages
assert ours.get_registered_model(NAME).aliases == {"champion": "3", "production": "3", "staging": "4"}
assert ours.get_model_version_download_uri("elsewhere", "1") == "dbfs:/models/1"
for uri, model in ((f"models:/{NAME}@champion", models[2]), (f"models:/{NAME}/4", models[3]), (f"models:/{NAME}/1", models[0])):
    assert (numpy.asarray(mlflow.pyfunc.load_model(uri).predict(x)) == model.predict(x)).all(), uri
third = get(f"/v1/namespaces/{NAMESPACE}/models/mlflow.Tumour+20model+2C+201st/versions/3")
assert third["framework"] == "sklearn" and third["versionId"] == "mlflow-3" and third["artifactCount"] != "0", third
done("the same numbers, tags, stages and aliases, and models that predict the same")

events = lambda: get(f"/v1/events?parent=namespaces/{NAMESPACE}&pageSize=1&orderBy=revision%20desc")["events"][0]["revision"]
before = events()
again = imported()
assert events() == before, "the second import changed something"
assert not any(again[what] for what in ("modelsCreated", "versionsCreated", "aliasesSet", "transitions", "references")), again
theirs.copy_model_version(f"models:/{NAME}/1", NAME)
new = imported(NAME)
assert new["versionsCreated"] == 1 and ours.get_model_version(NAME, "5").status == "READY", new
done("again: nothing; later: what is new")
