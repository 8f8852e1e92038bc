"""The way to the servers: requests with their headers, deadlines and retries."""

from __future__ import annotations

import importlib
import math
import random
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from modelregistry.errors import DeadlineExceeded, RegistryError, Unavailable, translated

M = TypeVar("M", bound=Message)

#: How many seconds a server may take to answer, unless the program says otherwise.
_ANSWER = 30.0
# A page of a thousand versions with all that is known of them fits. Retries are made here, where it is known what is safe. A server that is
# gone without a word is noticed after a time of keepalive and one of pings. `min_reconnect_backoff` is how long connecting may take: after
# a failure, the next attempt comes no later for it.
_OPTIONS = [("grpc.max_receive_message_length", 64 << 20), ("grpc.enable_retries", 0)]
_OPTIONS += [("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_timeout_ms", 5_000), ("grpc.http2.ping_timeout_ms", 5_000)]
_OPTIONS += [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.min_reconnect_backoff_ms", 5_000), ("grpc.max_reconnect_backoff_ms", 1_000)]
_SERVICES = ["admin", "artifacts", "events", "lifecycle", "models", "namespaces", "search", "version_service"]
# A request message belongs to one method.
_PATHS = {
    method.input_type.full_name: f"/{service.full_name}/{method.name}"
    for module in _SERVICES
    for service in importlib.import_module(f"modelregistry.v1.{module}_pb2").DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


def url(endpoint: str, tls: bool) -> str:
    """An endpoint with its scheme."""
    found = re.fullmatch(r"(?:(https?)://)?((?:\[[^][/@?#\s]+]|[^][/@?#\s:]+):([0-9]{1,5}))", endpoint.strip())
    if not found or not 0 < int(found[3]) < 1 << 16 or (tls and found[1] == "http"):
        raise ValueError(f"{endpoint!r} is no endpoint: a host and a port, as in http://127.0.0.1:50051, and with TLS no http://")
    return f"{found[1] or ('https' if tls else 'http')}://{found[2]}"


def channel(url: str, tls: grpc.ChannelCredentials | None) -> grpc.Channel:
    """A connection that is made when it is needed."""
    scheme, _, address = url.partition("://")
    if scheme == "https":
        return grpc.secure_channel(address, tls or grpc.ssl_channel_credentials(), options=_OPTIONS)
    return grpc.insecure_channel(address, options=_OPTIONS)


def pause(failures: int, error: RegistryError) -> float:
    """The seconds to wait after so many failures in a row: full jitter, so that clients do not come back together."""
    return (error.retry_after or 0.0) + random.random() * min(0.05 * 2.0 ** min(failures, 31), 1.0)


class Failures:
    """The failures in a row of one call or transfer."""

    def __init__(self, transport: Transport, deadline: float = math.inf) -> None:
        self._transport, self._deadline, self._count, self._since = transport, deadline, 0, 0.0

    def forget(self) -> None:
        """Something was achieved: what failed before no longer counts."""
        self._count = 0

    def wait(self, error: Unavailable) -> None:
        """Goes on to the next server, after a pause when all were asked. Raises the error if that would be too late."""
        now, servers = time.monotonic(), self._transport.next_server()
        self._since = now if self._count == 0 else self._since
        self._count += 1
        rounds, within = divmod(self._count, servers)
        delay = 0.0 if within else pause(rounds, error)
        over = not within and now + delay - self._since >= self._transport.retry_for
        if over or now + delay >= self._deadline or self._transport.stopped.wait(delay):
            raise error


class Transport:
    """The servers of one registry."""

    def __init__(
        self, urls: Sequence[str], tls: grpc.ChannelCredentials | None, headers: Callable[[], Any], timeout: float | None, retry_for: float
    ) -> None:  # fmt: skip
        self.urls, self.channels = urls, [channel(url, tls) for url in urls]
        self.headers, self.timeout, self.retry_for = headers, timeout, retry_for
        #: Set when nobody waits for answers any more.
        self.stopped = threading.Event()
        self._server = 0

    def next_server(self) -> int:
        """Turns to the next server; returns how many there are."""
        self._server = (self._server + 1) % len(self.channels)
        return len(self.channels)

    def begin(self, kind: str, request: type[Message], reply: type[Message], sent: Any, timeout: float = math.inf) -> Any:
        """Makes one attempt at a method that is `unary_unary`, `unary_stream` or `stream_unary`."""
        method = getattr(self.channels[self._server], kind)(
            _PATHS[request.DESCRIPTOR.full_name], request_serializer=request.SerializeToString, response_deserializer=reply.FromString
        )
        headers = self.headers()
        try:
            with translated():
                return method(sent, timeout=None if timeout == math.inf else timeout, metadata=headers)
        except ValueError as error:
            raise RegistryError(f"the client is closed: {error}") from error

    def unary(self, request: Any, reply: type[M], timeout: float | None = None) -> M:
        """Calls a method that takes one message and returns one. A mutation gets a request id, so that it happens once."""
        if getattr(request, "request_id", None) == "":
            given, request = request, type(request)()
            request.CopyFrom(given)
            # These grow with time where Python has them, which keeps the server's index of them compact.
            request.request_id = str(getattr(uuid, "uuid7", uuid.uuid4)())
        answer = timeout or self.timeout or _ANSWER
        deadline = time.monotonic() + (timeout or self.timeout or _ANSWER + self.retry_for)
        failures = Failures(self, deadline)
        while (left := min(answer, deadline - time.monotonic())) > 0:
            try:
                done: M = self.begin("unary_unary", type(request), reply, request, left)
                return done
            except Unavailable as error:
                failures.wait(error)
        raise DeadlineExceeded("the registry did not answer within the deadline")

    def pages(self, request: Any, reply: type[Message], field: str) -> Iterator[Any]:
        """The items of a list, page after page; the next one is fetched when the reader has come to it."""
        token: str | None = None
        while token != "":
            request.page_token = token or ""
            page: Any = self.unary(request, reply)
            yield from getattr(page, field)
            token = page.next_page_token
