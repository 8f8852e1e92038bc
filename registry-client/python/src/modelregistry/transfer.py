"""Bytes of artifacts, up and down: cut into chunks, each of them checked, and none sent or fetched that is there already."""

import collections
import io
import itertools
import math
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, TypeVar

from blake3 import blake3
from pyfastcdc import FastCDC

from modelregistry import v1
from modelregistry.errors import DataLoss, Unavailable, translated
from modelregistry.folder import PART, join, open_own
from modelregistry.transport import Failures, Transport
from modelregistry.v1 import Artifact, Chunk, UploadChunksRequest

T = TypeVar("T")
#: A chunk, and where in the artifact it begins.
Placed = tuple[int, Chunk]
#: An artifact of at most so many bytes is sent whole; so many chunks are asked for at once; and so many files are under way.
_INLINE, _ASKED, _FILES = 16 << 10, 10_000, 8
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


def each(work: Callable[[T], object], files: Iterable[T]) -> None:
    """Does something with every file, several at once. After the first error no other begins."""
    with ThreadPoolExecutor(_FILES) as pool:
        collections.deque(pool.map(work, files), maxlen=0)


def cut(source: BinaryIO) -> Iterator[bytes]:
    """Pieces that end where the content says so, as in all of the registry's clients: only what is cut alike is found again."""
    cutter = FastCDC(avg_size=640 << 10, min_size=512 << 10, max_size=2 << 20, normalized_chunking=1)
    return (bytes(piece.data) for piece in cutter.cut_stream(source))


def upload(transport: Transport, version: str, artifact: Artifact, source: Path | bytes) -> Artifact:
    """Makes an artifact of a file or of bytes."""
    artifact.executable = isinstance(source, Path) and bool(source.stat().st_mode & 0o100)
    request = v1.CreateArtifactRequest(parent=version, artifact=artifact, upload_id=str(uuid.uuid4()))

    def opened() -> BinaryIO:
        return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")

    with opened() as file:
        start = file.read(_INLINE + 1)
    if len(start) <= _INLINE:
        request.data = start
    else:
        request.chunks.extend(_send(transport, version, request.upload_id, opened))
    request.artifact.size_bytes = len(request.data) + sum(chunk.size_bytes for chunk in request.chunks)
    # Without a deadline: the registry may have to read all bytes again.
    return transport.unary(request, Artifact, math.inf)


def _send(transport: Transport, version: str, upload_id: str, opened: Callable[[], BinaryIO]) -> list[Chunk]:
    """Sends what the registry lacks of a file; returns all its chunks. If the file changes meanwhile, the registry refuses it."""
    with opened() as file:
        listed = [Chunk(blake3=blake3(piece).digest(), size_bytes=len(piece)) for piece in cut(file)]
    begins = _begins(listed)

    def missing(of: Sequence[int]) -> list[int]:
        request = v1.FindMissingChunksRequest(parent=version, blake3=[listed[position].blake3 for position in of])
        return [of[place] for place in transport.unary(request, v1.FindMissingChunksResponse).missing]

    def messages(lacking: Sequence[int]) -> Iterator[UploadChunksRequest]:
        yield UploadChunksRequest(parent=version, upload_id=upload_id)
        with opened() as file:
            for position in lacking:
                file.seek(begins[position])
                data = file.read(listed[position].size_bytes)
                yield UploadChunksRequest(position=position, blake3=listed[position].blake3, data=data)

    for first in range(0, len(listed), _ASKED):
        failures, lacking = Failures(transport), missing(range(len(listed))[first : first + _ASKED])
        while lacking:
            try:
                transport.begin("stream_unary", UploadChunksRequest, v1.UploadChunksResponse, messages(lacking))
                break
            except Unavailable as error:
                failures.wait(error)
            before, lacking = lacking, missing(lacking)
            if len(lacking) < len(before):
                failures.count = 0
    return listed


def _begins(listed: Sequence[Chunk]) -> list[int]:
    """Where chunks begin, and the last one ends."""
    return list(itertools.accumulate((chunk.size_bytes for chunk in listed), initial=0))


def chunks_of(transport: Transport, artifact: Artifact) -> list[Placed]:
    """The chunks of an artifact. What the artifact says vouches for the list."""
    listed = list(transport.pages(v1.ListChunksRequest(parent=artifact.name), v1.ListChunksResponse, "chunks"))
    packed, begins = b"".join(chunk.blake3 + chunk.size_bytes.to_bytes(4, "big") for chunk in listed), _begins(listed)
    if blake3(packed).hexdigest() != artifact.chunks_blake3 or begins[-1] != artifact.size_bytes:
        raise DataLoss(f"{artifact.name}: the list of its chunks is not the artifact's")
    return list(zip(begins, listed, strict=False))


def received(transport: Transport, name: str, wanted: Iterable[Placed]) -> Iterator[tuple[int, bytes]]:
    """Fetches chunks, each checked, in a call for all that follow each other. After a break it goes on behind the last that came."""
    failures, left = Failures(transport), collections.deque(wanted)
    while left:
        begin = end = left[0][0]
        for at, chunk in left:
            if at > end:
                break
            end += chunk.size_bytes
        request, buffer = v1.DownloadArtifactRequest(name=name, offset=begin, length=end - begin), bytearray()
        try:
            with translated():
                for message in transport.begin("unary_stream", type(request), v1.DownloadArtifactResponse, request):
                    buffer += message.data
                    while begin < end and len(buffer) >= left[0][1].size_bytes:
                        at, chunk = left.popleft()
                        piece, begin = bytes(buffer[: chunk.size_bytes]), at + chunk.size_bytes
                        del buffer[: chunk.size_bytes]
                        if blake3(piece).digest() != chunk.blake3:
                            raise DataLoss(f"{name}: the chunk at {at} arrived damaged")
                        failures.count = 0
                        yield at, piece
            if begin < end:
                raise DataLoss(f"{name}: fewer bytes came than there are")
        except Unavailable as error:
            failures.wait(error)


def download(transport: Transport, artifact: Artifact, folder: Path, alike: Path) -> None:
    """Puts an artifact into its place in a folder, once it is whole. What an earlier attempt left of it is not fetched again, nor what it
    has in common with the file there, and in another folder.
    """
    destination, missing = join(folder, artifact.path), dict[int, Chunk]()
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(PART + blake3(f"{artifact.chunks_blake3} {destination.name}".encode()).hexdigest()[:16])
    with open_own(part) as file:
        for at, chunk in chunks_of(transport, artifact):
            file.seek(at)
            if blake3(file.read(chunk.size_bytes)).digest() != chunk.blake3:
                missing[at] = chunk
        for source in filter(Path.is_file, {destination, join(alike, artifact.path)} if missing else ()):
            with source.open("rb") as old:
                for piece in cut(old):
                    digest = blake3(piece).digest()
                    for at in [at for at, chunk in missing.items() if chunk.blake3 == digest]:
                        del missing[at]
                        file.seek(at)
                        file.write(piece)
        for at, piece in received(transport, artifact.name, missing.items()):
            file.seek(at)
            file.write(piece)
        file.truncate(artifact.size_bytes)
    mode = part.stat().st_mode
    part.chmod(mode | (mode & 0o444) >> 2 if artifact.executable else mode & ~0o111)
    part.replace(destination)
