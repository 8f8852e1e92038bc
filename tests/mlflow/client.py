"""MLflow's own client, as it comes, with this registry and an MLflow tracking server: client.py REGISTRY TRACKING REGISTRYCTL.

Every step is one that its users do. What it prints is what was done; a step that comes out otherwise raises.
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import urllib.parse
import urllib.request
import warnings

import mlflow
import numpy
import onnx
from mlflow import MlflowClient
from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent, WebhookStatus
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

REGISTRY, TRACKING, REGISTRYCTL = sys.argv[1:]
mlflow.set_tracking_uri(TRACKING)
mlflow.set_registry_uri(REGISTRY)
client = MlflowClient()
warnings.filterwarnings("ignore")


def registryctl(*arguments):
    """What the registry's own command prints."""
    command = [REGISTRYCTL, "--endpoint", REGISTRY, "--wait", "0s", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def get(path):
    with urllib.request.urlopen(REGISTRY + path) as answer:
        return json.load(answer)


def refused(code, text, call, *arguments, **named):
    """That a call is refused like this."""
    try:
        call(*arguments, **named)
    except MlflowException as error:
        assert error.error_code == code and text in str(error), f"{error.error_code}: {error}"
    else:
        raise AssertionError(f"{call.__name__}{arguments} was not refused")


def done(what):
    print("ok", what, flush=True)


x, y = load_breast_cancer(return_X_y=True)
x = x.astype(numpy.float32)
model = LogisticRegression(max_iter=5000).fit(x, y)
expected = model.predict(x[:20])


def check(uri):
    """That the model at a URI is the one that was trained."""
    found = mlflow.pyfunc.load_model(uri).predict(x[:20])
    found = found["label"] if isinstance(found, dict) else found
    assert (numpy.asarray(found) == expected).all(), uri


mlflow.set_experiment("models")
BLANK = "Churn Model 2"
with mlflow.start_run() as run:
    mlflow.log_param("c", 1.0)
    mlflow.sklearn.log_model(model, name="model", registered_model_name=BLANK, input_example=x[:2])
onnx_model = to_onnx(model, x[:1], options={"zipmap": False})
for _ in range(2):
    with mlflow.start_run():
        mlflow.onnx.log_model(onnx_model, name="model", registered_model_name="fraud")
assert [version.version for version in client.search_model_versions("name = 'fraud'")] == ["2", "1"]
first = client.get_model_version(BLANK, "1")
assert first.status == "READY" and first.current_stage == "None" and first.source.startswith("models:/m-"), first
assert get("/v1/namespaces/default/models/mlflow.Churn+20Model+202")["displayName"] == BLANK
done("a scikit-learn and an ONNX model, logged and registered")

registryctl("promote", "fraud/versions/1", "production", "--comment", "by us")
check("models:/fraud@production")
check("models:/fraud/Production")
assert client.get_model_version("fraud", "1").current_stage == "Production"
assert client.get_registered_model("fraud").aliases == {"production": "1"}
check("models:/fraud/2")
done("promoted by us, loaded by MLflow")

client.set_registered_model_alias("fraud", "production", "2")
stage = get("/v1/namespaces/default/models/fraud/versions/2")["stage"]
assert stage == "STAGE_PRODUCTION", stage
assert client.get_model_version("fraud", "1").current_stage == "Archived"
moved = client.transition_model_version_stage("fraud", "1", "Staging")
assert moved.current_stage == "Staging" and moved.aliases == ["staging"], moved
assert {v.version: v.current_stage for v in client.get_latest_versions("fraud")} == {"1": "Staging", "2": "Production"}
client.transition_model_version_stage("fraud", "1", "Production", archive_existing_versions=True)
assert client.get_model_version("fraud", "2").current_stage == "Archived"
events = registryctl("events", "--json")
assert events.count("version.stage_transitioned") >= 4, events
done("promoted by MLflow, seen by us")

for alias, version in [("champion", "1"), ("challenger", "2")]:
    client.set_registered_model_alias("fraud", alias, version)
check("models:/fraud@champion")
assert client.get_model_version_by_alias("fraud", "champion").aliases == ["champion", "production"]
assert client.get_model_version_by_alias("fraud", "latest").version == "2"
client.set_registered_model_alias(BLANK, "champion", "1")
check(f"models:/{BLANK}@champion")
client.delete_registered_model_alias("fraud", "challenger")
client.delete_registered_model_alias("fraud", "challenger")
refused("INVALID_PARAMETER_VALUE", "alias challenger not found", client.get_model_version_by_alias, "fraud", "challenger")
refused("INVALID_PARAMETER_VALUE", "reserved", client.set_registered_model_alias, "fraud", "latest", "1")
refused("INVALID_PARAMETER_VALUE", "reserved", client.set_registered_model_alias, "fraud", "v1", "1")
done("aliases")

long = "x" * 5000
client.set_registered_model_tag("fraud", "team", "risk")
client.set_registered_model_tag("fraud", "note", long)
client.set_model_version_tag("fraud", "1", "validated", "yes")
client.set_model_version_tag("fraud", "1", "note", long)
client.update_model_version("fraud", "1", description="the first")
client.update_registered_model("fraud", description="finds fraud")
found = client.get_model_version("fraud", "1")
assert found.tags == {"validated": "yes", "note": long} and found.description == "the first", found
found = client.get_registered_model("fraud")
assert found.tags == {"team": "risk", "note": long} and found.description == "finds fraud", found
client.delete_model_version_tag("fraud", "1", "note")
client.delete_registered_model_tag("fraud", "note")
client.delete_registered_model_tag("fraud", "note")
assert client.get_model_version("fraud", "1").tags == {"validated": "yes"}
done("tags and descriptions")

for at in range(25):
    client.create_registered_model(f"many {at:02}", tags={"group": "many", "even": str(at % 2 == 0)})
names = lambda found: [model.name for model in found]
assert names(client.search_registered_models("name = 'fraud'")) == ["fraud"]
assert names(client.search_registered_models("name LIKE 'fra%'")) == ["fraud"]
assert names(client.search_registered_models("tags.group = 'many' AND tags.even = 'True'", order_by=["name DESC"])) == [
    f"many {at:02}" for at in range(24, -1, -2)
]
page = client.search_registered_models("tags.group = 'many'", max_results=10)
pages = names(page)
while page.token:
    page = client.search_registered_models("tags.group = 'many'", max_results=10, page_token=page.token)
    pages += names(page)
assert pages == [f"many {at:02}" for at in range(25)], pages
assert names(mlflow.search_registered_models(filter_string="name ILIKE 'churn%'")) == [BLANK]
client.create_model_version(BLANK, first.source, run_id=run.info.run_id, tags={"from": "a run"})
found = client.search_model_versions(f"run_id = '{run.info.run_id}'")
assert [(version.name, version.version, version.tags) for version in found] == [(BLANK, "2", {"from": "a run"})]
assert [v.version for v in client.search_model_versions("name = 'fraud'", order_by=["version_number ASC"])] == ["1", "2"]
assert [v.version for v in client.search_model_versions("tags.validated = 'yes'")] == ["1"]
refused("INVALID_PARAMETER_VALUE", "Invalid clause(s) in filter string", client.search_registered_models, "name")
refused("INVALID_PARAMETER_VALUE", "Invalid attribute key", client.search_registered_models, "run_id = 'x'")
refused("INVALID_PARAMETER_VALUE", "Invalid page token", client.search_registered_models, page_token="!")
done("searches")

copied = client.copy_model_version("models:/fraud@champion", "fraud copy")
assert copied.version == "1" and copied.name == "fraud copy", copied
check("models:/fraud copy/1")
with tempfile.TemporaryDirectory() as folder:
    files = mlflow.artifacts.download_artifacts("models:/fraud/1", dst_path=folder)
    registryctl("publish", files, "native", "--create")
native = client.get_model_version("native", "1")
assert native.source.startswith(REGISTRY + "/api/2.0/mlflow-artifacts/artifacts/native/1"), native.source
check("models:/native/1")
copied = client.copy_model_version("models:/native/1", "native copy")
registryctl("delete", "native", "--force")
check("models:/native copy/1")
done("copies, also of what is kept here")

os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD"] = "true"
os.environ["MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE"] = "1"
os.environ["MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE"] = "1000000"
os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD"] = "true"
os.environ["MLFLOW_MULTIPART_DOWNLOAD_CHUNK_SIZE"] = "700000"
registryctl("create", "large")
registryctl("create-version", "large")
with tempfile.TemporaryDirectory() as folder:
    weights = os.path.join(folder, "we ights.bin")
    content = numpy.random.default_rng(7).bytes(3_500_000)
    with open(weights, "wb") as file:
        file.write(content)
    HttpArtifactRepository(REGISTRY + "/api/2.0/mlflow-artifacts/artifacts/large/1").log_artifact(weights, "a")
    registryctl("finalize", "large/versions/1")
    repository = MlflowArtifactsRepository("mlflow-artifacts:/large/1", tracking_uri=REGISTRY)
    with open(repository.download_artifacts("a/we ights.bin", folder), "rb") as file:
        assert file.read() == content
metrics = urllib.request.urlopen(REGISTRY + "/metrics").read().decode()
parts = next(line for line in metrics.splitlines() if 'method="UploadPart"' in line and "calls_total" in line)
assert parts.endswith(" 4"), parts
done("a file in parts")



class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps what comes if it is signed as MLflow's documentation has it."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        signed = f"{self.headers['X-MLflow-Delivery-Id']}.{self.headers['X-MLflow-Timestamp']}.{body}"
        signature = base64.b64encode(hmac.new(b"secret", signed.encode(), hashlib.sha256).digest()).decode()
        is_right = hmac.compare_digest(self.headers["X-MLflow-Signature"], f"v1,{signature}")
        received.put(json.loads(body) if is_right else self.headers.items())
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def told(entity, action, data):
    message = received.get(timeout=60)
    assert (message["entity"], message["action"]) == (entity, action), message
    assert data.items() <= message["data"].items(), message


received = queue.Queue()
receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=receiver.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{receiver.server_port}/hooks"
asked = [
    WebhookEvent(WebhookEntity.REGISTERED_MODEL, WebhookAction.CREATED),
    WebhookEvent(WebhookEntity.MODEL_VERSION, WebhookAction.CREATED),
    WebhookEvent(WebhookEntity.MODEL_VERSION_TAG, WebhookAction.SET),
    WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, WebhookAction.CREATED),
]
webhook = client.create_webhook(name="ci", url=url, events=asked, secret="secret", description="builds")
assert client.get_webhook(webhook.webhook_id).events == asked and webhook.status == WebhookStatus.ACTIVE
assert [one.name for one in client.list_webhooks()] == ["ci"]
client.create_registered_model("watched", tags={"team": "risk"})
told("registered_model", "created", {"name": "watched", "tags": {"team": "risk"}})
client.create_model_version("watched", "s3://bucket/model")
told("model_version", "created", {"name": "watched", "version": "1", "source": "s3://bucket/model"})
client.set_model_version_tag("watched", "1", "validated", "yes")
told("model_version_tag", "set", {"name": "watched", "version": "1", "key": "validated", "value": "yes"})
client.set_registered_model_alias("watched", "champion", "1")
told("model_version_alias", "created", {"name": "watched", "alias": "champion", "version": "1"})
registryctl("promote", "watched/versions/1", "production")
told("model_version_alias", "created", {"name": "watched", "alias": "production", "version": "1"})
result = client.test_webhook(webhook.webhook_id, asked[1])
assert result.success and result.response_status == 204, result
told("model_version", "created", {"name": "example_model"})
changed = client.update_webhook(webhook.webhook_id, status=WebhookStatus.DISABLED, events=asked[:1])
assert changed.status == WebhookStatus.DISABLED and changed.events == asked[:1] and changed.description == "builds"
client.delete_webhook(webhook.webhook_id)
refused("RESOURCE_DOES_NOT_EXIST", "not found", client.get_webhook, webhook.webhook_id)
assert list(client.list_webhooks()) == [] and received.empty()
done("webhooks, told of MLflow's changes and of ours")

refused("RESOURCE_ALREADY_EXISTS", "Registered Model (name=fraud) already exists.", client.create_registered_model, "fraud")
refused("RESOURCE_DOES_NOT_EXIST", "Registered Model with name=none not found", client.get_registered_model, "none")
refused("RESOURCE_DOES_NOT_EXIST", "Model Version (name=fraud, version=9) not found", client.get_model_version, "fraud", "9")
refused("INVALID_PARAMETER_VALUE", "must be an integer", client.get_model_version, "fraud", "x")
refused("INVALID_PARAMETER_VALUE", "Names cannot contain '/' or ':'", client.create_registered_model, "a/b")
refused("INVALID_PARAMETER_VALUE", "Invalid Model Version stage", client.transition_model_version_stage, "fraud", "1", "Live")
refused("INVALID_PARAMETER_VALUE", "can't be renamed", client.rename_registered_model, "fraud", "fraud 2")
done("errors, by their codes and texts")


def race(version):
    """Points the alias at a version over and over, and looks where it points."""
    mine = MlflowClient()
    for _ in range(100):
        try:
            mine.set_registered_model_alias("fraud", "racing", version)
            seen = mine.get_model_version_by_alias("fraud", "racing").version
            assert seen in ("1", "2"), seen
        except Exception as error:
            failures.append(error)


failures = []
racers = [threading.Thread(target=race, args=(version,)) for version in ("1", "2")]
for racer in racers:
    racer.start()
for racer in racers:
    racer.join()
assert not failures, failures[:3]
changes = [
    change
    for line in registryctl("events", "fraud", "--type", "alias.*", "--asc", "--json").splitlines()
    for change in json.loads(line).get("aliasChanges", [])
    if change["alias"] == "racing"
]
assert all(before["toVersion"] == after["fromVersion"] for before, after in zip(changes, changes[1:])), "a lost change"
last = client.get_model_version_by_alias("fraud", "racing").version
assert changes[-1]["toVersion"].endswith("/" + last), (changes[-1], last)
done(f"two clients racing on an alias: 200 changes without an error, {len(changes)} that moved it, in one order")

client.delete_model_version("fraud", "2")
refused("RESOURCE_DOES_NOT_EXIST", "not found", client.get_model_version, "fraud", "2")
client.delete_registered_model("fraud")
refused("RESOURCE_DOES_NOT_EXIST", "not found", client.get_registered_model, "fraud")
refused("RESOURCE_DOES_NOT_EXIST", "not found", client.get_model_version, "fraud", "1")
client.create_registered_model("fraud")
again = client.create_model_version("fraud", "s3://bucket/model")
assert again.version == "3" and again.source == "s3://bucket/model", again
assert client.get_model_version_download_uri("fraud", "3") == "s3://bucket/model"
done("deleted, and made again with numbers that go on")
