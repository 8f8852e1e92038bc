"""Why a call came to nothing: a class for what the caller can do about it, and the contract's reason within."""

import contextlib
from collections.abc import Iterator
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2


class RegistryError(Exception):
    """Any error of the registry or of the way to it. Its text is for people and may change."""

    #: Which of the contract's errors it is, as `ErrorReason` has them without prefix; empty if it is none of the registry's.
    reason = ""
    #: With `InvalidArgument`: what is wrong, at most 16 times. Each has `field` (`version.tags[team]`), `reason` and `description`.
    violations: tuple[Any, ...] = ()
    #: The fields of these.
    fields: tuple[str, ...] = ()
    #: With `NotFound` and `AlreadyExists`: type and name of the resource.
    resource = ("", "")
    #: How many seconds to wait before another attempt, if that helps.
    retry_after: float | None = None


class NotFound(RegistryError):
    """There is no such resource."""


class AlreadyExists(RegistryError):
    """The name is taken."""


class Conflict(RegistryError):
    """The resource has changed since its etag was read, or somebody else works on the folder: look again, decide again."""


class FailedPrecondition(RegistryError):
    """The state of the resource, of the version or of a folder rules the call out."""


class InvalidArgument(RegistryError):
    """The request is wrong, see `violations`; or files are."""


class OutOfRange(RegistryError):
    """The bytes, or the revisions, that were asked for are not there."""


class ResourceExhausted(RegistryError):
    """A limit was hit: of the registry, of a quota, or of the size of messages."""


class DataLoss(RegistryError):
    """Bytes are not what their digest says: in the store, or as they are here."""


class Unavailable(RegistryError):
    """The registry can't be reached, or can't work now. It was tried again already. Whether a mutation happened is unknown."""


class DeadlineExceeded(RegistryError):
    """No answer came in time. Whether a mutation happened is unknown: repeat it with the same request id."""


class PermissionDenied(RegistryError):
    """Who calls may not do that."""


class Unauthenticated(RegistryError):
    """Who calls did not prove who that is."""


class Unimplemented(RegistryError):
    """The registry has no such method: it is older than this client."""


class LoadFailed(RegistryError):
    """A follower's version can't be loaded, or is no good, by the judgement of the program: `__cause__` is what that said."""

    def __init__(self, version: str, error: BaseException) -> None:
        super().__init__(f"{version} can't be loaded: {error!r}")
        #: The name of the version.
        self.version = version


_CLASSES = {kind.__name__.lower(): kind for kind in RegistryError.__subclasses__()} | {"aborted": Conflict}
# The registry says why it refuses. Without that, these are of a connection that broke, or of a proxy or server that was stopped.
_BROKEN = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL)


def _of_call(call: grpc.Call) -> RegistryError:
    """The error that a call ended with, with the details that the contract promises."""
    details = dict(call.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    info, bad, named, retry = (getattr(error_details_pb2, name)() for name in ("ErrorInfo", "BadRequest", "ResourceInfo", "RetryInfo"))
    for detail in status_pb2.Status.FromString(details).details:
        for message in (info, bad, named, retry):
            detail.Unpack(message)
    kind = _CLASSES.get(call.code().name.lower().replace("_", ""), RegistryError)
    if info.reason == "UPLOAD_INCOMPLETE" or (call.code() in _BROKEN and not details):
        kind = Unavailable
    told = "; ".join(f"{violation.field}: {violation.description}" for violation in bad.field_violations)
    error = kind(told or call.details() or call.code().name)
    error.violations, error.resource = tuple(bad.field_violations), (named.resource_type, named.resource_name)
    error.fields = tuple(violation.field for violation in bad.field_violations)
    error.reason = info.reason if info.domain == "modelregistry.dev" else ""
    error.retry_after = retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None
    return error


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raises what gRPC raises as the errors of this module."""
    try:
        yield
    except grpc.RpcError as error:
        raise (_of_call(error) if isinstance(error, grpc.Call) else RegistryError(str(error))) from error
    except ValueError as error:
        raise RegistryError(f"the client is closed: {error}") from error
