"""The way to the servers: requests with their headers, deadlines and retries."""

from __future__ import annotations

import copy
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

from modelregistry import v1
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


def channel(url: str, tls: grpc.ChannelCredentials | None) -> grpc.Channel:
    """A connection that is made when it is needed."""
    scheme, _, address = url.partition("://")
    if scheme == "https":
        return grpc.secure_channel(address, tls or grpc.ssl_channel_credentials(), options=_OPTIONS)
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
        rounds, within = divmod(self.count, len(self._transport.channels))
        pause = 0.0 if within else (error.retry_after or 0.0) + random.random() * min(0.05 * 2.0 ** min(rounds, 31), 1.0)
        over = not within and now + pause - self._since >= self._transport.retry_for
        if over or now + pause >= self._deadline or self._transport.stopped.wait(pause):
            raise error


class Transport:
    """The servers of one registry."""

    def __init__(
        self, urls: Sequence[str], tls: grpc.ChannelCredentials | None, headers: Callable[[], Any], timeout: float | None, retry_for: float
    ) -> None:  # fmt: skip
        self.urls, self.channels = urls, [channel(url, tls) for url in urls]
        self.headers, self.timeout, self.retry_for = headers, timeout, retry_for
        # Set when nobody waits for answers any more; and who is asked next.
        self.stopped, self.server = threading.Event(), 0

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
