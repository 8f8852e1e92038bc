"""Tells the registry what a follower runs. What serves does not wait for that, and does not hear of it."""

import logging
import os
import random
import re
import socket
import string
import threading
from collections.abc import Mapping
from typing import Any

from modelregistry import v1
from modelregistry.errors import InvalidArgument, Unimplemented
from modelregistry.transport import Transport
from modelregistry.v1 import Instance, Version

_log = logging.getLogger("modelregistry")
#: After how many seconds an instance that is silent is removed, unless the registry says otherwise, and how many reports there are in them.
_TTL, _BEATS = 60.0, 3
#: How many seconds a report may take, and how many it may take to say that an instance is gone.
_ANSWER, _LAST_WORDS = 5.0, 3.0
#: How much of an error is told, in bytes.
_ERROR = 4 << 10


def unique_id(host: str, process: int, letters: str) -> str:
    """An id that says where a process is."""
    host = re.sub(r"[^A-Za-z0-9._-]", "", host)[:60].lstrip("._-") or "host"
    return f"{host}-{process}-{letters}"


class Reporter(threading.Thread):
    """Reports one instance, from its start until `end`. Not started, it tells nobody."""

    def __init__(self, transport: Transport, model: str, target: str, id: str | None, labels: Mapping[str, str]) -> None:
        unique = unique_id(socket.gethostname(), os.getpid(), "".join(random.choices(string.ascii_lowercase, k=5)))
        super().__init__(name=f"report {model}", daemon=True)
        self._who: dict[str, Any] = {"name": f"{model}/instances/{id or unique}", "target": target, "labels": labels}
        self._instance = Instance(**self._who, state=v1.INSTANCE_STATE_LOADING)
        # An attempt is one report: a later one knows better.
        self._transport, self._news = transport.with_patience(0.0), threading.Event()

    def tell(self, desired: Version | None, observed: Version | None, error: BaseException | None) -> None:
        """From now on this is so: the version that should run, the one that does, and what went wrong last."""
        should, does = desired.name if desired else "", observed.name if observed else ""
        instance = Instance(**self._who, state=v1.INSTANCE_STATE_LOADING, desired_version=should, observed_version=does)
        if does and should in ("", does):
            instance.state = v1.INSTANCE_STATE_SERVING
        elif should and error:
            instance.state = v1.INSTANCE_STATE_FAILED
            instance.error = str(error).encode(errors="replace")[:_ERROR].decode(errors="ignore")
        if instance != self._instance:
            self._instance = instance
            self._news.set()

    def again(self) -> None:
        """Reports at once: while the registry was away it may have missed the instance."""
        self._news.set()

    def end(self) -> None:
        """Says that the instance is gone, and waits until the registry knows, for a few seconds at most."""
        self._transport.stopped.set()
        self._news.set()
        if self.is_alive():
            self.join(_LAST_WORDS)

    def run(self) -> None:
        """Reports what is new at once, and what is known often enough not to be missed."""
        name, pause = self._who["name"], _TTL / _BEATS
        while not self._transport.stopped.is_set():
            self._news.clear()
            try:
                known = self._transport.unary(v1.ReportInstanceRequest(instance=self._instance), Instance, _ANSWER)
                pause = (known.ttl.ToTimedelta().total_seconds() or _TTL) / _BEATS
            except (InvalidArgument, Unimplemented) as error:
                _log.warning("%s: what runs is not reported: %s", name, error)
                return
            except BaseException as error:
                # The next report says the same, at the latest when the registry is back.
                _log.debug("%s: what runs can't be reported now: %r", name, error)
            self._news.wait(pause * random.uniform(0.9, 1.1))
        try:
            self._transport.unary(v1.DeleteInstanceRequest(name=name), Instance, _LAST_WORDS)
        except BaseException as error:
            # Whoever can't be told will miss the instance.
            _log.debug("%s: that it is gone can't be reported: %r", name, error)
