"""Bytes of artifacts, up and down: cut into chunks, each of them checked, and none sent or fetched that is there already."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import io
import itertools
import math
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, TypeVar

from blake3 import blake3
from pyfastcdc import FastCDC

from modelregistry.errors import DataLoss, FailedPrecondition, Unavailable, translated
from modelregistry.folder import PART, lock
from modelregistry.transport import Failures, Transport
from modelregistry.v1 import artifacts_pb2 as pb
from modelregistry.v1 import chunks_pb2 as chunks
from modelregistry.v1.chunks_pb2 import Chunk, UploadChunksRequest

T = TypeVar("T")
#: A chunk, and where in the artifact it begins.
Placed = tuple[int, Chunk]
#: An artifact of at most so many bytes is sent whole.
_INLINE = 16 << 10
#: How many chunks are sent and fetched in one call, how many such calls of a file are under way, and how many files. What is sent is in
#: memory: some 80 MiB.
_SENT, _FETCHED, _CALLS, FILES = 4, 16, 2, 8
#: What files are, by their names: the first that fits.
_TYPES = [(kind, kind) for kind in ("confusion_matrix", "feature_importance", "predictions", "schema")] + [
    ("checkpoint", r"^checkpoint|\.ckpt$"),
    ("metrics", r"^metrics.*\.json$"),
    ("log", r"\.log$"),
    ("config", r"^metadata\.json$|^config"),
    ("model", r"^model\.|\.(bin|bst|cbm|gguf|h5|jit|joblib|keras|lgb|mar|mlmodel|model|nemo|onnx|ort|pb|pickle|pkl|pmml|pte?|pth)$"),
    ("model", r"\.(safetensors|skops|tflite|torchscript|ubj)$"),
    ("config", r"\.(ya?ml|toml)$"),
    ("plot", r"\.(gif|jpe?g|pdf|png|svg|webp)$"),
]


def artifact_type(path: str) -> str:
    """What a file most likely is, by its name: the rules of the client in Rust."""
    name = path.rpartition("/")[2].lower()
    return next((kind for kind, pattern in _TYPES if re.search(pattern, name)), "other")


def in_parallel(work: Callable[[T], object], items: Iterable[T], at_once: int) -> None:
    """Does something with every item. After the first error no other begins."""
    with ThreadPoolExecutor(at_once) as pool:
        collections.deque(pool.map(work, items), maxlen=0)


def _cut(source: BinaryIO) -> Iterator[bytes]:
    """Pieces that end where the content says so, as in all of the registry's clients: only what is cut alike is found again."""
    cutter = FastCDC(avg_size=640 << 10, min_size=512 << 10, max_size=2 << 20, normalized_chunking=1)
    return (bytes(cut.data) for cut in cutter.cut_stream(source))


def upload(transport: Transport, version: str, artifact: pb.Artifact, source: Path | bytes) -> pb.Artifact:
    """Makes an artifact of a file or of bytes. If chunks are removed as garbage meanwhile, they are sent once more."""
    upload_id, again = str(uuid.uuid4()), True
    while True:
        request = pb.CreateArtifactRequest(parent=version, artifact=artifact, upload_id=upload_id)
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as opened:
            seen = None if isinstance(source, bytes) else os.fstat(opened.fileno())
            request.artifact.executable = bool(seen and seen.st_mode & 0o100)
            start = opened.read(_INLINE + 1)
            opened.seek(0)
            if len(start) <= _INLINE:
                request.data = start
            else:
                request.chunks.extend(_send(transport, version, upload_id, _cut(opened)))
            now = seen and os.fstat(opened.fileno())
        request.artifact.size_bytes = len(request.data) + sum(chunk.size_bytes for chunk in request.chunks)
        # Logs are written to while they are read.
        if seen and now and (seen.st_size, seen.st_mtime_ns) != (now.st_size, now.st_mtime_ns) and artifact.type != "log":
            raise FailedPrecondition(f"{source!s}: the file changed while it was read")
        try:
            # Without a deadline: the registry may have to read all bytes again.
            return transport.unary(request, pb.Artifact, math.inf)
        except FailedPrecondition as error:
            if error.reason != "CHUNKS_MISSING" or not again:
                raise
            again = False


def _send(transport: Transport, version: str, upload_id: str, pieces: Iterator[bytes]) -> list[Chunk]:
    """Sends what the registry lacks of the pieces, several batches at once; returns the chunks of all of them."""

    def missing(batch: Sequence[UploadChunksRequest]) -> set[int]:
        request = chunks.FindMissingChunksRequest(parent=version, blake3=[message.blake3 for message in batch])
        return set(transport.unary(request, chunks.FindMissingChunksResponse).missing)

    def send(batch: list[UploadChunksRequest]) -> None:
        failures = Failures(transport)
        while batch:
            messages = iter([UploadChunksRequest(parent=version, upload_id=upload_id), *batch])
            try:
                transport.begin("stream_unary", UploadChunksRequest, chunks.UploadChunksResponse, messages)
                return
            except Unavailable as error:
                failures.wait(error)
            left = missing(batch)
            if len(left) < len(batch):
                failures.count = 0
            batch = [batch[place] for place in sorted(left)]

    listed: list[Chunk] = []
    running: collections.deque[Future[None]] = collections.deque()
    with ThreadPoolExecutor(_CALLS) as pool:
        while batch := list(itertools.islice(pieces, _SENT)):
            messages = []
            for piece in batch:
                listed.append(Chunk(blake3=blake3(piece).digest(), size_bytes=len(piece)))
                messages.append(UploadChunksRequest(position=len(listed) - 1, blake3=listed[-1].blake3, data=piece))
            lacking = missing(messages)
            if lacking:
                # So many batches are in memory at once.
                if len(running) == _CALLS:
                    running.popleft().result()
                running.append(pool.submit(send, [messages[place] for place in sorted(lacking)]))
        for sent in running:
            sent.result()
    return listed


def chunks_of(transport: Transport, artifact: pb.Artifact) -> list[Placed]:
    """The chunks of an artifact. What the artifact says vouches for the list."""
    listed = list(transport.pages(chunks.ListChunksRequest(parent=artifact.name), chunks.ListChunksResponse, "chunks"))
    packed = b"".join(chunk.blake3 + chunk.size_bytes.to_bytes(4, "big") for chunk in listed)
    begins = list(itertools.accumulate((chunk.size_bytes for chunk in listed), initial=0))
    if blake3(packed).hexdigest() != artifact.chunks_blake3 or begins[-1] != artifact.size_bytes:
        raise DataLoss(f"{artifact.name}: the list of its chunks is not the artifact's")
    return list(zip(begins, listed, strict=False))


def received(transport: Transport, name: str, run: Sequence[Placed]) -> Iterator[tuple[int, bytes]]:
    """Fetches chunks that follow each other, each checked. After a break it goes on behind the last that came."""
    failures, left = Failures(transport), collections.deque(run)
    while left:
        begin, length = left[0][0], left[-1][0] + left[-1][1].size_bytes - left[0][0]
        request, buffer = pb.DownloadArtifactRequest(name=name, offset=begin, length=length), bytearray()
        try:
            with translated():
                for message in transport.begin("unary_stream", type(request), pb.DownloadArtifactResponse, request):
                    buffer += message.data
                    while left and len(buffer) >= left[0][1].size_bytes:
                        at, chunk = left.popleft()
                        piece = bytes(buffer[: chunk.size_bytes])
                        del buffer[: chunk.size_bytes]
                        if blake3(piece).digest() != chunk.blake3:
                            raise DataLoss(f"{name}: the chunk at {at} arrived damaged")
                        failures.count = 0
                        yield at, piece
            if left:
                raise DataLoss(f"{name}: fewer bytes came than there are")
        except Unavailable as error:
            failures.wait(error)


def download(transport: Transport, artifact: pb.Artifact, destination: Path, alike: Path, check: Callable[[], None]) -> None:
    """Puts an artifact into the place of a file, once it is whole and `check` has passed. What an earlier attempt left of it is not fetched
    again, nor what it has in common with the file in its place, and with another one.
    """
    placed, missing = chunks_of(transport, artifact), dict[int, Chunk]()
    with _part(artifact, destination) as (file, part):
        for at, chunk in placed:
            file.seek(at)
            if blake3(file.read(chunk.size_bytes)).digest() != chunk.blake3:
                missing[at] = chunk
        guard = threading.Lock()

        def write(at: int, piece: bytes) -> None:
            with guard:
                file.seek(at)
                file.write(piece)

        def fetch(run: Sequence[Placed]) -> None:
            for at, piece in received(transport, artifact.name, run):
                write(at, piece)

        for source in (destination, alike):
            if not missing or not source.is_file():
                continue
            with source.open("rb") as old:
                for piece in _cut(old):
                    digest = blake3(piece).digest()
                    for at in [at for at, chunk in missing.items() if chunk.blake3 == digest]:
                        del missing[at]
                        write(at, piece)
        grouped = itertools.groupby(enumerate(placed), lambda one: (one[1][0] in missing, one[0] // _FETCHED))
        in_parallel(fetch, [[one for _, one in run] for (lacks, _), run in grouped if lacks], _CALLS)
        file.truncate(artifact.size_bytes)
        file.flush()
        check()
        mode = part.stat().st_mode
        part.chmod(mode | (mode & 0o444) >> 2 if artifact.executable else mode & ~0o111)
        part.replace(destination)


@contextlib.contextmanager
def _part(artifact: pb.Artifact, destination: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A file beside the destination: one that an earlier attempt at the same left and nobody works on, or a new one."""
    digest = hashlib.sha256(f"{artifact.chunks_blake3} {destination.name}".encode()).hexdigest()
    stem = f"{PART}{digest[:16]}-"
    left = [part for part in destination.parent.glob(f"{stem}*") if part.is_file() and not part.is_symlink()]
    for part in [*left, destination.with_name(f"{stem}{uuid.uuid4().hex}")]:
        with part.open("r+b" if part in left else "x+b") as file:
            if lock(file):
                yield file, part
                return
