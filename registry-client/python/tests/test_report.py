"""Followers tell the registry what they run, and nothing that serves depends on it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelregistry import Follower, Registry, report
from modelregistry.v1 import DeleteInstanceRequest, Event, Instance, InstanceState, ListInstancesRequest, ListInstancesResponse, Version

from .conftest import Line, Server

PARENT = "namespaces/default/models/fraud"
Publish = Callable[[str], str]
Follow = Callable[..., Follower[str]]
#: What the log tells of instances.
Told = Iterator[Event]


def load(folder: Path, _: Version) -> str:
    says = (folder / "model.txt").read_text()
    if says.startswith("broken"):
        raise ValueError(f"can't load {says}")
    return says


@pytest.fixture
def follow(registry: Registry, tmp_path: Path) -> Follow:
    def follow(name: str = "fraud@production", *, by: Registry = registry, **options: Any) -> Follower[str]:
        return by.follow(name, load, cache=tmp_path / "cache", backoff=0.05, **options)

    return follow


@pytest.fixture
def told(registry: Registry) -> Iterator[Told]:
    with registry.watch("fraud", types=["instance.*"], after=0) as watch:
        yield (event for change in watch for event in change.events)


def until(told: Told, state: str) -> Instance:
    """The next report of such a state."""
    wanted = InstanceState.Value(f"INSTANCE_STATE_{state}")
    return next(event.after.instance for event in told if event.after.instance.state == wanted)


def instances(registry: Registry) -> list[Instance]:
    """What `registryctl status` shows."""
    return list(registry.call(ListInstancesRequest(parent=PARENT), ListInstancesResponse).instances)


def test_what_runs_is_seen(registry: Registry, publish: Publish, follow: Follow, told: Told) -> None:
    one, broken = publish("one"), publish("broken")
    registry.promote(one)
    with follow(report_as="web-1", labels={"zone": "eu-1"}) as follower:
        until(told, "SERVING")
        (seen,) = instances(registry)
        assert (seen.name, seen.target, dict(seen.labels)) == (f"{PARENT}/instances/web-1", "@production", {"zone": "eu-1"})
        assert (seen.desired_version, seen.observed_version, seen.error) == (one, one, "")
        registry.promote(broken)
        until(told, "FAILED")
        (seen,) = instances(registry)
        assert (seen.desired_version, seen.observed_version) == (broken, one)
        assert seen.error == f"{broken} can't be loaded: ValueError(\"can't load broken\")" == str(follower.error)
        registry.rollback("fraud")
        seen = until(told, "SERVING")
        assert (seen.desired_version, seen.observed_version, seen.error) == (one, one, "")
    assert instances(registry) == []
    assert next(told).type == "instance.deleted"


@pytest.mark.parametrize(("name", "target"), [("fraud@production", "@production"), ("fraud/versions/1", "1")])
def test_an_instance_is_called_after_its_process(
    name: str, target: str, registry: Registry, publish: Publish, follow: Follow, told: Told
) -> None:
    registry.promote(publish("one"))
    with follow(name):
        made = next(told).after.instance
        assert f"-{os.getpid()}-" in made.name
        assert made.target == target


@pytest.mark.parametrize(
    ("host", "expected"), [("web-1.example.com", "web-1.example.com"), ("_my host", "myhost"), ("\u00fc", "host"), ("h" * 255, "h" * 60)]
)
def test_an_id_says_where_the_process_is(host: str, expected: str) -> None:
    assert report.unique_id(host, 7, "abcde") == f"{expected}-7-abcde"


def test_a_long_error_is_cut(registry: Registry, publish: Publish, follow: Follow, told: Told) -> None:
    def check(says: str) -> None:
        if says == "two":
            raise ValueError("\u00e4" * 5000)

    registry.promote(publish("one"))
    with follow(check=check):
        registry.promote(publish("two"))
        assert 4090 < len(until(told, "FAILED").error.encode()) <= 4096


def test_heartbeats_are_no_news(registry: Registry, publish: Publish, follow: Follow, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_BEATS", 1000)
    registry.promote(publish("one"))
    with follow():
        until(told, "SERVING")
        (first,) = instances(registry)
        while (now := instances(registry)[0]).heard_time == first.heard_time:
            pass
        assert now.revision == first.revision


def test_after_an_outage_it_is_told_again(registry: Registry, publish: Publish, follow: Follow, told: Told, line: Line) -> None:
    registry.promote(publish("one"))
    with Registry.connect(line.address) as far, follow(by=far):
        gone = until(told, "SERVING")
        line.cut()
        registry.call(DeleteInstanceRequest(name=gone.name), Instance)
        line.mend()
        assert [next(told).type for _ in range(2)] == ["instance.deleted", "instance.created"]
        assert [instance.name for instance in instances(registry)] == [gone.name]


@pytest.mark.parametrize("options", [{"report": False}, {"report_as": "no such id"}])
def test_what_is_not_reported_serves(options: dict[str, Any], registry: Registry, publish: Publish, follow: Follow, told: Told) -> None:
    registry.promote(publish("one"))
    with follow(**options) as follower, follow(report_as="other"):
        assert until(told, "SERVING").name == f"{PARENT}/instances/other"
        assert (follower.current().model, follower.error, follower.is_stale) == ("one", None, False)
        assert len(instances(registry)) == 1


def test_an_end_does_not_wait_for_a_registry_that_is_silent(
    registry: Registry, publish: Publish, follow: Follow, told: Told, server: Server
) -> None:
    registry.promote(publish("one"))
    follower = follow()
    until(told, "SERVING")
    with server.still():
        begun = time.monotonic()
        follower.close()
        assert time.monotonic() - begun < 20
    assert follower.current().model == "one"
