"""The log of changes as it grows, over as many connections as it takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from modelregistry.errors import DeadlineExceeded, RegistryError, Unavailable, translated
from modelregistry.transport import Transport, pause
from modelregistry.v1.events_pb2 import Event, WatchEventsRequest, WatchEventsResponse


@dataclass(frozen=True)
class Change:
    """What a watch tells."""

    kind: str
    """`created`, once and first; `events`; `bookmark`, every few seconds without events; `resumed`, when a connection stands again."""
    revision: int
    """Everything up to this one has been told, so that another watch can go on after it."""
    events: tuple[Event, ...]
    """All of the revision that were asked for; empty unless the kind is `events`."""
    hash: bytes
    """What tells this revision from the same one of another history."""


class Watch(Iterator[Change], AbstractContextManager["Watch"]):
    """Changes, in order, each once and none left out. It waits for a registry that is away, however long that takes, and ends when it is
    closed, which another thread may do, or with an error that waiting would not cure: `NotFound` for a parent that never was,
    `OutOfRange` if the revision to go on from is not in the log any more.
    """

    def __init__(self, transport: Transport, request: WatchEventsRequest) -> None:
        self._transport, self._request = transport, request
        self._call: Any = None
        self._failures, self._told, self._closed = 0, False, threading.Event()
        #: Whether the registry can't be reached, so that what happens now is told later.
        self.away = False

    def __next__(self) -> Change:
        while not self._closed.is_set():
            try:
                change = self._next()
            except RegistryError as error:
                self.away, self._call = True, None
                if not isinstance(error, Unavailable | DeadlineExceeded) and error.retry_after is None:
                    self._closed.set()
                    raise
                self._failures += 1
                rounds, within = divmod(self._failures, self._transport.next_server())
                self._closed.wait(0 if within else pause(rounds, error))
            else:
                if change:
                    return change
        raise StopIteration

    def _next(self) -> Change | None:
        """What comes next on the connection, which is made if there is none; None if it was told before."""
        request = self._request
        if self._call is None:
            self._call = self._transport.begin("unary_stream", WatchEventsRequest, WatchEventsResponse, request)
            if self._closed.is_set():
                self._call.cancel()
        with translated():
            message = next(self._call, None)
        kind = message and message.WhichOneof("response")
        if not kind:
            raise Unavailable("the server ended the watch")
        told = getattr(message, kind)
        known = request.after_revision if request.WhichOneof("start") == "after_revision" else -1
        if kind == "created":
            if 0 <= known < told.revision:
                raise RegistryError("the watch left out revisions")
            self.away = False
            kind = "resumed" if self._told else "created"
        elif kind == "events" and told.revision <= known:
            return None
        else:
            self._failures = 0
        self._told = True
        # After a break the server's own revision may lie before what the reader knows.
        if told.revision >= known:
            request.after_revision, request.after_hash = told.revision, told.hash
        return Change(kind, request.after_revision, tuple(told.events) if kind == "events" else (), request.after_hash)

    def close(self) -> None:
        """Ends the watch, also while another thread waits for what comes next."""
        self._closed.set()
        if self._call is not None:
            self._call.cancel()

    def __exit__(self, *_: object) -> None:
        self.close()
