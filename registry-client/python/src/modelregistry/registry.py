"""The client: models, versions and their files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from modelregistry.errors import AlreadyExists
from modelregistry.transport import Transport, channel
from modelregistry.v1 import artifacts_pb2, models_pb2
from modelregistry.v1 import version_service_pb2 as service
from modelregistry.v1.artifacts_pb2 import Artifact
from modelregistry.v1.models_pb2 import Model
from modelregistry.v1.versions_pb2 import Version

M = TypeVar("M", bound=Message)
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

        channels = [channel(one, tls) for one in endpoint.split(",")]
        namespace = namespace or os.environ.get("MODEL_REGISTRY_NAMESPACE") or "default"
        return cls(Transport(channels, metadata, timeout, retry_for), namespace)

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
        if "/artifacts/" in name:
            return self.artifact(name)
        return self.version(name) if "@" in name or "/versions/" in name else self.model(name)

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
            return self.call(models_pb2.CreateModelRequest(parent=parent, model_id=model_id, model=Model(**fields)), Model)
        except AlreadyExists:
            if not exist_ok or (there := self.model(name)).HasField("delete_time"):
                raise
            return there
