"""Names, lists, errors, retries."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from modelregistry import Registry, errors
from modelregistry.v1 import STAGE_ARCHIVED, STAGE_PRODUCTION, Artifact, Event, ListEventsRequest, ListEventsResponse, Model, Version

from .conftest import Line, Server


def log_of(registry: Registry) -> list[Event]:
    """The whole log, in small pages."""
    return list(registry._transport.pages(ListEventsRequest(page_size=2), ListEventsResponse, "events"))


def test_names_may_be_short(registry: Registry, publish: Callable[[str], str]) -> None:
    first, second = publish("first"), publish("second")
    assert first == "namespaces/default/models/fraud/versions/1"
    assert registry.promote("fraud/versions/1").stage == STAGE_PRODUCTION
    assert registry.promote(second, comment="better").stage == STAGE_PRODUCTION
    assert registry.version("models/fraud/versions/1").stage == STAGE_ARCHIVED
    assert registry.rollback("fraud").name == first
    assert isinstance(registry.get("fraud"), Model)
    production = registry.get("fraud@production")
    assert isinstance(production, Version)
    assert production.name == first
    assert isinstance(registry.get("fraud@production/artifacts/model.txt"), Artifact)


def test_lists_go_over_pages(registry: Registry) -> None:
    for number in range(5):
        registry.create_model(f"m{number}", team="risk" if number % 2 else "fraud")
    listed = registry.models(filter="model.team == 'risk'", order_by="name desc")
    assert [model.name.rpartition("/")[2] for model in listed] == ["m3", "m1"]
    assert [event.type for event in log_of(registry)].count("model.created") == 6
    assert [found.resource.model.name for found in registry.search("m3")] == [registry.name("m3")]


def test_errors_say_what_is_wrong(registry: Registry, publish: Callable[[str], str]) -> None:
    with pytest.raises(errors.NotFound) as missing:
        registry.model("none")
    assert missing.value.reason == "RESOURCE_NOT_FOUND"
    assert missing.value.resource == ("modelregistry.dev/Model", "namespaces/default/models/none")
    with pytest.raises(errors.AlreadyExists) as taken:
        registry.create_model("fraud")
    assert taken.value.reason == "RESOURCE_ALREADY_EXISTS"
    assert registry.create_model("fraud", exist_ok=True).model_type == "classification"
    with pytest.raises(errors.InvalidArgument, match=r"model\.tags") as wrong:
        registry.create_model("no spaces", tags={"k\n": "v"}, team="x" * 300)
    assert {"model_id", "model.team"} < set(wrong.value.fields)
    assert {violation.reason for violation in wrong.value.violations} == {"NAME_INVALID", "FIELD_INVALID"}
    with pytest.raises(errors.FailedPrecondition) as nothing:
        registry.rollback("fraud")
    assert nothing.value.reason == "NO_PREVIOUS_VERSION"
    version = registry.version(publish("one"))
    registry.promote(version.name)
    with pytest.raises(errors.Conflict) as changed:
        registry.transition(version.name, "staging", etag=version.etag)
    assert changed.value.reason == "ETAG_MISMATCH"
    with pytest.raises(ValueError, match="STAGE_LIVE"):
        registry.transition(version.name, "live")


def test_a_mutation_whose_answer_was_lost_happens_once(server: Server, line: Line, registry: Registry) -> None:
    with Registry.connect(line.address) as there, registry.watch(types=["model.created"]) as watch:
        assert next(watch).kind == "created"
        there.model("fraud")
        line.loses_answers = True
        calling = threading.Thread(target=there.create_model, args=("once",))
        calling.start()
        assert next(change for change in watch if change.events).events[0].name
        line.cut()
        line.mend()
        calling.join()
    created = [event for event in log_of(registry) if event.type == "model.created" and event.after.model.name.endswith("/once")]
    assert len(created) == 1
    assert created[0].request_id


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


def test_a_slow_line_is_long_enough(line: Line, registry: Registry) -> None:
    line.lag = 0.5
    with Registry.connect(line.address, retry_for=0) as there:
        assert there.model("fraud") == registry.model("fraud")


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


@pytest.mark.parametrize(
    "endpoint", ["ftp://host:1", "http://", "http://host:1/path", "http://user@host:1", ",", "host", "https://host", "host:99999", "[::1]"]
)
def test_endpoints_are_checked(endpoint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(endpoint.split(",")[0]))):
        Registry.connect(endpoint)


def test_tls_needs_https(tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_text("")
    with pytest.raises(ValueError, match="TLS"):
        Registry.connect("http://127.0.0.1:1", tls=roots)
