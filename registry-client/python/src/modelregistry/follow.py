"""A model in memory that is always the one that a name stands for."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import logging
import math
import os
import random
import shutil
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from modelregistry.errors import Conflict, DataLoss, NotFound, RegistryError, Unavailable
from modelregistry.folder import is_whole, lock
from modelregistry.v1.versions_pb2 import Version
from modelregistry.watch import Watch

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

    #: What went wrong last, and is tried again: why the version that the name stands for does not serve, or is not in the cache.
    error: BaseException | None = None

    def __init__(
        self, registry: Registry, name: str, load: Callable[[Path, Version], T], check: Callable[[T], object] | None, cache: Path,
        jitter: float, backoff: float, on_change: Callable[[Follower[T]], object] | None,
    ) -> None:  # fmt: skip
        self._name, self._load, self._check, self._jitter, self._backoff = name, load, check, jitter, backoff
        # A name of another registry is another name. The client in Rust, which may share the folder, has no folder of this one.
        key = hashlib.sha256("\n".join([*sorted(registry._transport.urls), "", name]).encode()).hexdigest()
        self._on_change, self._cache = on_change, cache / "python" / key
        self._served: Served[T] | None = None
        self._failures, self._due = 0, 0.0
        # The file that has the last good version; by its time, when that was known to be the right one.
        self._good, self._known = self._cache / "last-good", 0.0
        self._new = self._cache / f"{uuid.uuid4()}.new"
        # A copy, whose calls end when this ends.
        self._registry = copy.copy(registry)
        transport = self._registry._transport = copy.copy(registry._transport)
        self._stopped = transport.stopped = threading.Event()
        # What is in the cache serves better now than another one later.
        transport.retry_for = 0.0 if self._good.exists() else transport.retry_for
        try:
            self._update()
        except (Exception, SystemExit) as error:
            transport.retry_for, self.error = registry._transport.retry_for, error
            try:
                if not self._served:
                    self._serve(Version.FromString(self._good.read_bytes()), self._find)
                    self._known = self._good.stat().st_mtime
                _log.warning("%s: begins with %s, in spite of this: %s", name, self.current().version.name, error)
            except (Exception, SystemExit) as unfit:
                if not isinstance(error, Unavailable):
                    raise error from unfit
                self._update()
                self.error = None
        transport.retry_for = registry._transport.retry_for
        self._due = time.monotonic() + backoff
        self._news = threading.Event()
        self._watch = self._begin()
        works = {f"watch {name}": self._listen, f"follow {name}": self._run}
        self._threads = [threading.Thread(target=self._keep, args=[work], name=called, daemon=True) for called, work in works.items()]
        for thread in self._threads:
            thread.start()

    def current(self) -> Served[T]:
        """What serves now."""
        if self._served is None:
            raise RuntimeError("nothing serves yet")
        return self._served

    @property
    def is_stale(self) -> bool:
        """Whether another version may be the right one by now: the registry is away, there is an `error`, or it is closed."""
        return self.error is not None or self._watch.away or not all(thread.is_alive() for thread in self._threads)

    @property
    def age(self) -> float:
        """The seconds since what serves was known to be the right version, also by an earlier process; 0 if it is."""
        return max(0.0, time.time() - self._known) if self.is_stale else 0.0

    def close(self) -> None:
        """Stops following. What serves stays usable."""
        self._stopped.set()
        self._watch.close()
        self._news.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self) -> Watch:
        *above, model = self._name.split("/")[:4]
        return self._registry.watch("/".join([*above, model.partition("@")[0]]), types=_TYPES)

    def _keep(self, work: Callable[[], None]) -> None:
        """Does what a thread is for until the follower is closed, whatever goes wrong."""
        while not self._stopped.is_set():
            try:
                work()
            except BaseException as error:
                self.error = error
                _log.warning("%s: begins anew: %r", self._name, error)
                self._stopped.wait(self._backoff)

    def _run(self) -> None:
        while not self._stopped.is_set():
            # Without a registry there is nothing to try; the watch tells when it is there again.
            again = self.error and not self._watch.away and self._due < math.inf
            if self._news.wait(max(0.0, self._due - time.monotonic()) if again else None) or not self._watch.away:
                # However many changes there were: it is the newest version that counts.
                self._news.clear()
                if not self._stopped.is_set():
                    self._try()

    def _listen(self) -> None:
        try:
            for change in self._watch:
                if change.kind != "bookmark":
                    self._news.set()
                elif not self.error:
                    self._known = time.time()
                    try:
                        os.utime(self._good)
                    except OSError:
                        # It was removed, or is another user's: it is written anew.
                        self._news.set()
        finally:
            # The registry counts as away until it answers the next watch.
            self._watch = self._begin()
            self._watch.away = True
            if self._stopped.is_set():
                self._watch.close()

    def _try(self) -> None:
        """Brings what serves up to date, or notes why it can't, and when to try again."""
        before = (self._served, self.error)
        try:
            self._update()
            self.error, self._failures = None, 0
        except BaseException as error:
            if self._stopped.is_set():
                return
            self.error, self._failures = error, self._failures + 1
            delay = min(self._backoff * 2.0 ** min(self._failures - 1, 30), 60.0) * random.uniform(0.5, 1)
            # The watch tells when a name that stands for nothing does again.
            self._due = time.monotonic() + (math.inf if isinstance(error, NotFound) else delay)
            _log.warning("%s: stays with %s: %s", self._name, self.current().version.name, error)
        if self._on_change and before != (self._served, self.error):
            try:
                self._on_change(self)
            except BaseException:
                _log.exception("%s: on_change failed", self._name)

    def _update(self) -> None:
        version = self._registry.version(self._name)
        self._cache.mkdir(parents=True, exist_ok=True)
        # The folder of what serves has to be there, too: `load` may have left files for later.
        if self._served is None or version.uid != self._served.version.uid or not self._served.folder.is_dir():
            if self._served and self._jitter and not self._stopped.wait(random.uniform(0, self._jitter)):
                version = self._registry.version(self._name)
            self._serve(version, self._fetch)
        self._known = time.time()
        self._new.write_bytes(version.SerializeToString())
        self._new.replace(self._good)
        folders = sorted(filter(Path.is_dir, self._cache.iterdir()), key=lambda folder: folder.stat().st_mtime)
        # The last two stay, and what somebody uses.
        for folder in folders[:-2]:
            with contextlib.suppress(OSError), folder.with_suffix(".lock").open("ab") as held:
                if lock(held):
                    shutil.rmtree(folder)

    def _find(self, version: Version, folder: Path) -> None:
        if not is_whole(folder, version):
            raise DataLoss(f"{folder} is not {version.name}")

    def _fetch(self, version: Version, folder: Path) -> None:
        while not is_whole(folder, version):
            try:
                # Files that are damaged, or somebody else's, are mended.
                pulled = self._registry.pull(version.name, folder, overwrite=True, alike=self._served.folder if self._served else None)
                if pulled.uid != version.uid:
                    raise RegistryError(f"{version.name} is another version by now")
                return
            except Conflict:
                # Another process pulls it.
                if self._stopped.wait(0.1):
                    raise

    def _serve(self, version: Version, provide: Callable[[Version, Path], object]) -> None:
        """Loads a version whose folder `provide` makes whole, and swaps it in."""
        folder = self._cache / version.uid
        held = os.open(folder.with_suffix(".lock"), os.O_RDONLY | os.O_CREAT)
        try:
            # Perhaps another process removes the folder just now.
            lock(held, shared=True)
            provide(version, folder)
            model = self._load(folder, version)
            if self._check:
                self._check(model)
            self._served = Served(version, folder, model)
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
