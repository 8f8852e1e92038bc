"""Following: what serves is the right version, or the last good one."""

from __future__ import annotations

import logging
import queue
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from logging.handlers import QueueHandler
from pathlib import Path

import pytest

from modelregistry import Follower, Registry, errors
from modelregistry.v1 import Version

from .conftest import Line, Server


class Service:
    """A service that serves what a file says, and notes what it loads and what becomes of that."""

    def __init__(self, registry: Registry, cache: Path) -> None:
        self.registry, self.cache = registry, cache
        self.loaded: list[str] = []
        self.changes: queue.Queue[tuple[str, BaseException | None]] = queue.Queue()
        #: Loading waits for this one.
        self.may_load = threading.Event()
        self.may_load.set()
        self.loading = threading.Event()
        self.note_fails = False

    def load(self, folder: Path, version: Version) -> str:
        self.loading.set()
        assert self.may_load.wait(30)
        says = (folder / "model.txt").read_text()
        self.loaded.append(says)
        if says.startswith("exits"):
            raise SystemExit(f"no use of {says}")
        if says.startswith("broken"):
            raise ValueError(f"can't load {says}")
        return says

    def check(self, says: str) -> None:
        if says.startswith("bad"):
            raise ValueError(f"bad answers from {says}")

    def follow(self, name: str = "fraud@production", wait: bool = False, report: bool = True) -> Follower[str]:
        def note(follower: Follower[str]) -> None:
            self.changes.put((follower.current().model, follower.error))
            if self.note_fails:
                raise SystemExit("what is told of changes can't be written")

        return self.registry.follow(
            name, self.load, check=self.check, cache=self.cache, backoff=0.05, wait=wait, on_change=note, report=report
        )

    def next(self) -> tuple[str, str]:
        """What serves after the next change, and what is wrong."""
        says, error = self.changes.get(timeout=30)
        return says, str(error or "")


@pytest.fixture
def service(registry: Registry, tmp_path: Path) -> Service:
    return Service(registry, tmp_path / "cache")


@pytest.fixture
def far(server: Server, line: Line, registry: Registry, tmp_path: Path) -> Iterator[Service]:
    """One that reaches the registry over the line."""
    with Registry.connect(line.address) as there:
        yield Service(there, tmp_path / "cache")


@pytest.fixture
def hasty(far: Service, line: Line) -> Iterator[Service]:
    """The same, which does not wait for a registry that is away."""
    with Registry.connect(line.address, retry_for=0) as there:
        yield Service(there, far.cache)


def test_promotions_and_rollbacks_are_followed(registry: Registry, publish: Callable[[str], str], service: Service) -> None:
    service.note_fails = True
    with pytest.raises(errors.NotFound):
        service.follow()
    registry.promote(publish("one"))
    with service.follow() as follower:
        first = follower.current()
        assert (first.model, first.version.number) == ("one", 1)
        registry.promote(publish("two"))
        assert service.next() == ("two", "")
        registry.rollback("fraud")
        assert service.next() == ("one", "")
        assert follower.current().folder == first.folder
        assert (follower.error, follower.is_stale) == (None, False)
        assert 0 <= follower.age < 60
    assert follower.current().model == "one"


def test_no_request_sees_anything_but_a_version_that_was_served(
    registry: Registry, publish: Callable[[str], str], service: Service
) -> None:
    """Eight threads ask all the while that ten promotions and rollbacks go through."""
    one, _ = publish("1"), publish("2")
    registry.promote(one)
    done = threading.Event()
    torn: list[object] = []
    asked: set[str] = set()

    def ask() -> None:
        while not done.is_set():
            served = follower.current()
            asked.add(served.model)
            if served.model != str(served.version.number) or not (served.folder / "model.txt").exists():
                torn.append(served)

    with service.follow() as follower:
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            registry.promote("fraud/versions/2")
            assert service.next() == ("2", "")
            registry.rollback("fraud")
            assert service.next() == ("1", "")
        done.set()
        for thread in threads:
            thread.join()
    assert torn == []
    assert asked == {"1", "2"}


def test_of_several_promotions_the_last_is_loaded(registry: Registry, publish: Callable[[str], str], service: Service) -> None:
    names = [publish(says) for says in ("one", "two", "three", "four", "five")]
    registry.promote(names[0])
    with service.follow() as follower:
        assert not follower.is_stale
        service.may_load.clear()
        service.loading.clear()
        registry.promote(names[1])
        assert service.loading.wait(30)
        # Another version serves than is to.
        assert follower.is_stale
        for name in names[2:]:
            registry.promote(name)
        service.may_load.set()
        assert service.next() == ("two", "")
        assert service.next() == ("five", "")
    assert service.loaded == ["one", "two", "five"]


@pytest.mark.parametrize("says", ["broken", "bad", "exits"])
def test_a_version_that_is_no_good_is_not_served(says: str, registry: Registry, publish: Callable[[str], str], service: Service) -> None:
    registry.promote(publish("one"))
    with service.follow() as follower:
        registry.promote(publish(says))
        serves, why = service.next()
        assert serves == "one"
        assert says in why
        assert follower.is_stale
        # It tries again by itself.
        assert service.next()[0] == "one"
        registry.promote(publish("good"))
        while (now := service.next()) != ("good", ""):
            assert now[0] == "one"
        # What is kept for a rollback is what served.
        assert {path.read_text() for path in service.cache.rglob("model.txt")} == {"one", "good"}
    # A start with a broken version in production serves the last good one, too.
    registry.promote(f"fraud/versions/{2}")
    with service.follow() as follower:
        assert follower.current().model == "good"
        assert says in str(follower.error)


class bool_:  # noqa: N801
    """As what NumPy's comparisons return, which is not Python's False."""

    def __bool__(self) -> bool:
        return False


@pytest.mark.parametrize(("said", "accepted"), [(False, False), (bool_(), False), (True, True), (None, True), (0, True)])
def test_a_check_that_returns_false_has_failed(
    said: object, accepted: bool, registry: Registry, publish: Callable[[str], str], tmp_path: Path
) -> None:
    one = publish("one")
    registry.promote(one)

    def follow() -> Follower[Path]:
        return registry.follow("fraud@production", lambda folder, _: folder, check=lambda _: said, cache=tmp_path / "cache")

    if accepted:
        follow().close()
        return
    with pytest.raises(errors.LoadFailed, match="check returned False") as failed:
        follow()
    assert failed.value.version == one
    assert one in str(failed.value)


def test_an_outage_is_outlived(registry: Registry, publish: Callable[[str], str], line: Line, far: Service) -> None:
    registry.promote(publish("one"))
    with far.follow() as follower:
        line.cut()
        registry.promote(publish("two"))
        assert follower.current().model == "one"
        line.mend()
        assert far.next() == ("two", "")


def test_it_starts_out_of_the_cache(registry: Registry, publish: Callable[[str], str], line: Line, far: Service, hasty: Service) -> None:
    registry.promote(publish("one"))
    line.cut()
    with pytest.raises(errors.Unavailable):
        hasty.follow()
    line.mend()
    far.follow().close()
    line.cut()
    registry.promote(publish("two"))
    with far.follow() as follower:
        assert follower.current().model == "one"
        assert follower.is_stale
        assert follower.age > 0
        assert follower.error is None
        line.mend()
        assert far.next() == ("two", "")
        assert follower.error is None


def test_registry_and_promotion_are_waited_for(
    registry: Registry, publish: Callable[[str], str], line: Line, hasty: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: queue.Queue[logging.LogRecord] = queue.Queue()
    monkeypatch.setattr(logging.getLogger("modelregistry"), "handlers", [QueueHandler(logged)])
    line.cut()
    with ThreadPoolExecutor() as pool:
        following = pool.submit(hasty.follow, wait=True)
        try:
            assert "nothing serves" in logged.get(timeout=30).getMessage()
            line.mend()
            while "@production does not exist" not in logged.get(timeout=30).getMessage():
                pass
            assert not following.done()
        finally:
            registry.promote(publish("one"))
        with following.result() as follower:
            assert follower.current().model == "one"
            assert (follower.error, follower.is_stale) == (None, False)
    with pytest.raises(errors.NotFound, match="none"):
        hasty.follow("none@production", wait=True)
    with pytest.raises(errors.InvalidArgument):
        hasty.follow("fraud", wait=True)


@pytest.mark.parametrize("damage", ["bytes", "version"])
def test_what_is_not_the_last_good_version_is_not_served(
    damage: str, registry: Registry, publish: Callable[[str], str], line: Line, far: Service, hasty: Service
) -> None:
    registry.promote(publish("one"))
    with far.follow() as follower:
        folder = follower.current().folder
    if damage == "bytes":
        (folder / "model.txt").write_text("eno")
    else:
        registry.pull(publish("two"), folder)
    line.cut()
    with pytest.raises(errors.Unavailable):
        hasty.follow()
    assert hasty.loaded == []
    line.mend()
    with far.follow() as follower:
        assert follower.current().model == "one"


def test_a_cache_is_of_one_registry(
    publish: Callable[[str], str], registry: Registry, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_REGISTRY_CACHE_FOLDER", str(tmp_path / "ours"))

    def follow(endpoint: str) -> Path:
        with Registry.connect(endpoint, retry_for=0) as there, there.follow("fraud@production", lambda folder, _: folder) as follower:
            return follower.current().model

    registry.promote(publish("one"))
    folder = follow(server.address)
    assert folder.is_relative_to(tmp_path / "ours")
    server.stop()
    assert follow(f"http://{server.address}") == folder
    with pytest.raises(errors.Unavailable):
        follow("127.0.0.1:1")


def test_it_starts_out_of_a_cache_that_it_cannot_write(
    publish: Callable[[str], str], registry: Registry, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.promote(publish("one"))
    service.follow().close()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("read only")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    monkeypatch.setattr(Registry, "pull", refuse)
    with service.follow() as follower:
        assert follower.current().model == "one"
        assert isinstance(follower.error, PermissionError)
    assert service.loaded == ["one", "one"]


def test_two_versions_stay_in_the_cache(registry: Registry, publish: Callable[[str], str], service: Service) -> None:
    registry.promote(publish("0"))
    with service.follow() as follower:
        kept = follower.current()
        for number in range(1, 5):
            registry.promote(publish(str(number)))
            assert service.next() == (str(number), "")
        folders = {path.parent for path in service.cache.rglob("model.txt")}
        # The two last ones, and the one that somebody uses.
        assert {(path / "model.txt").read_text() for path in folders} == {"0", "3", "4"}
        assert (kept.folder / "model.txt").read_text() == "0"


def test_two_services_share_a_cache(registry: Registry, publish: Callable[[str], str], service: Service) -> None:
    registry.promote(publish("one"))
    other = Service(registry, service.cache)
    with service.follow() as one, other.follow() as two:
        assert one.current().folder == two.current().folder
        registry.promote(publish("two"))
        assert service.next() == ("two", "")
        assert other.next() == ("two", "")


def test_a_name_that_stands_for_nothing_any_more(registry: Registry, publish: Callable[[str], str], service: Service) -> None:
    one = publish("one")
    registry.promote(one)
    with service.follow() as follower:
        registry.transition(one, "archived")
        serves, why = service.next()
        assert serves == "one"
        assert "production" in why
        # Nothing else is in its place.
        assert not follower.is_stale
        registry.promote(one)
        # It may have looked twice meanwhile.
        while (now := service.next()) != ("one", ""):
            assert now == (serves, why)
        assert follower.error is None


def test_a_cache_that_is_gone_is_made_anew(registry: Registry, publish: Callable[[str], str], line: Line, far: Service) -> None:
    registry.promote(publish("one"))
    with far.follow() as follower:
        shutil.rmtree(far.cache)
        # Every connection begins with a look at what the name stands for.
        line.cut()
        line.mend()
        assert far.next() == ("one", "")
        assert (follower.current().folder / "model.txt").read_text() == "one"
        shutil.rmtree(far.cache)
        far.cache.touch()
        registry.promote(publish("two"))
        while not follower.is_stale:
            assert far.next()[0] == "one"
        assert isinstance(follower.error, OSError)
        assert 0 < follower.age < 60
        far.cache.unlink()
        while (now := far.next()) != ("two", ""):
            assert now[0] == "one"


def test_whatever_ends_a_thread_is_told_and_outlived(
    registry: Registry, publish: Callable[[str], str], line: Line, service: Service
) -> None:
    """Here the program that gives tokens fails for a while."""
    registry.promote(publish("one"))
    fails, failed = threading.Event(), threading.Event()

    def token() -> str:
        if fails.is_set():
            failed.set()
            raise SystemExit("no token")
        return "token"

    # Reports need tokens, too.
    with Registry.connect(line.address, token=token) as service.registry, service.follow(report=False) as follower:
        fails.set()
        line.cut()
        line.mend()
        assert failed.wait(30)
        assert follower.is_stale
        registry.promote(publish("two"))
        fails.clear()
        while (now := service.next()) != ("two", ""):
            assert now[0] == "one"


@pytest.mark.parametrize("name", ["namespaces/versions/models/artifacts", "versions"])
def test_names_may_have_words_of_names(
    name: str, registry: Registry, publish: Callable[[str], str], service: Service, tmp_path: Path
) -> None:
    registry.create_model(name, model_type="classification")
    for says in ("one", "two"):
        publish(says)
        registry.publish(tmp_path / f"out-{says}", name)
    registry.promote(f"{name}/versions/1")
    with service.follow(f"{name}@production"):
        registry.promote(f"{name}/versions/2")
        assert service.next() == ("two", "")
    assert registry.get(name) == registry.model(name)
    assert registry.get(f"{name}@production") == registry.get(f"{name}/versions/2") == registry.version(f"{name}/versions/2")
    assert registry.get(f"{name}/versions/2/artifacts/model.txt") == registry.artifact(f"{name}@production/artifacts/model.txt")
