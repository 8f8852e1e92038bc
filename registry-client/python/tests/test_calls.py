"""Names, lists, errors, retries."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from modelregistry import Registry, errors
from modelregistry.v1.events_pb2 import Event, ListEventsRequest, ListEventsResponse
from modelregistry.v1.models_pb2 import Model

from .conftest import Server


def log_of(registry: Registry) -> list[Event]:
    """The whole log, in small pages."""
    return list(registry._transport.pages(ListEventsRequest(page_size=2), ListEventsResponse, "events"))


def test_lists_go_over_pages(registry: Registry) -> None:
    for number in range(5):
        registry.create_model(f"m{number}", team="risk" if number % 2 else "fraud")
    listed = registry.models(filter="model.team == 'risk'", order_by="name desc")
    assert [model.name.rpartition("/")[2] for model in listed] == ["m3", "m1"]
    assert [event.type for event in log_of(registry)].count("model.created") == 6


def test_a_registry_that_is_away_is_waited_for(server: Server, registry: Registry) -> None:
    registry.model("fraud")
    server.stop()
    with Registry.connect(server.address, retry_for=0) as hasty, pytest.raises(errors.Unavailable):
        hasty.model("fraud")
    came: list[Model] = []
    waiting = threading.Thread(target=lambda: came.append(registry.model("fraud")))
    waiting.start()
    server.start()
    waiting.join()
    assert came[0].name == "namespaces/default/models/fraud"


def test_a_call_ends_by_its_deadline(server: Server) -> None:
    server.stop()
    with Registry.connect(server.address, timeout=0.2) as registry, pytest.raises((errors.DeadlineExceeded, errors.Unavailable)):
        registry.model("fraud")


def test_another_server_is_asked_at_once(server: Server, registry: Registry) -> None:
    with Registry.connect(f"127.0.0.1:1,{server.address}", retry_for=0) as several:
        for _ in range(3):
            assert several.model("fraud").name


def test_the_environment_says_where_and_who(server: Server, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_REGISTRY_ENDPOINT", f"http://{server.address}")
    monkeypatch.setenv("MODEL_REGISTRY_ACTOR", "Zoë")
    monkeypatch.setenv("MODEL_REGISTRY_NAMESPACE", "risk")
    with Registry.connect() as there:
        model = there.create_model("churn")
    assert (model.name, model.creator) == ("namespaces/risk/models/churn", "Zoë")
    with Registry.connect(actor="two\nlines") as there, pytest.raises(errors.InvalidArgument, match="actor"):
        there.create_model("other")


@pytest.mark.parametrize("endpoint", ["ftp://host:1", "http://", "http://host:1/path", "http://user@host:1", ","])
def test_endpoints_are_checked(endpoint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(endpoint.split(",")[0]))):
        Registry.connect(endpoint)


def test_tls_needs_https(tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_text("")
    with pytest.raises(ValueError, match="TLS"):
        Registry.connect("http://127.0.0.1:1", tls=roots)
