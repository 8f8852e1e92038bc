"""Local folders: which files of one are published, and a folder that a version is pulled into."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import pathspec

from modelregistry.errors import Conflict, DataLoss, FailedPrecondition, InvalidArgument
from modelregistry.v1 import Artifact, Version

try:
    import fcntl
except ImportError:  # Without locks, two pulls into one folder may be in each other's way.
    fcntl = None  # type: ignore[assignment]

#: What a pulled folder says that it holds, what it says while a pull is at work, and what incomplete files are called.
RECEIPT, CLAIM, PART = ".model-registry.json", ".model-registry.pull", ".model-registry.part-"
#: What is no part of a model: histories, caches of tools, what file managers leave, and secrets.
_TOOLS = [".git", ".hg", ".jj", ".svn", "__pycache__/", ".ipynb_checkpoints/", ".mypy_cache/", ".pytest_cache/", ".ruff_cache/", ".venv/"]
_LEFT_OUT = [*_TOOLS, ".cache/huggingface/", ".DS_Store", "Thumbs.db", ".env", ".env.*", "/.registryignore"]


def to_publish(path: Path, exclude: Iterable[str]) -> dict[str, Path]:
    """The files of a folder by their paths as artifacts, or the one file that `path` is. A link that leads out of it is refused."""
    if path.is_file():
        return {path.name: path}
    root = path.resolve(strict=True)
    ignored = root / ".registryignore"
    said = ignored.read_text().splitlines() if ignored.is_file() else []
    spec = pathspec.GitIgnoreSpec.from_lines([*_LEFT_OUT, *said, *exclude, f"/{RECEIPT}", f"/{CLAIM}", f"{PART}*"])
    files = {file.relative_to(root).as_posix(): file for file in _chosen(root, root, spec)}
    if not files:
        raise InvalidArgument(f"{path}: no files to publish")
    return files


def _chosen(root: Path, folder: Path, spec: pathspec.GitIgnoreSpec) -> Iterator[Path]:
    """The files in a folder below the root that are not left out."""
    for at in folder.iterdir():
        inside, target = at.relative_to(root).as_posix(), at.resolve()
        if spec.match_file(f"{inside}/" if at.is_dir() else inside):
            continue
        if not target.is_relative_to(root) or folder.resolve().is_relative_to(target):
            raise InvalidArgument(f"{at}: the link leads out of the folder, or in a circle")
        if at.is_dir():
            yield from _chosen(root, at, spec)
        elif at.is_file():
            yield at
        else:
            raise InvalidArgument(f"{at}: neither a file nor a folder")


def join(folder: Path, path: str) -> Path:
    """Where in a folder an artifact goes. It stays in the folder, whatever the path says and links lead to."""
    parts = path.split("/")
    odd = any(part in ("", ".", "..") or part.startswith(PART) or (os.name == "nt" and ":" in part) for part in parts)
    if odd or parts[0] in (RECEIPT, CLAIM) or "\\" in path or min(path, default=" ") < " ":
        raise InvalidArgument(f"{path!r} is not a path inside a folder")
    at = folder.joinpath(*parts)
    if not at.parent.resolve().is_relative_to(folder.resolve()):
        raise InvalidArgument(f"{at.parent}: the link leads out of the folder")
    return at


@dataclass(frozen=True)
class File:
    """A file of a pulled folder, as its receipt has it."""

    path: str
    size: int
    sha256: str
    supplementary: bool = False
    executable: bool = False
    left_out: bool = False

    def is_in(self, folder: Path) -> bool:
        """Whether the folder has the file with these bytes."""
        at = join(folder, self.path)
        if not at.is_file() or at.is_symlink() or at.stat().st_size != self.size:
            return False
        with at.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest() == self.sha256


@dataclass(frozen=True)
class Receipt:
    """What a pulled folder says that it holds: the same file that the client in Rust writes and reads."""

    version: str
    manifest_sha256: str
    files: tuple[File, ...]

    @classmethod
    def of(cls, version: Version, artifacts: Iterable[Artifact]) -> Receipt:
        """That of a version, whose digest has to vouch for its files."""
        files = tuple(File(a.path, a.size_bytes, a.sha256, a.supplementary, a.executable) for a in artifacts)
        return cls(version.name, version.manifest_sha256, files).checked()

    @classmethod
    def read(cls, folder: Path, name: str = RECEIPT) -> Receipt:
        """That of a folder; or what it says while a pull is at work."""
        try:
            read = json.loads((folder / name).read_bytes())
            return cls(read["version"], read.get("manifest_sha256", ""), tuple(File(**file) for file in read["files"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DataLoss(f"{folder / name} is malformed: {error}") from error

    def checked(self) -> Receipt:
        """The receipt, if its files are those that the version was sealed with."""
        sealed = sorted((file for file in self.files if not file.supplementary), key=lambda file: file.path.encode())
        lines = "".join(f"{file.sha256} {file.size} {file.path}\n" for file in sealed)
        if self.manifest_sha256 not in ("", hashlib.sha256(lines.encode()).hexdigest()):
            raise DataLoss(f"{self.version}: the files are not those that it was sealed with")
        return self


def verify_folder(folder: str | os.PathLike[str]) -> Receipt:
    """Checks a pulled folder against what it says that it holds, without a registry. Raises `DataLoss` for what is not so."""
    folder = Path(folder)
    receipt = Receipt.read(folder).checked()
    for file in receipt.files:
        if not file.left_out and not file.is_in(folder):
            raise DataLoss(f"{folder / file.path}: missing, or not what was pulled")
    return receipt


def is_whole(folder: Path, version: Version) -> bool:
    """Whether a folder holds all of this version, as the registry sealed it."""
    with contextlib.suppress(OSError, DataLoss, InvalidArgument):
        receipt = verify_folder(folder)
        of_version = (receipt.version, receipt.manifest_sha256) == (version.name, version.manifest_sha256)
        return of_version and not any(file.left_out for file in receipt.files)
    return False


def lock(file: IO[bytes] | int, shared: bool = False) -> bool:
    """Locks a file until it is closed: together with others, or else alone, and false if somebody else has it."""
    with contextlib.suppress(BlockingIOError):
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def open_own(path: Path) -> IO[bytes]:
    """Opens a file to read and write, or makes one. What a link leads to is not ours to write."""
    return open(path, "r+b", opener=lambda path, mode: os.open(path, mode | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666))


@contextlib.contextmanager
def claimed(folder: Path, receipt: Receipt, overwrite: bool) -> Iterator[list[File]]:
    """Prepares a folder for the files of a receipt, for one pull at a time, and gives those that it lacks. At the end, files of earlier
    pulls are gone that this version does not have; of anything else nothing is lost.
    """
    folder.mkdir(parents=True, exist_ok=True)
    claim, before = folder / CLAIM, set[File]()
    with open_own(claim) as held:
        if not lock(held) or not claim.exists() or not os.path.samestat(os.fstat(held.fileno()), claim.stat()):
            raise Conflict(f"{folder}: another pull is at work there")
        # A pull that broke off has left its claim.
        for name in (CLAIM, RECEIPT):
            with contextlib.suppress(OSError, DataLoss, InvalidArgument):
                before.update(file for file in Receipt.read(folder, name).files if not file.left_out and join(folder, file.path))
        owned = {file.path for file in before if file.is_in(folder)}
        missing = [file for file in receipt.files if not file.is_in(folder)]
        lost = [file.path for file in missing if os.path.lexists(join(folder, file.path)) and file.path not in owned]
        if lost and not overwrite:
            if not os.fstat(held.fileno()).st_size:
                claim.unlink()
            raise FailedPrecondition(f"{folder}: not put there by a pull, or changed since: {', '.join(lost)}")
        said = {"pull": str(uuid.uuid4()), "version": receipt.version, "files": [asdict(file) for file in before.union(receipt.files)]}
        held.truncate(0)
        held.write(json.dumps(said).encode())
        held.flush()
        if missing:
            (folder / RECEIPT).unlink(missing_ok=True)
        for path in owned - {file.path for file in receipt.files}:
            join(folder, path).unlink()
            with contextlib.suppress(OSError):
                os.removedirs(join(folder, path).parent)
        yield missing
        for part in filter(Path.is_file, folder.rglob(f"{PART}*")):
            part.unlink()
        whole = folder / f"{PART}receipt"
        whole.write_text(json.dumps(asdict(receipt), indent=2))
        whole.replace(folder / RECEIPT)
        claim.unlink()
