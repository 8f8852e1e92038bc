"""The way to the servers: requests with their headers, deadlines and retries."""

from __future__ import annotations

import copy
import math
import os
import random
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from modelregistry import v1
from modelregistry.errors import DeadlineExceeded, RegistryError, Unavailable, translated

M = TypeVar("M", bound=Message)
StrPath = str | os.PathLike[str]

#: How many seconds a server may take to answer, unless the program says otherwise.
_ANSWER = 30.0
# A page of a thousand versions with all that is known of them fits. Retries are made here, where it is known what is safe. A server that is
# gone without a word is noticed after a time of keepalive and one of pings. `min_reconnect_backoff` is how long connecting may take: after
# a failure, the next attempt comes no later for it.
_OPTIONS = [("grpc.max_receive_message_length", 64 << 20), ("grpc.enable_retries", 0)]
_OPTIONS += [("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_timeout_ms", 5_000), ("grpc.http2.ping_timeout_ms", 5_000)]
_OPTIONS += [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 5_000), ("grpc.max_reconnect_backoff_ms", 1_000)]
# A request message belongs to one method.
_PATHS = {
    method.input_type.full_name: f"/{service.full_name}/{method.name}"
    for module in vars(v1).values()
    for service in getattr(getattr(module, "DESCRIPTOR", None), "services_by_name", {}).values()
    for method in service.methods
}


def url(endpoint: str, tls: bool) -> str:
    """An endpoint with its scheme."""
    found = re.fullmatch(r"(?:(https?)://)?((?:\[[^][/@?#\s]+]|[^][/@?#\s:]+):([0-9]{1,5}))", endpoint.strip())
    if not found or not 0 < int(found[3]) < 1 << 16 or (tls and found[1] == "http"):
        raise ValueError(f"{endpoint!r} is no endpoint: a host and a port, as in http://127.0.0.1:50051, and with TLS no http://")
    return f"{found[1] or ('https' if tls else 'http')}://{found[2]}"


class Trust:
    """How servers at `https://` are recognised, and this client to them: by credentials, or by files that are read again."""

    def __init__(self, tls: grpc.ChannelCredentials | StrPath | None, identity: tuple[StrPath, StrPath] | None) -> None:
        self._given = tls if isinstance(tls, grpc.ChannelCredentials) else None
        if self._given and identity:
            raise ValueError("an identity is for files of roots: credentials have their own")
        roots = None if tls is None or self._given else tls
        #: As gRPC takes them: roots, the key, the certificate.
        self._files = (roots, *(reversed(identity) if identity else (None, None)))
        self.is_set = tls is not None or identity is not None
        self._read = self._contents()

    def _contents(self) -> list[bytes | None]:
        return [None if file is None else Path(file).read_bytes() for file in self._files]

    def changed(self) -> bool:
        """Reads the files again, and tells whether they have changed. Those that can't be read have not."""
        try:
            contents = self._contents()
        except OSError:
            return False
        before, self._read = self._read, contents
        return contents != before

    def channel(self, url: str) -> grpc.Channel:
        """A connection that is made when it is needed."""
        scheme, _, address = url.partition("://")
        if scheme == "https":
            return grpc.secure_channel(address, self._given or grpc.ssl_channel_credentials(*self._read), options=_OPTIONS)
        return grpc.insecure_channel(address, options=_OPTIONS)


class Failures:
    """The failures in a row of one call, transfer or watch."""

    def __init__(self, transport: Transport, deadline: float = math.inf) -> None:
        self._transport, self._deadline, self._since = transport, deadline, 0.0
        #: Whoever achieves something sets it to 0.
        self.count = 0

    def wait(self, error: RegistryError) -> None:
        """Goes on to the next server, after a pause when all were asked: one with full jitter, so that clients do not come back together.
        Raises the error if that would be too late.
        """
        now = time.monotonic()
        self._since = self._since if self.count else now
        self.count += 1
        self._transport.server += 1
        self._transport.renew()
        rounds, within = divmod(self.count, len(self._transport.channels))
        pause = 0.0 if within else (error.retry_after or 0.0) + random.random() * min(0.05 * 2.0 ** min(rounds, 31), 1.0)
        over = not within and now + pause - self._since >= self._transport.retry_for
        if over or now + pause >= self._deadline or self._transport.stopped.wait(pause):
            raise error


class Transport:
    """The servers of one registry."""

    def __init__(
        self, urls: Sequence[str], trust: Trust, headers: Callable[[], Any], timeout: float | None, retry_for: float
    ) -> None:  # fmt: skip
        self.urls, self._trust, self.channels = urls, trust, [trust.channel(url) for url in urls]
        # Those that others may still call on.
        self._left: list[grpc.Channel] = []
        self.headers, self.timeout, self.retry_for = headers, timeout, retry_for
        # Set when nobody waits for answers any more; and who is asked next.
        self.stopped, self.server = threading.Event(), 0

    def renew(self) -> None:
        """Makes new connections if the files of TLS have changed: gRPC reads them once."""
        if self._trust.changed():
            self._left += self.channels
            self.channels[:] = [self._trust.channel(url) for url in self.urls]

    def close(self) -> None:
        """Gives all connections back; calls that wait for the registry fail."""
        self.stopped.set()
        for one in (*self._left, *self.channels):
            one.close()

    def with_patience(self, retry_for: float) -> Transport:
        """The same connections for calls that wait so long for a registry that is away, and are stopped apart from others."""
        other = copy.copy(self)
        other.retry_for, other.stopped = retry_for, threading.Event()
        return other

    def begin(self, kind: str, request: type[Message], reply: type[Message], sent: Any, timeout: float = math.inf, *headers: Any) -> Any:
        """Makes one attempt at a method that is `unary_unary`, `unary_stream` or `stream_unary`."""
        path, method = _PATHS[request.DESCRIPTOR.full_name], getattr(self.channels[self.server % len(self.channels)], kind)
        headers = (*self.headers(), *headers)
        with translated():
            call = method(path, request_serializer=request.SerializeToString, response_deserializer=reply.FromString)
            return call(sent, timeout=None if timeout == math.inf else timeout, metadata=headers)

    def unary(self, request: Any, reply: type[M], timeout: float | None = None) -> M:
        """Calls a method that takes one message and returns one. A mutation gets a request id, so that it happens once."""
        # These grow with time where Python has them, which keeps the server's index of them compact.
        request_id = ("x-registry-request-id", str(getattr(uuid, "uuid7", uuid.uuid4)()))
        headers = [request_id] if getattr(request, "request_id", None) == "" else []
        timeout = timeout or self.timeout
        answer, deadline = timeout or _ANSWER, time.monotonic() + (timeout or _ANSWER + self.retry_for)
        failures = Failures(self, deadline)
        while (left := min(answer, deadline - time.monotonic())) > 0:
            try:
                done: M = self.begin("unary_unary", type(request), reply, request, left, *headers)
                return done
            except Unavailable as error:
                failures.wait(error)
        raise DeadlineExceeded("the registry did not answer within the deadline")

    def pages(self, request: Any, reply: type[Message], field: str) -> Iterator[Any]:
        """The items of a list, page after page; the next one is fetched when the reader has come to it."""
        more = True
        while more:
            page: Any = self.unary(request, reply)
            yield from getattr(page, field)
            request.page_token = more = page.next_page_token
