"""A model's life over plain gRPC: python example.py HOST:PORT

Amid it the server is to be restarted: it prints `restart` and goes on when a line comes in, as run.sh does it.

The stubs come from proto/ (see tests/languages/run.sh). Calls that change something carry a request id, so that the retries of
service_config.json do them once. Watches and transfers are not in that file: they take as long as they take.
"""

import hashlib
import pathlib
import sys
import threading
import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from modelregistry.v1 import artifacts_pb2, artifacts_pb2_grpc, events_pb2, events_pb2_grpc, lifecycle_pb2, lifecycle_pb2_grpc
from modelregistry.v1 import models_pb2, models_pb2_grpc, stages_pb2, version_service_pb2, version_service_pb2_grpc, versions_pb2

PIECE = 1024 * 1024
CONFIG = pathlib.Path(__file__).parent.parent / "service_config.json"


def request_id():
    return str(uuid.uuid4())


def reason_of(error):
    """The reason that the registry gives for an error."""
    for detail in rpc_status.from_call(error).details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return info.reason
    return None


def parts(version, path, data):
    """The messages of an upload: what it is, then its bytes. Announced by its digest, it is kept whole or not at all."""
    artifact = artifacts_pb2.Artifact(path=path, type="model", size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    metadata = artifacts_pb2.UploadMetadata(parent=version, artifact=artifact, request_id=request_id())
    yield artifacts_pb2.UploadArtifactRequest(metadata=metadata)
    for start in range(0, len(data), PIECE):
        yield artifacts_pb2.UploadArtifactRequest(data=data[start : start + PIECE])


def main(address):
    options = [("grpc.service_config", CONFIG.read_text()), ("grpc.initial_reconnect_backoff_ms", 100)]
    channel = grpc.insecure_channel(address, options=options)
    models = models_pb2_grpc.ModelServiceStub(channel)
    versions = version_service_pb2_grpc.VersionServiceStub(channel)
    artifacts = artifacts_pb2_grpc.ArtifactServiceStub(channel)
    lifecycle = lifecycle_pb2_grpc.LifecycleServiceStub(channel)
    events = events_pb2_grpc.EventServiceStub(channel)
    actor = [("x-registry-actor", "python-example")]

    # Create.
    model_id = f"python-{uuid.uuid4().hex[:8]}"
    create = models_pb2.CreateModelRequest(model_id=model_id, model=models_pb2.Model(team="risk"), request_id=request_id())
    model = models.CreateModel(create, metadata=actor)
    assert model.creator == "python-example"
    create = version_service_pb2.CreateVersionRequest(
        parent=model.name, version_id="1.0", version=versions_pb2.Version(framework="xgboost"), request_id=request_id()
    )
    version = versions.CreateVersion(create)

    # Upload two, and give one up halfway.
    files = {"model.bin": bytes(range(256)) * 20_000, "notes.txt": b"trained on a Tuesday"}
    for path, data in files.items():
        artifact = artifacts.UploadArtifact(parts(version.name, path, data))
        assert artifact.sha256 == hashlib.sha256(data).hexdigest()
    sent = threading.Event()

    def half():
        messages = parts(version.name, "half.bin", files["model.bin"])
        yield next(messages)
        yield next(messages)
        sent.set()
        threading.Event().wait(60)

    upload = artifacts.UploadArtifact.future(half())
    sent.wait()
    upload.cancel()

    # Finalize, and watch while it is promoted.
    sealed = versions.FinalizeVersion(version_service_pb2.FinalizeVersionRequest(name=version.name, request_id=request_id()))
    assert sealed.state == versions_pb2.VERSION_STATE_READY and sealed.artifact_count == 2
    wanted = events_pb2.WatchEventsRequest(
        parent=model.name, types=["version.stage_transitioned"], after_revision=sealed.revision
    )
    watch = events.WatchEvents(wanted)
    promote = lifecycle_pb2.TransitionStageRequest(
        name=version.name, stage=stages_pb2.STAGE_PRODUCTION, comment="better recall", request_id=request_id()
    )
    promoted = lifecycle.TransitionStage(promote)
    for message in watch:
        if message.WhichOneof("response") == "events":
            assert [event.comment for event in message.events.events] == ["better recall"]
            cursor = message.events.revision
            break
    assert cursor == promoted.revision
    watch.cancel()

    # Pages.
    listed, token = [], ""
    while True:
        page = artifacts.ListArtifacts(artifacts_pb2.ListArtifactsRequest(parent=version.name, page_size=1, page_token=token))
        listed += [artifact.path for artifact in page.artifacts]
        token = page.next_page_token
        if not token:
            break
    assert listed == sorted(files)

    # A range of bytes.
    name = f"{version.name}/artifacts/model.bin"
    download = artifacts.DownloadArtifact(artifacts_pb2.DownloadArtifactRequest(name=name, offset=1000, length=5000))
    assert b"".join(message.data for message in download) == files["model.bin"][1000:6000]

    # A typed error.
    try:
        models.GetModel(models_pb2.GetModelRequest(name="models/none"))
        raise AssertionError("it is not there")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND and reason_of(error) == "RESOURCE_NOT_FOUND"

    # A deadline.
    try:
        for _ in events.WatchEvents(events_pb2.WatchEventsRequest(parent=model.name), timeout=0.5):
            pass
        raise AssertionError("a watch does not end by itself")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED

    # A restart of the server: the watch goes on behind what was seen, and nothing is missed.
    watch = events.WatchEvents(events_pb2.WatchEventsRequest(parent=model.name, after_revision=cursor))
    print("restart", flush=True)
    assert sys.stdin.readline() == "restarted\n"
    model = models.GetModel(models_pb2.GetModelRequest(name=model.name))
    model.description = "after the restart"
    update = models_pb2.UpdateModelRequest(model=model, request_id=request_id())
    model = models.UpdateModel(update)
    while cursor < model.revision:
        try:
            for message in watch:
                response = message.WhichOneof("response")
                cursor = max(cursor, getattr(message, response).revision)
                if cursor >= model.revision:
                    break
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE, error
            again = events_pb2.WatchEventsRequest(parent=model.name, after_revision=cursor)
            watch = events.WatchEvents(again, wait_for_ready=True)
    watch.cancel()
    print("all is well", flush=True)


main(sys.argv[1])
