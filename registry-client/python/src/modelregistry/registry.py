"""The client: models, versions and their files."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, SupportsFloat, TypeVar, cast

import grpc
from google.api import field_behavior_pb2
from google.protobuf.message import Message

from modelregistry import folder as folders
from modelregistry import transfer
from modelregistry.errors import AlreadyExists, DeadlineExceeded, FailedPrecondition, Unavailable
from modelregistry.follow import Follower
from modelregistry.transport import Transport, url
from modelregistry.v1 import artifacts_pb2, lifecycle_pb2, models_pb2
from modelregistry.v1 import version_service_pb2 as service
from modelregistry.v1.artifacts_pb2 import Artifact
from modelregistry.v1.events_pb2 import WatchEventsRequest
from modelregistry.v1.models_pb2 import Model
from modelregistry.v1.stages_pb2 import Stage
from modelregistry.v1.versions_pb2 import VERSION_STATE_FAILED, VERSION_STATE_PENDING, VERSION_STATE_READY, Version
from modelregistry.values import described, tagged
from modelregistry.watch import Watch

M = TypeVar("M", bound=Message)
T = TypeVar("T")
StrPath = str | os.PathLike[str]


class Registry(AbstractContextManager["Registry"]):
    """A client of one registry, for any number of threads. `connect` makes it.

    Names may be short: `fraud`, `fraud/versions/7`, `fraud@production`, `fraud@production/artifacts/model.onnx`.
    """

    def __init__(self, transport: Transport, namespace: str) -> None:
        self._transport, self._namespace = transport, namespace

    @classmethod
    def connect(
        cls, endpoint: str | None = None, *, token: str | Callable[[], str] | None = None,
        tls: grpc.ChannelCredentials | StrPath | None = None, actor: str | None = None, namespace: str | None = None,
        headers: Mapping[str, str] | None = None, timeout: float | None = None, retry_for: float = 30.0,
    ) -> Registry:  # fmt: skip
        """Makes a client; connections are made when they are needed, so that the registry may come later.

        `endpoint`: `host:port`, with `https://` in front for TLS, or several of one registry, separated by commas; unless given,
        MODEL_REGISTRY_ENDPOINT, or else http://127.0.0.1:50051. `token`: sent as a bearer token; a function is asked before every call.
        `tls`: a file with the roots to trust, or credentials; unless given, gRPC's. `actor`: who calls, for the audit trail; unless given,
        MODEL_REGISTRY_ACTOR, or else the login name. `namespace`: that of names without one; unless given, MODEL_REGISTRY_NAMESPACE, or
        else `default`. `retry_for`: how many seconds a registry that is away is waited for. `timeout`: how many a call may take in all,
        waiting included; unless given, 30 more than `retry_for`.
        """
        endpoint = endpoint or os.environ.get("MODEL_REGISTRY_ENDPOINT") or "http://127.0.0.1:50051"
        logins = (actor, *map(os.environ.get, ("MODEL_REGISTRY_ACTOR", "USER", "LOGNAME")))
        actor = next(filter(None, logins), "")
        if isinstance(tls, str | os.PathLike):
            tls = grpc.ssl_channel_credentials(Path(tls).read_bytes())
        as_text = actor.isascii() and actor.isprintable() and actor == actor.strip()
        named = [("x-registry-actor", actor) if as_text else ("x-registry-actor-bin", actor.encode())] if actor else []

        def metadata() -> list[tuple[str, str | bytes]]:
            said = dict(headers or {})
            if token:
                said["authorization"] = f"Bearer {token() if callable(token) else token}"
            for name, value in said.items():
                if not re.fullmatch("[a-z0-9_.-]+", name) or not value.isascii() or not value.isprintable():
                    raise ValueError(f"the header {name!r}, or its value, has characters that none has")
            return [*named, *said.items()]

        urls = [url(one, tls is not None) for one in endpoint.split(",")]
        namespace = namespace or os.environ.get("MODEL_REGISTRY_NAMESPACE") or "default"
        return cls(Transport(urls, tls, metadata, timeout, retry_for), namespace)

    def close(self) -> None:
        """Gives the connections back; calls that wait for the registry fail."""
        self._transport.stopped.set()
        for one in self._transport.channels:
            one.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, request: Message, reply: type[M], *, timeout: float | None = None) -> M:
        """Calls any unary method of the contract by its request. Short names are not completed in it."""
        return self._transport.unary(request, reply, timeout)

    def name(self, name: str) -> str:
        """The whole name that a short one stands for."""
        if name.startswith(("namespaces/", "events/")):
            return name
        return f"namespaces/{self._namespace}/models/{name.removeprefix('models/')}"

    def get(self, name: str) -> Model | Version | Artifact:
        """The model, version or artifact of a name."""
        parts = self.name(name).split("/")
        if "artifacts" in (*parts[4:5], *parts[6:7]):
            return self.artifact(name)
        return self.version(name) if parts[4:] or "@" in parts[-1] else self.model(name)

    def model(self, name: str) -> Model:
        """A model: `fraud`."""
        return self.call(models_pb2.GetModelRequest(name=self.name(name)), Model)

    def version(self, name: str) -> Version:
        """A version: `fraud/versions/7`, `fraud/versions/1.4.0`, `fraud@production`."""
        return self.call(service.GetVersionRequest(name=self.name(name)), Version)

    def artifact(self, name: str) -> Artifact:
        """What is known of a file: `fraud@production/artifacts/model.onnx`."""
        return self.call(artifacts_pb2.GetArtifactRequest(name=self.name(name)), Artifact)

    def models(self, namespace: str = "", **options: Any) -> Iterator[Model]:
        """All models of a namespace, page after page. Options are those of the request: `filter="model.team == 'risk'"`, `order_by`."""
        parent = f"namespaces/{namespace.removeprefix('namespaces/') or self._namespace}"
        request = models_pb2.ListModelsRequest(parent=parent, page_size=1000, **options)
        return self._transport.pages(request, models_pb2.ListModelsResponse, "models")

    def versions(self, model: str = "-", **options: Any) -> Iterator[Version]:
        """All versions of a model, or of all models: `versions("fraud", order_by="metrics.validation.auc desc")`."""
        request = service.ListVersionsRequest(parent=self.name(model), page_size=1000, **options)
        return self._transport.pages(request, service.ListVersionsResponse, "versions")

    def artifacts(self, version: str, **options: Any) -> Iterator[Artifact]:
        """All files of a version, by path."""
        request = artifacts_pb2.ListArtifactsRequest(parent=self.name(version), page_size=1000, **options)
        return self._transport.pages(request, artifacts_pb2.ListArtifactsResponse, "artifacts")

    def create_model(self, name: str, *, exist_ok: bool = False, **fields: Any) -> Model:
        """Makes a model with these fields: `model_type="classification"`, `team="risk"`, `tags={"region": "eu"}`."""
        parent, _, model_id = self.name(name).rpartition("/models/")
        try:
            return self.call(models_pb2.CreateModelRequest(parent=parent, model_id=model_id, model=Model(**tagged(fields))), Model)
        except AlreadyExists:
            if not exist_ok or (there := self.model(name)).HasField("delete_time"):
                raise
            return there

    def publish(
        self, path: StrPath, model: str, *, version_id: str = "", params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, SupportsFloat | Mapping[str, SupportsFloat]] | None = None, exclude: Iterable[str] = (), **fields: Any,
    ) -> Version:  # fmt: skip
        """Makes a READY version of a folder or of one file. The model has to exist.

        `metrics` are `{"validation.auc": 0.97}` or `{"validation": {"auc": 0.97}}`, `params` the hyper-parameters, and `fields` any others
        of the version: `framework="sklearn"`, `tags={"region": "eu"}`. Left out are what is no part of a model (`.git`, `__pycache__`,
        `.env`), what the folder's `.registryignore` names, and `exclude`, in the syntax of `.gitignore`; `!.env` takes that in.

        After an error the version is FAILED. It stays PENDING if the registry was away for too long, or the program ended: then the same
        call with the same `version_id` goes on with it, and what is there is not sent again.
        """
        files = folders.to_publish(Path(path), exclude)
        version = described(fields, metrics or {}, params or {})
        request = service.CreateVersionRequest(parent=self.name(model), version_id=version_id, version=version)
        begun = None
        try:
            there = begun = self.call(request, Version)
        except AlreadyExists as error:
            if not version_id or error.resource[0] != "modelregistry.dev/Version":
                raise
            there = self.version(f"{request.parent}/versions/{version_id}")
            if there.state != VERSION_STATE_PENDING or there.HasField("delete_time"):
                raise
            self._check_taken_up(there, version, files)
        try:
            transfer.in_parallel(lambda path: self.upload(there.name, path, files[path]), files, transfer.FILES)
            done = self.version(there.name)
            if done.artifact_count != len(files):
                raise FailedPrecondition(f"{there.name}: somebody else adds to it")
            # As it is now, or not at all: the same publication may be at work elsewhere.
            return self.call(service.FinalizeVersionRequest(name=there.name, etag=done.etag if version_id else ""), Version)
        except Exception as error:
            if begun and not isinstance(error, Unavailable | DeadlineExceeded):
                failed = service.FinalizeVersionRequest(name=there.name, state=VERSION_STATE_FAILED, failure_reason=str(error)[:1000])
                self.call(failed, Version)
            raise

    def _check_taken_up(self, there: Version, version: Version, files: Mapping[str, Path]) -> None:
        """Refuses to go on with a version that was described differently, or has other files."""
        for field in Version.DESCRIPTOR.fields:
            behavior = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
            # Of the bases, the registry keeps other names than it was given.
            given = field_behavior_pb2.OPTIONAL in behavior and field.name not in ("etag", "base_versions")
            if given and getattr(there, field.name) != getattr(version, field.name):
                raise FailedPrecondition(f"{there.name} is PENDING, and was described differently: {field.name}")
        for artifact in self.artifacts(there.name):
            if artifact.path not in files:
                raise FailedPrecondition(f"{there.name} is PENDING, and has {artifact.path}, which is not to be published")

    def upload(self, version: str, path: str, source: StrPath | bytes, *, type: str = "") -> Artifact:
        """Adds a file, or bytes, to a version: to a PENDING one, or a plot, a confusion matrix or a log to a READY one."""
        artifact = Artifact(path=path, type=type or transfer.artifact_type(path))
        return transfer.upload(self._transport, self.name(version), artifact, source if isinstance(source, bytes) else Path(source))

    def download(self, artifact: str) -> bytes:
        """The bytes of an artifact, checked."""
        found = self.artifact(artifact)
        placed = transfer.chunks_of(self._transport, found)
        return b"".join(piece for _, piece in transfer.received(self._transport, found.name, placed))

    def open(self, artifact: str) -> BinaryIO:
        """An artifact as a binary file in memory, whose bytes are checked before the first is read."""
        return io.BytesIO(self.download(artifact))

    def pull(self, version: str, folder: StrPath, *, overwrite: bool = False, alike: StrPath | None = None) -> Version:
        """Brings all files of a version into a folder: each is written beside its place, checked, and then takes it.

        A file that is there already is not fetched again, and of one that was cut off or has changed only what is missing, also in the
        folder `alike`. Files that an earlier pull put there are replaced or removed; where others are in the way nothing is pulled, unless
        `overwrite` is set. The last thing written is `.model-registry.json`, which says what the folder holds: see `verify_folder`.
        """
        found, folder = self.version(version), Path(folder)
        if found.state != VERSION_STATE_READY or found.source_uri or found.purged:
            raise FailedPrecondition(f"{found.name} is not READY, was purged, or has its content elsewhere")
        artifacts = {artifact.path: artifact for artifact in self.artifacts(found.name)}
        with folders.claimed(folder, folders.Receipt.of(found, artifacts.values()), overwrite) as (missing, check):

            def fetch(file: folders.File) -> None:
                at, other = folders.join(folder, file.path), folders.join(Path(alike or folder), file.path)
                transfer.download(self._transport, artifacts[file.path], at, other, check)

            transfer.in_parallel(fetch, missing, transfer.FILES)
        return found

    def transition(self, version: str, stage: str, *, comment: str = "", etag: str = "") -> Version:
        """Moves a version to `development`, `staging`, `production` or `archived`; who was there goes where the model's policy says."""
        request = lifecycle_pb2.TransitionStageRequest(name=self.name(version), comment=comment, etag=etag)
        stages = [name.removeprefix("STAGE_").lower() for name in Stage.keys()[1:]]
        if stage.lower() not in stages:
            raise ValueError(f"{stage!r} is no stage: those are {', '.join(stages)}")
        request.stage = cast(Stage, Stage.Value(f"STAGE_{stage.upper()}"))
        return self.call(request, lifecycle_pb2.TransitionStageResponse).version

    def promote(self, version: str, *, comment: str = "") -> Version:
        """Moves a version to production."""
        return self.transition(version, "production", comment=comment)

    def rollback(self, model: str, *, comment: str = "") -> Version:
        """Gives production back to the version that held it before."""
        request = lifecycle_pb2.RollbackStageRequest(name=self.name(model), comment=comment)
        return self.call(request, lifecycle_pb2.RollbackStageResponse).version

    def watch(self, parent: str = "", *, types: Iterable[str] = (), filter: str = "", after: int | None = None, hash: bytes = b"") -> Watch:
        """What happens to a model or version and all below it, or to everything: from now on, or after a revision; 0 is the whole log.

        `types` are such as `version.*`. With the `hash` of the revision, the watch fails if the registry's history is another one by now.
        """
        whole = parent and self.name(parent)
        request = WatchEventsRequest(parent=whole, types=types, filter=filter, after_revision=after, after_hash=hash)
        return Watch(self._transport, request)

    def follow(
        self, name: str, load: Callable[[Path, Version], T], *, check: Callable[[T], object] = lambda _: None, cache: StrPath | None = None,
        jitter: float = 0.0, backoff: float = 1.0, wait: bool = False, on_change: Callable[[Follower[T]], object] | None = None,
    ) -> Follower[T]:  # fmt: skip
        """Keeps the model loaded that a name such as `fraud@production` stands for, in a thread of its own. Returns once one serves.

        `load` makes of a version's folder what the program wants, `check` may raise to refuse that, and then `current()` returns it. After
        a failure the last good version stays, and there is another attempt `backoff` seconds later, then after twice as many, up to a
        minute. If the version can't serve at the start, the last good one of `cache` does. Without one that is an error, or with `wait`
        waited for, unless there is no such model. Followers wait up to `jitter` seconds, so that many do not fetch together. `on_change`
        is called after each swap and failure.
        """
        user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        cache = cache or os.environ.get("MODEL_REGISTRY_CACHE_FOLDER") or Path(user, "model-registry")
        return Follower(self, self.name(name), load, check, Path(cache), jitter, backoff, wait, on_change)
