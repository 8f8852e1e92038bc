"""A model in memory that is always the one that a name stands for."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import random
import shutil
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from modelregistry.errors import Conflict, InvalidArgument, LoadFailed, NotFound, RegistryError
from modelregistry.folder import is_whole, lock
from modelregistry.report import Reporter
from modelregistry.v1 import Version

if TYPE_CHECKING:
    from modelregistry.registry import Registry

T = TypeVar("T")
_log = logging.getLogger("modelregistry")
#: What may change the version that a name stands for.
_TYPES = ("version.*", "alias.*", "model.*")


@dataclass(frozen=True, eq=False)
class Served(Generic[T]):
    """A version that is loaded. Take it once for a request, so that all of the request sees one model."""

    version: Version
    folder: Path
    model: T


class Follower(Generic[T], AbstractContextManager["Follower[T]"]):
    """Follows a name, see `Registry.follow`, until it is closed."""

    #: What went wrong last, and is tried again: why the version that the name stands for does not serve, or is not known.
    error: BaseException | None = None

    def __init__(
        self, registry: Registry, name: str, load: Callable[[Path, Version], T], check: Callable[[T], object], cache: Path,
        jitter: float, backoff: float, wait: bool, on_change: Callable[[Follower[T]], object] | None,
        report: bool, report_as: str | None, labels: Mapping[str, str],
    ) -> None:  # fmt: skip
        self._name, self._load, self._check, self._jitter, self._backoff = name, load, check, jitter, backoff
        self._wait, self._on_change = wait, on_change
        self._model = "/".join(name.split("/")[:4]).partition("@")[0]
        # A name of another registry is another name. The client in Rust, which may share the folder, has no folder of this one.
        key = hashlib.sha256("\n".join([*sorted(registry._transport.urls), "", name]).encode()).hexdigest()
        self._cache = cache / "python" / key
        self._good = self._cache / "last-good"
        self._served: Served[T] | None = None
        # What the registry said last that the name stands for; None if it did not, or that it stands for nothing.
        self._desired: Version | None = None
        self._connected, self._heard = False, 0.0
        # The calls of this one end when it ends.
        transport = registry._transport.with_patience(registry._transport.retry_for)
        self._registry = type(registry)(transport, registry._namespace)
        self._stopped, self._news, self._started = transport.stopped, threading.Event(), threading.Event()
        self._watch = self._registry.watch(self._model, types=_TYPES)
        self._threads = [threading.Thread(target=work, name=f"follow {name}", daemon=True) for work in (self._listen, self._run)]
        target = name.removeprefix(self._model).removeprefix("/versions/")
        self._reporter = Reporter(transport, self._model, target, report_as, labels)
        if report:
            self._reporter.start()
        for thread in self._threads:
            thread.start()
        try:
            self._started.wait()
            if not self._served and self.error:
                raise self.error
        except BaseException:
            self.close()
            raise

    def current(self) -> Served[T]:
        """What serves now."""
        return cast("Served[T]", self._served)

    @property
    def is_stale(self) -> bool:
        """Whether something else may be in place of what serves, or is and can't be loaded, or is being loaded."""
        return not self._connected or (self._desired is not None and self._desired.uid != self.current().version.uid)

    @property
    def age(self) -> float:
        """How many seconds ago the registry was last heard of, perhaps by an earlier process."""
        return max(0.0, time.time() - self._heard)

    def close(self) -> None:
        """Stops following, and tells the registry. What serves stays usable."""
        self._stopped.set()
        self._watch.close()
        self._news.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self._reporter.end()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self) -> None:
        """Notes how it stands with the registry, and tells of news."""
        while not self._stopped.is_set():
            try:
                for change in self._watch:
                    if change.kind in ("created", "resumed"):
                        self._reporter.again()
                    self._connected = change.kind != "disconnected"
                    self._heard = time.time() if self._connected else self._heard
                    if change.kind != "bookmark":
                        self._news.set()
            except BaseException as error:
                _log.warning("%s: is watched anew: %r", self._name, error)
            self._connected = False
            self._news.set()
            if not self._stopped.wait(self._backoff):
                self._watch = self._registry.watch(self._model, types=_TYPES)

    def _run(self) -> None:
        """Brings what serves up to date when there is news, or notes why it can't, and when to try again."""
        pause, failures = None, 0
        while not self._stopped.is_set():
            self._news.wait(pause)
            self._news.clear()
            pause, before = None, (self._served, self.error)
            if self._served and not self._connected:
                # There is nothing to try before the watch tells that the registry is there again.
                continue
            try:
                self._update()
                self.error, failures = None, 0
            except BaseException as error:
                pause = min(self._backoff * 2.0 ** min(failures, 30), 60.0) * random.uniform(0.5, 1)
                self.error, failures = error, failures + 1
                if isinstance(error, NotFound):
                    # The watch tells when the name stands for something again.
                    self._desired, pause = None, None
                self._recall()
                _log.warning("%s: %s: %s", self._name, "the last good version serves" if self._served else "nothing serves", error)
            self._tell()
            hopeless = isinstance(self.error, NotFound) and self.error.resource[0] == "modelregistry.dev/Model"
            if self._served or hopeless or not self._wait or isinstance(self.error, InvalidArgument):
                self._started.set()
            if self._on_change and before[0] and before != (self._served, self.error):
                try:
                    self._on_change(self)
                except BaseException:
                    _log.exception("%s: on_change failed", self._name)

    def _tell(self) -> None:
        """Tells the registry how it stands, if it is to know."""
        self._reporter.tell(self._desired, self._served.version if self._served else None, self.error)

    def _update(self) -> None:
        if not self._connected and self._recall():
            return
        if self._served and self._jitter:
            self._stopped.wait(random.uniform(0, self._jitter))
        version, known = self._registry.version(self._name), self._desired
        if known is None or known.uid != version.uid:
            # What went wrong did so with another version.
            self.error = None
        self._desired = version
        self._tell()
        # The folder of what serves has to be there, too: `load` may have left files for later.
        if self._served is None or version.uid != self._served.version.uid or not self._served.folder.is_dir():
            self._serve(version)
        new = self._cache / f"{uuid.uuid4()}.new"
        new.write_bytes(version.SerializeToString())
        new.replace(self._good)
        folders = sorted(filter(Path.is_dir, self._cache.iterdir()), key=lambda folder: folder.stat().st_mtime)
        # The last two stay, and what somebody uses.
        for folder in folders[:-2]:
            with contextlib.suppress(OSError), folder.with_suffix(".lock").open("ab") as held:
                if lock(held):
                    shutil.rmtree(folder)

    def _recall(self) -> bool:
        """Serves what served last in an earlier process, if nothing serves and the cache has that."""
        with contextlib.suppress(Exception, SystemExit):
            if self._served is None:
                self._serve(Version.FromString(self._good.read_bytes()))
                self._heard = self._heard or self._good.stat().st_mtime
        return self._served is not None

    def _serve(self, version: Version) -> None:
        """Loads a version and swaps it in."""
        folder = self._cache / version.uid
        folder.parent.mkdir(parents=True, exist_ok=True)
        held = os.open(folder.with_suffix(".lock"), os.O_RDONLY | os.O_CREAT)
        try:
            # Perhaps another process removes the folder just now.
            lock(held, shared=True)
            while not is_whole(folder, version) and not self._fetch(version, folder):
                self._stopped.wait(0.1)
            self._served = Served(version, folder, self._loaded(folder, version))
        except BaseException:
            # The first to be removed.
            with contextlib.suppress(OSError):
                os.utime(folder, (0, 0))
            os.close(held)
            raise
        # As long as somebody has it, no process removes the folder.
        weakref.finalize(self._served, os.close, held)
        with contextlib.suppress(OSError):
            folder.touch()
        _log.info("%s: serves %s", self._name, version.name)

    def _loaded(self, folder: Path, version: Version) -> T:
        """What the program makes of a version, unless that is no good."""
        try:
            model = self._load(folder, version)
            said = self._check(model)
            # NumPy has a False of its own.
            if type(said).__name__ in ("bool", "bool_") and not said:
                raise ValueError("check returned False")
            return model
        except BaseException as error:
            raise LoadFailed(version.name, error) from error

    def _fetch(self, version: Version, folder: Path) -> bool:
        """Pulls a version, unless another process does."""
        alike = self._served.folder if self._served else None
        try:
            # Files that are damaged, or somebody else's, are mended.
            if self._registry.pull(version.name, folder, overwrite=True, alike=alike).uid != version.uid:
                raise RegistryError(f"{version.name} is another version by now")
            return True
        except Conflict:
            if self._stopped.is_set():
                raise
            return False
