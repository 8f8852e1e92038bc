"""Watches: nothing left out, nothing twice."""

from __future__ import annotations

import threading
from collections.abc import Callable

import grpc
import pytest

from modelregistry import Registry, errors, transport
from modelregistry.v1 import Event, Model, UpdateModelRequest, WatchEventsRequest, WatchEventsResponse

from .conftest import Line, Server


def test_a_watch_outlives_restarts_without_a_gap(server: Server, line: Line, registry: Registry) -> None:
    """Changes are made all the while the server is restarted, once after a kill, and the line of the watcher cut."""
    changes = 60
    done: list[int] = []

    def write() -> None:
        for number in range(changes):
            request = UpdateModelRequest(model=Model(name=registry.name("fraud"), description=str(number)))
            request.update_mask.paths.append("description")
            done.append(registry.call(request, Model).revision)

    with Registry.connect(line.address) as there, there.watch("fraud", types=["model.updated"]) as watch:
        first = next(watch)
        assert (first.kind, first.events) == ("created", ())
        writer = threading.Thread(target=write)
        writer.start()
        seen: list[tuple[int, str]] = []
        kinds = set()
        for change in watch:
            kinds.add(change.kind)
            seen += [(event.revision, event.after.model.description) for event in change.events]
            if len(seen) in (10, 20) and change.events:
                server.stop(kill=len(seen) == 20)
                server.start()
            if len(seen) == 30 and change.events:
                line.cut()
                line.mend()
            if len(seen) >= changes:
                break
        writer.join()
    assert seen == [(revision, str(number)) for number, revision in enumerate(done)]
    assert kinds >= {"events", "disconnected", "resumed"}


def test_a_watch_goes_on_after_a_revision(registry: Registry, publish: Callable[[str], str]) -> None:
    publish("one")
    with registry.watch(after=0) as watch:
        told = []
        for change in watch:
            told.append(change)
            if change.kind == "bookmark":
                break
    events = [event for change in told for event in change.events]
    assert [event.type for event in events][:3] == ["namespace.created", "model.created", "version.created"]
    middle = next(change for change in told if change.events and change.events[0].type == "version.created")
    with registry.watch(after=middle.revision, hash=middle.hash) as again:
        rest: list[Event] = []
        for change in again:
            rest += change.events
            if change.kind == "bookmark":
                break
    assert rest == [event for event in events if event.revision > middle.revision]
    with registry.watch(after=middle.revision, hash=b"\1" * 32) as other, pytest.raises(errors.OutOfRange) as changed:
        next(other)
    assert changed.value.reason == "HISTORY_CHANGED"
    with pytest.raises(StopIteration):
        next(other)


def test_a_watch_may_begin_before_the_registry(server: Server) -> None:
    server.stop()
    with Registry.connect(server.address) as there, there.watch() as watch:
        assert next(watch).kind == "disconnected"
        server.start()
        assert next(watch).kind == "created"


def test_a_watch_of_nothing_fails(registry: Registry) -> None:
    with registry.watch("none") as watch, pytest.raises(errors.NotFound):
        next(watch)
    with registry.watch(types=["model.married"]) as watch, pytest.raises(errors.InvalidArgument) as wrong:
        next(watch)
    assert wrong.value.fields == ("types[0]",)


def test_a_server_that_is_gone_without_a_word_is_noticed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a tenth of the times, which are those of the connection."""
    options = [(name, value // 10 if "keepalive" in name or "ping" in name else value) for name, value in transport._OPTIONS]
    monkeypatch.setattr(transport, "_OPTIONS", options)
    with Registry.connect(server.address) as registry:
        call = registry._transport.begin("unary_stream", WatchEventsRequest, WatchEventsResponse, WatchEventsRequest(), 20)
        next(call)
        with server.still(), pytest.raises(grpc.RpcError) as gone:
            list(call)
    assert gone.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_watch_is_closed_by_another_thread(server: Server, registry: Registry) -> None:
    watch = registry.watch()
    assert next(watch).kind == "created"
    rest: list[object] = []
    reader = threading.Thread(target=lambda: rest.extend(change for change in watch if change.events))
    reader.start()
    watch.close()
    reader.join()
    assert rest == []
