"""What goes over the wire, as a server sees it that answers as it is told."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Detail
from google.rpc import error_details_pb2, status_pb2

from modelregistry import Registry, errors
from modelregistry.v1 import CreateModelRequest, Model

Answer = Callable[[grpc.ServicerContext], Model]


class Fake(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Answers CreateModel, in turn, and notes what it is asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[CreateModelRequest] = []
        self.headers: list[dict[str, str | bytes]] = []

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        assert handler_call_details.method == "/modelregistry.v1.ModelService/CreateModel"

        def answer(request: CreateModelRequest, context: grpc.ServicerContext) -> Model:
            self.requests.append(request)
            self.headers.append(dict(context.invocation_metadata()))
            return self.answers.pop(0)(context)

        return grpc.unary_unary_rpc_method_handler(answer, CreateModelRequest.FromString, Model.SerializeToString)


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def address(fake: Fake) -> Iterator[str]:
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers=[fake])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(0).wait()


def fine(context: grpc.ServicerContext) -> Model:
    return Model(name="done")


def refusal(code: grpc.StatusCode, *details: Any) -> Answer:
    def refuse(context: grpc.ServicerContext) -> Model:
        packed = [Detail() for _ in details]
        for one, detail in zip(packed, details, strict=True):
            one.Pack(detail)
        status = status_pb2.Status(code=code.value[0], details=packed)
        if details:
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, "no")
        raise AssertionError

    return refuse


def reason(of: str) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(domain="modelregistry.dev", reason=of)


def test_retries_are_the_same_request(fake: Fake, address: str) -> None:
    """Also after a stop that says nothing, and with a new token each time."""
    draining = refusal(grpc.StatusCode.UNAVAILABLE, reason("SERVER_DRAINING"))
    silent = [refusal(code) for code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL)]
    fake.answers = [draining, *silent, fine]
    tokens = iter("123456")
    with Registry.connect(address, token=lambda: next(tokens), actor="Zoë") as registry:
        assert registry.create_model("fraud").name == "done"
    with pytest.raises(errors.RegistryError, match="closed"):
        registry.create_model("fraud")
    assert len({headers["x-registry-request-id"] for headers in fake.headers}) == 1
    assert [headers["authorization"] for headers in fake.headers] == [f"Bearer {number}" for number in range(1, 6)]
    assert fake.headers[0]["x-registry-actor-bin"] == "Zoë".encode()


@pytest.mark.parametrize(
    ("code", "of", "kind"),
    [
        (grpc.StatusCode.INTERNAL, "INTERNAL", errors.RegistryError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED", errors.ResourceExhausted),
        (grpc.StatusCode.DATA_LOSS, "ARTIFACT_DAMAGED", errors.DataLoss),
        (grpc.StatusCode.PERMISSION_DENIED, "", errors.PermissionDenied),
        (grpc.StatusCode.UNAUTHENTICATED, "", errors.Unauthenticated),
        (grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN", errors.Unimplemented),
    ],
)
def test_other_errors_are_not_tried_again(
    fake: Fake, address: str, code: grpc.StatusCode, of: str, kind: type[errors.RegistryError]
) -> None:
    fake.answers = [refusal(code, reason(of))]
    with Registry.connect(address) as registry, pytest.raises(errors.RegistryError) as refused:
        registry.create_model("fraud")
    assert (type(refused.value), refused.value.reason, str(refused.value)) == (kind, of, "no")


def test_a_reason_of_another_domain_is_none(fake: Fake, address: str) -> None:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    fake.answers = [refusal(grpc.StatusCode.ABORTED, error_details_pb2.ErrorInfo(domain="proxy.example", reason="X"), retry)]
    with Registry.connect(address) as registry, pytest.raises(errors.Conflict) as refused:
        registry.create_model("fraud")
    assert (refused.value.reason, refused.value.retry_after) == ("", 1.5)


def test_tokens_are_checked(address: str) -> None:
    for token in ("two\nlines", "ü"):
        with Registry.connect(address, token=token) as registry, pytest.raises(ValueError, match="token has characters"):
            registry.create_model("fraud")


def test_a_server_is_recognised_by_its_certificate(fake: Fake, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=registry"]
    to = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *to], check=True, capture_output=True)
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, handlers=[fake])
        address = f"https://127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
        server.start()
        fake.answers = [fine]
        with Registry.connect(address, tls=certificate, token="secret") as registry:
            assert registry.create_model("fraud").name == "done"
        with Registry.connect(address, retry_for=0) as registry, pytest.raises(errors.Unavailable):
            registry.create_model("fraud")
        server.stop(0).wait()
    assert [headers["authorization"] for headers in fake.headers] == ["Bearer secret"]
