"""The log of changes as it grows, over as many connections as it takes."""

import contextlib
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from modelregistry.errors import DeadlineExceeded, RegistryError, Unavailable, translated
from modelregistry.transport import Failures, Transport
from modelregistry.v1 import Event, WatchEventsRequest, WatchEventsResponse


@dataclass(frozen=True)
class Change:
    """What a watch tells."""

    #: `created`, once; `events`; `bookmark`, every few seconds without events; `disconnected`, once until a connection stands again, which
    #: is `resumed`. The first one is `created`, or `disconnected` if the registry is not there yet.
    kind: str
    #: Everything up to this one has been told, so that another watch can go on after it.
    revision: int
    #: All of the revision that were asked for; empty unless the kind is `events`.
    events: tuple[Event, ...]
    #: What tells this revision from the same one of another history.
    hash: bytes


class Watch(Iterator[Change], AbstractContextManager["Watch"]):
    """Changes, in order, each once and none left out. It waits for a registry that is away, however long that takes, and ends when it is
    closed, which another thread may do, or with an error that waiting would not cure: `NotFound` for a parent that never was,
    `OutOfRange` if the revision to go on from is not in the log any more.
    """

    def __init__(self, transport: Transport, request: WatchEventsRequest) -> None:
        self._transport, self._request = transport.with_patience(math.inf), request
        self._call: Any = None
        self._changes = self._told()

    def __next__(self) -> Change:
        return next(self._changes)

    def _told(self) -> Iterator[Change]:
        request, failures, stopped = self._request, Failures(self._transport), self._transport.stopped
        begun = away = False
        while not stopped.is_set():
            try:
                self._call = self._transport.begin("unary_stream", WatchEventsRequest, WatchEventsResponse, request)
                if stopped.is_set():
                    self._call.cancel()
                with translated():
                    for message in self._call:
                        kind = message.WhichOneof("response")
                        told = getattr(message, kind)
                        known = request.after_revision if request.HasField("after_revision") else -1
                        if kind == "created":
                            if 0 <= known < told.revision:
                                raise RegistryError("the watch left out revisions")
                            kind, begun, away = "resumed" if begun else "created", True, False
                        elif kind == "events" and told.revision <= known:
                            continue
                        else:
                            failures.count = 0
                        # After a break the server's own revision may lie before what the reader knows.
                        if told.revision >= known:
                            request.after_revision, request.after_hash = told.revision, told.hash
                        yield Change(kind, request.after_revision, tuple(getattr(told, "events", ())), request.after_hash)
                raise Unavailable("the server ended the watch")
            except RegistryError as error:
                if stopped.is_set():
                    return
                if not isinstance(error, Unavailable | DeadlineExceeded) and error.retry_after is None:
                    raise
                if not away:
                    away = True
                    yield Change("disconnected", request.after_revision, (), request.after_hash)
                # Nothing but the end of the watch ends its patience.
                with contextlib.suppress(RegistryError):
                    failures.wait(error)

    def close(self) -> None:
        """Ends the watch, also while another thread waits for what comes next."""
        self._transport.stopped.set()
        if self._call is not None:
            self._call.cancel()

    def __exit__(self, *_: object) -> None:
        self.close()
