"""The client: models, versions and their files."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import grpc
from blake3 import blake3
from google.protobuf.message import Message

from modelregistry import folder as folders
from modelregistry import transfer, v1
from modelregistry.errors import AlreadyExists, DeadlineExceeded, FailedPrecondition, Unavailable
from modelregistry.follow import Follower
from modelregistry.transport import StrPath, Transport, Trust, url
from modelregistry.v1 import Artifact, Model, Version
from modelregistry.watch import Watch

M = TypeVar("M", bound=Message)
T = TypeVar("T")


class Registry(AbstractContextManager["Registry"]):
    """A client of one registry, for any number of threads. `connect` makes it.

    Names may be short: `fraud`, `fraud/versions/7`, `fraud@production`, `fraud@production/artifacts/model.onnx`.
    """

    def __init__(self, transport: Transport, namespace: str) -> None:
        self._transport, self._namespace = transport, namespace

    @classmethod
    def connect(
        cls, endpoint: str | None = None, *, token: str | Callable[[], str] | None = None,
        tls: grpc.ChannelCredentials | StrPath | None = None, identity: tuple[StrPath, StrPath] | None = None,
        actor: str | None = None, namespace: str | None = None, timeout: float | None = None, retry_for: float = 30.0,
    ) -> Registry:  # fmt: skip
        """Makes a client; connections are made when they are needed, so that the registry may come later.

        `endpoint`: `host:port`, with `https://` in front for TLS, or several of one registry, separated by commas. `token`: a bearer token;
        a function is asked before every call. `tls`: a PEM file with the roots to trust, or credentials. `identity`: PEM files of a
        certificate and its key, for servers that ask for one. Files of TLS are read again when a call fails. `actor`: who calls, for the
        audit trail. `namespace`: that of names without one. `retry_for`: how many seconds a registry that is away is waited for.
        `timeout`: how many a call may take in all, 30 more than `retry_for` unless given.
        """
        env = os.environ.get
        endpoint = endpoint or env("MODEL_REGISTRY_ENDPOINT") or "http://127.0.0.1:50051"
        actor = actor or env("MODEL_REGISTRY_ACTOR") or env("USER") or env("LOGNAME") or ""
        tls = tls or env("MODEL_REGISTRY_CA_FILE") or None
        certificate, key = env("MODEL_REGISTRY_CLIENT_CERT"), env("MODEL_REGISTRY_CLIENT_KEY")
        trust = Trust(tls, identity or ((certificate, key) if certificate and key else None))

        def headers() -> list[tuple[str, str | bytes]]:
            said = token() if callable(token) else token or ""
            if not said.isascii() or not said.isprintable():
                raise ValueError("the token has characters that no header has")
            return [("x-registry-actor-bin", actor.encode())] * bool(actor) + [("authorization", f"Bearer {said}")] * bool(said)

        urls = [url(one, trust.is_set) for one in endpoint.split(",")]
        return cls(Transport(urls, trust, headers, timeout, retry_for), namespace or env("MODEL_REGISTRY_NAMESPACE") or "default")

    def close(self) -> None:
        """Gives the connections back; calls that wait for the registry fail."""
        self._transport.close()

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
        return self.call(v1.GetModelRequest(name=self.name(name)), Model)

    def version(self, name: str) -> Version:
        """A version: `fraud/versions/7`, `fraud/versions/1.4.0`, `fraud@production`."""
        return self.call(v1.GetVersionRequest(name=self.name(name)), Version)

    def artifact(self, name: str) -> Artifact:
        """What is known of a file: `fraud@production/artifacts/model.onnx`."""
        return self.call(v1.GetArtifactRequest(name=self.name(name)), Artifact)

    def models(self, **options: Any) -> Iterator[Model]:
        """All models of the namespace, page after page. Options are those of the request: `filter="model.team == 'risk'"`, `order_by`."""
        request = v1.ListModelsRequest(parent=f"namespaces/{self._namespace}", page_size=1000, **options)
        return self._transport.pages(request, v1.ListModelsResponse, "models")

    def versions(self, model: str = "-", **options: Any) -> Iterator[Version]:
        """All versions of a model, or of all models: `versions("fraud", order_by="metrics.validation.auc desc")`."""
        request = v1.ListVersionsRequest(parent=self.name(model), page_size=1000, **options)
        return self._transport.pages(request, v1.ListVersionsResponse, "versions")

    def artifacts(self, version: str, **options: Any) -> Iterator[Artifact]:
        """All files of a version, by path."""
        request = v1.ListArtifactsRequest(parent=self.name(version), page_size=1000, **options)
        return self._transport.pages(request, v1.ListArtifactsResponse, "artifacts")

    def search(self, query: str, **options: Any) -> Iterator[v1.SearchResult]:
        """Models and versions of the namespace by words in their names, types, teams, tags, descriptions and the like, the best first."""
        request = v1.SearchResourcesRequest(parent=f"namespaces/{self._namespace}", query=query, page_size=100, **options)
        return self._transport.pages(request, v1.SearchResourcesResponse, "results")

    def create_model(self, name: str, *, exist_ok: bool = False, **fields: Any) -> Model:
        """Makes a model with these fields: `model_type="classification"`, `team="risk"`, `tags={"region": "eu"}`."""
        parent, _, model_id = self.name(name).rpartition("/models/")
        try:
            return self.call(v1.CreateModelRequest(parent=parent, model_id=model_id, model=Model(**fields)), Model)
        except AlreadyExists:
            if not exist_ok or (there := self.model(name)).HasField("delete_time"):
                raise
            return there

    def publish(
        self, path: StrPath, model: str, *, version_id: str = "", params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Mapping[str, Any]] | None = None, exclude: Iterable[str] = (), **fields: Any,
    ) -> Version:  # fmt: skip
        """Makes a READY version of a folder or of one file. The model has to exist.

        `metrics` are such as `{"validation": {"auc": 0.97}}`, `params` the hyper-parameters, `fields` any others of the version:
        `framework="sklearn"`. What `exclude` matches is left out, in the syntax of `.gitignore`; `!.env` takes that in.

        After an error the version is FAILED. It stays PENDING if the registry was away for too long, or the program ended: then the same
        call with the same `version_id` goes on with it, within a day; what is there is not sent again.
        """
        files = folders.to_publish(Path(path), exclude)
        tags = {key: str(value) for key, value in fields.pop("tags", {}).items()}
        version = Version(tags=tags, **fields)
        for split, values in (metrics or {}).items():
            if not hasattr(values, "keys"):
                raise TypeError(f'metrics are by split: {{"validation": {{"{split}": {values}}}}}')
            version.metrics[split].values.update(values)
        # As JSON has them. Numbers, here and above, may be those of NumPy.
        version.hyperparameters.update(json.loads(json.dumps(dict(params or {}), default=float)))
        request = v1.CreateVersionRequest(parent=self.name(model), version_id=version_id, version=version)
        if version_id:
            # The same publication is the same request: the registry remembers what came of it.
            digest = blake3(request.SerializeToString(deterministic=True)).digest(length=16)
            request.request_id = str(uuid.UUID(bytes=digest, version=4))
        made = self.call(request, Version)
        there = self.version(made.name)
        if there.state != v1.VERSION_STATE_PENDING:
            raise AlreadyExists(f"{there.name} is there already, and not PENDING")
        try:
            transfer.each(lambda path: self.upload(there.name, path, files[path]), files)
            done = self.version(made.name)
            if done.artifact_count != len(files):
                raise FailedPrecondition(f"{there.name}: it has files that are not to be published")
            # As it is now, or not at all: the same publication may be at work elsewhere.
            return self.call(v1.FinalizeVersionRequest(name=there.name, etag=done.etag), Version)
        except Exception as error:
            if there == made and not isinstance(error, Unavailable | DeadlineExceeded):
                failed = v1.FinalizeVersionRequest(name=there.name, state=v1.VERSION_STATE_FAILED, failure_reason=str(error)[:1000])
                self.call(failed, Version)
            raise

    def upload(self, version: str, path: str, source: StrPath | bytes, *, type: str = "") -> Artifact:
        """Adds a file, or bytes, to a version: to a PENDING one, or a plot, a confusion matrix or a log to a READY one."""
        artifact = Artifact(path=path, type=type or transfer.artifact_type(path))
        return transfer.upload(self._transport, self.name(version), artifact, source if isinstance(source, bytes) else Path(source))

    def download(self, artifact: str) -> bytes:
        """The bytes of an artifact, checked."""
        found = self.artifact(artifact)
        pieces = transfer.received(self._transport, found.name, transfer.chunks_of(self._transport, found))
        return b"".join(piece for _, piece in pieces)

    def pull(self, version: str, folder: StrPath, *, overwrite: bool = False, alike: StrPath | None = None) -> Version:
        """Brings all files of a version into a folder: each is written beside its place, checked, and then takes it.

        Of what is there already, also in the folder `alike`, only what is missing is fetched. Files that an earlier pull put there are
        replaced or removed; where others are in the way nothing is pulled, unless `overwrite` is set.
        """
        found, folder = self.version(version), Path(folder)
        if found.state != v1.VERSION_STATE_READY or found.source_uri or found.purged:
            raise FailedPrecondition(f"{found.name} is not READY, was purged, or has its content elsewhere")
        artifacts = {artifact.path: artifact for artifact in self.artifacts(found.name)}
        other = Path(alike or folder)
        with folders.claimed(folder, folders.Receipt.of(found, artifacts.values()), overwrite) as missing:
            transfer.each(lambda file: transfer.download(self._transport, artifacts[file.path], folder, other), missing)
        return found

    def transition(self, version: str, stage: str, *, comment: str = "", etag: str = "") -> Version:
        """Moves a version to `development`, `staging`, `production` or `archived`; who was there goes where the model's policy says."""
        name, to = self.name(version), f"STAGE_{stage.upper()}"
        request = v1.TransitionStageRequest(name=name, stage=to, comment=comment, etag=etag)
        return self.call(request, v1.TransitionStageResponse).version

    def promote(self, version: str, *, comment: str = "") -> Version:
        """Moves a version to production."""
        return self.transition(version, "production", comment=comment)

    def rollback(self, model: str, *, comment: str = "") -> Version:
        """Gives production back to the version that held it before."""
        request = v1.RollbackStageRequest(name=self.name(model), comment=comment)
        return self.call(request, v1.RollbackStageResponse).version

    def watch(self, parent: str = "", *, types: Iterable[str] = (), filter: str = "", after: int | None = None, hash: bytes = b"") -> Watch:
        """What happens to a model or version and all below it, or to everything: from now on, or after a revision; 0 is the whole log.

        `types` are such as `version.*`. With the `hash` of the revision, the watch fails if the registry's history is another one by now.
        """
        whole = parent and self.name(parent)
        request = v1.WatchEventsRequest(parent=whole, types=types, filter=filter, after_revision=after, after_hash=hash)
        return Watch(self._transport, request)

    def follow(
        self, name: str, load: Callable[[Path, Version], T], *, check: Callable[[T], object] = lambda _: None, cache: StrPath | None = None,
        jitter: float = 0.0, backoff: float = 1.0, wait: bool = False, on_change: Callable[[Follower[T]], object] | None = None,
        report: bool = True, report_as: str | None = None, labels: Mapping[str, str] | None = None,
    ) -> Follower[T]:  # fmt: skip
        """Keeps the model loaded that a name such as `fraud@production` stands for, in a thread of its own. Returns once one serves.

        `load` makes of a version's folder what the program wants, `check` may raise or return False to refuse that (anything else accepts
        it, also None), and then `current()` returns it. After a failure the last good version stays, and there is another attempt `backoff`
        seconds later, then after twice as many, up to a minute. If the version can't serve at the start, the last good one of `cache` does.
        Without one that is an error, or with `wait` waited for, unless there is no such model. Followers wait up to `jitter` seconds, so
        that many do not fetch together. `on_change` is called after each swap and failure.

        The registry is told what runs here, unless `report` is False: as an instance of the model with the id `report_as`, such as the name
        of a pod, which nothing else may have that follows the model; unless given, it is of the host and the process. `labels` are for
        selecting: `{"zone": "eu-1"}`.
        """
        user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        cache = cache or os.environ.get("MODEL_REGISTRY_CACHE_FOLDER") or Path(user, "model-registry")
        return Follower(self, self.name(name), load, check, Path(cache), jitter, backoff, wait, on_change, report, report_as, labels or {})
