"""Publishing and pulling: what is sent, what is checked, what is kept."""

from __future__ import annotations

import os
import random
import re
import stat
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from blake3 import blake3
from google.protobuf import json_format

from modelregistry import Registry, errors, transfer, verify_folder
from modelregistry.folder import Receipt, join, lock
from modelregistry.transfer import artifact_type, cut
from modelregistry.v1 import VERSION_STATE_FAILED, VERSION_STATE_PENDING, VERSION_STATE_READY

from .conftest import SERVER, Line, Server

MIB = 1 << 20


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of some 6 MiB, with what is no part of it."""
    folder = tmp_path / "out"
    (folder / "plots").mkdir(parents=True)
    (folder / "model.bin").write_bytes(noise(1, 6 * MIB))
    (folder / "empty").touch()
    (folder / "plots" / "roc.png").write_bytes(noise(2, 20_000))
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / ".env").write_text("secret")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").touch()
    (folder / "notes.tmp").touch()
    (folder / ".registryignore").write_text("*.tmp\n")
    return folder


def test_files_are_cut_as_in_the_client_in_rust(tmp_path: Path) -> None:
    file = tmp_path / "noise"
    file.write_bytes(blake3((1).to_bytes(8, "big")).digest(length=5 * MIB))
    with file.open("rb") as opened:
        assert [len(piece) for piece in cut(opened)] == [1_217_099, 986_914, 1_114_037, 760_768, 679_783, 484_279]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("model.onnx", "model"),
        ("weights/encoder.SafeTensors", "model"),
        ("checkpoint-500.pt", "checkpoint"),
        ("last.ckpt", "checkpoint"),
        ("model.log", "log"),
        ("metrics_validation.json", "metrics"),
        ("metrics.csv", "other"),
        ("plots/confusion_matrix.png", "confusion_matrix"),
        ("config.json", "config"),
        ("environment.yaml", "config"),
        ("residuals.png", "plot"),
        (".hidden", "other"),
    ],
)
def test_types_are_guessed_from_names(path: str, kind: str) -> None:
    assert artifact_type(path) == kind


def test_what_is_published_is_pulled(registry: Registry, folder: Path, tmp_path: Path) -> None:
    version = registry.publish(
        folder,
        "fraud",
        version_id="1.4.0",
        metrics={"validation": {"auc": 0.97}, "test": {"auc": 0.96, "f1": 0.9}},
        params={"max_depth": 6, "layers": [1, 2]},
        tags={"region": "eu"},
        framework="sklearn",
    )
    assert (version.state, version.version_id, version.framework, version.tags["region"]) == (VERSION_STATE_READY, "1.4.0", "sklearn", "eu")
    assert (version.metrics["validation"].values["auc"], version.metrics["test"].values["f1"]) == (0.97, 0.9)
    assert version.hyperparameters["max_depth"] == 6
    there = tmp_path / "in"
    assert registry.pull("fraud/versions/1.4.0", there) == version
    paths = ["empty", "model.bin", "plots/roc.png", "run.sh"]
    assert sorted(path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file()) == [".model-registry.json", *paths]
    for path in paths:
        assert (there / path).read_bytes() == (folder / path).read_bytes()
    assert stat.S_IMODE((there / "run.sh").stat().st_mode) & 0o100
    assert not stat.S_IMODE((there / "model.bin").stat().st_mode) & 0o100
    assert verify_folder(there).version == version.name
    assert registry.download("fraud/versions/1/artifacts/model.bin") == (folder / "model.bin").read_bytes()
    assert registry.download("fraud/versions/1/artifacts/plots/roc.png") == noise(2, 20_000)
    registry.upload(version.name, "plots/late.png", b"a plot")
    registry.pull(version.name, there)
    assert (there / "plots" / "late.png").read_bytes() == b"a plot"
    with pytest.raises(errors.FailedPrecondition) as sealed:
        registry.upload(version.name, "late.bin", b"no plot")
    assert sealed.value.reason == "VERSION_SEALED"


def test_the_command_line_takes_what_was_pulled(registry: Registry, server: Server, folder: Path, tmp_path: Path) -> None:
    registry.publish(folder, "fraud")
    registry.pull("fraud/versions/1", tmp_path / "in")
    ctl = [str(Path(SERVER).with_name("registryctl")), "--endpoint", server.address]
    subprocess.run([*ctl, "verify", str(tmp_path / "in")], check=True, capture_output=True)
    ours = Receipt.read(tmp_path / "in")
    subprocess.run([*ctl, "pull", "fraud/versions/1", "-o", str(tmp_path / "in")], check=True, capture_output=True)
    assert ours == Receipt.read(tmp_path / "in")
    subprocess.run([*ctl, "pull", "fraud/versions/1", "-o", str(tmp_path / "theirs")], check=True, capture_output=True)
    assert verify_folder(tmp_path / "theirs").files
    registry.pull("fraud/versions/1", tmp_path / "theirs")


def test_bytes_that_are_there_are_not_sent_again(registry: Registry, line: Line, folder: Path) -> None:
    registry.publish(folder, "fraud")
    data = bytearray(noise(1, 6 * MIB))
    data[3 * MIB : 3 * MIB] = b"inserted"
    (folder / "model.bin").write_bytes(data)
    with Registry.connect(line.address) as there:
        there.publish(folder, "fraud")
    assert 0 < line.sent < 4 * MIB


def test_bytes_that_are_there_are_not_fetched_again(registry: Registry, line: Line, folder: Path, tmp_path: Path) -> None:
    registry.publish(folder, "fraud")
    registry.pull("fraud/versions/1", tmp_path / "in")
    data = bytearray(noise(1, 6 * MIB))
    data[3 * MIB : 3 * MIB] = b"inserted"
    (folder / "model.bin").write_bytes(data)
    registry.publish(folder, "fraud")
    with Registry.connect(line.address) as there:
        there.pull("fraud/versions/2", tmp_path / "second", alike=tmp_path / "in")
        assert 0 < line.received < 4 * MIB
        assert (tmp_path / "second" / "model.bin").read_bytes() == data
        line.mend()
        there.pull("fraud/versions/2", tmp_path / "in")
        assert 0 < line.received < 4 * MIB
    assert (tmp_path / "in" / "model.bin").read_bytes() == data


def test_a_broken_upload_goes_on(registry: Registry, line: Line, folder: Path) -> None:
    (folder / "model.bin").write_bytes(noise(3, 40 * MIB))
    line.cut_after = 20 * MIB
    with Registry.connect(line.address, retry_for=0) as there, pytest.raises(errors.Unavailable):
        there.publish(folder, "fraud", version_id="2.0", framework="xgboost")
    assert registry.version("fraud/versions/2.0").state == VERSION_STATE_PENDING
    line.mend()
    with Registry.connect(line.address) as there:
        with pytest.raises(errors.AlreadyExists):
            there.publish(folder, "fraud", version_id="2.0", framework="sklearn")
        assert there.publish(folder, "fraud", version_id="2.0", framework="xgboost").state == VERSION_STATE_READY
        with pytest.raises(errors.AlreadyExists, match="not PENDING"):
            there.publish(folder, "fraud", version_id="2.0", framework="xgboost")
    assert line.sent < 36 * MIB
    assert registry.download("fraud/versions/2.0/artifacts/model.bin") == noise(3, 40 * MIB)


def test_a_publication_outlives_a_break(registry: Registry, line: Line, folder: Path) -> None:
    (folder / "model.bin").write_bytes(noise(4, 20 * MIB))
    line.cut_after = 8 * MIB
    line.mends_itself = True
    with Registry.connect(line.address) as there:
        assert there.publish(folder, "fraud").state == VERSION_STATE_READY


def test_a_failed_publication_says_why(registry: Registry, folder: Path, tmp_path: Path) -> None:
    (folder / "control\x01").touch()
    with pytest.raises(errors.InvalidArgument) as wrong:
        registry.publish(folder, "fraud")
    assert wrong.value.fields == ("artifact.path",)
    failed = registry.version("fraud/versions/1")
    assert failed.state == VERSION_STATE_FAILED
    assert "artifact.path" in failed.failure_reason
    (folder / "control\x01").unlink()
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(errors.InvalidArgument, match="link leads out"):
        registry.publish(folder, "fraud")
    with pytest.raises(errors.InvalidArgument, match="no files"):
        registry.publish(folder, "fraud", exclude=["*"])
    with pytest.raises(errors.NotFound):
        registry.publish(folder / "empty", "none")
    assert registry.publish(folder / "model.bin", "fraud").artifact_count == 1


def test_a_file_that_changes_meanwhile_is_not_published(registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_and_change(source: BinaryIO) -> Iterator[bytes]:
        yield from cut(source)
        (folder / "model.bin").write_bytes(noise(2, 6 * MIB))

    monkeypatch.setattr(transfer, "cut", cut_and_change)
    with pytest.raises(errors.InvalidArgument) as changed:
        registry.publish(folder / "model.bin", "fraud")
    assert changed.value.reason == "DIGEST_MISMATCH"
    assert registry.version("fraud/versions/1").state == VERSION_STATE_FAILED


def test_what_is_no_file_is_not_published(registry: Registry, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(errors.InvalidArgument, match="pipe: neither a file nor a folder"):
        registry.publish(folder, "fraud")
    with pytest.raises(errors.NotFound):
        registry.version("fraud/versions/1")


def test_numbers_may_be_of_any_kind(registry: Registry, folder: Path) -> None:
    half = Fraction(1, 2)
    metrics: dict[str, Any] = {"validation": {"auc": half}, "test": {"auc": 1}}
    params = {"rate": half, "layers": [half, {"size": 2}], "kind": None}
    version = registry.publish(folder, "fraud", metrics=metrics, params=params, tags={"rate": half, "region": "eu"})
    assert (version.metrics["validation"].values["auc"], version.metrics["test"].values["auc"]) == (0.5, 1)
    assert dict(version.tags) == {"rate": "1/2", "region": "eu"}
    assert json_format.MessageToDict(version.hyperparameters) == {"rate": 0.5, "layers": [0.5, {"size": 2}], "kind": None}


@pytest.mark.parametrize(
    "said",
    [{"metrics": {"test": {"auc": "high"}}}, {"params": {"layers": [1, {"size": {2}}]}}, {"tags": {1: "fast"}}, {"colour": "red"}],
)
def test_what_is_no_value_is_refused(registry: Registry, folder: Path, said: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        registry.publish(folder, "fraud", **said)


def test_metrics_without_a_split_are_refused_with_how_they_should_be(registry: Registry, folder: Path) -> None:
    metrics: dict[str, Any] = {"auc": 0.9}
    with pytest.raises(TypeError, match=re.escape('metrics are by split: {"validation": {"auc": 0.9}}')):
        registry.publish(folder, "fraud", metrics=metrics)
    assert list(registry.versions("fraud")) == []


def test_damage_is_found_and_mended(registry: Registry, line: Line, folder: Path, tmp_path: Path) -> None:
    registry.publish(folder, "fraud")
    there = tmp_path / "in"
    registry.pull("fraud/versions/1", there)
    with (there / "model.bin").open("r+b") as file:
        file.seek(3 * MIB)
        file.write(b"damaged")
    with pytest.raises(errors.DataLoss, match=r"model\.bin"):
        verify_folder(there)
    with pytest.raises(errors.FailedPrecondition, match=r"model\.bin"):
        registry.pull("fraud/versions/1", there)
    with pytest.raises(errors.DataLoss):
        verify_folder(there)
    assert registry.pull("fraud/versions/1", there, overwrite=True)
    assert verify_folder(there)
    assert (there / "model.bin").read_bytes() == noise(1, 6 * MIB)
    (there / ".model-registry.json").write_text("{}")
    with pytest.raises(errors.DataLoss, match="malformed"):
        verify_folder(there)


def test_damage_in_the_store_is_found(registry: Registry, server: Server, folder: Path, tmp_path: Path) -> None:
    registry.publish(folder, "fraud")
    store = Path(server._folder) / "store"
    [largest] = sorted((path for path in store.rglob("*") if path.is_file() and "chunk" in str(path)), key=lambda p: p.stat().st_size)[-1:]
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 0xFF
    largest.write_bytes(data)
    with pytest.raises(errors.DataLoss) as damaged:
        registry.pull("fraud/versions/1", tmp_path / "in")
    assert damaged.value.reason == "ARTIFACT_DAMAGED"
    assert not (tmp_path / "in" / "model.bin").exists()
    assert not (tmp_path / "in" / ".model-registry.json").exists()


def test_a_pull_takes_no_place_of_others(registry: Registry, folder: Path, tmp_path: Path) -> None:
    registry.publish(folder, "fraud")
    there = tmp_path / "in"
    there.mkdir()
    (there / "mine.txt").write_text("mine")
    (there / "model.bin").write_text("mine, too")
    with pytest.raises(errors.FailedPrecondition, match=r"model\.bin"):
        registry.pull("fraud/versions/1", there)
    assert sorted(path.name for path in there.iterdir()) == ["mine.txt", "model.bin"]
    registry.pull("fraud/versions/1", there, overwrite=True)
    # The next version has other files.
    (folder / "run.sh").unlink()
    (folder / "new.bin").write_bytes(b"new")
    registry.publish(folder, "fraud")
    registry.pull("fraud@latest", there)
    assert {path.name for path in there.iterdir()} == {"mine.txt", "model.bin", "new.bin", "plots", "empty", ".model-registry.json"}


def test_a_pull_that_broke_off_goes_on(registry: Registry, line: Line, folder: Path, tmp_path: Path) -> None:
    (folder / "model.bin").write_bytes(noise(5, 40 * MIB))
    registry.publish(folder, "fraud")
    line.cut_after = 20 * MIB
    with Registry.connect(line.address, retry_for=0) as there, pytest.raises(errors.Unavailable):
        there.pull("fraud/versions/1", tmp_path / "in")
    assert not (tmp_path / "in" / "model.bin").exists()
    assert not (tmp_path / "in" / ".model-registry.json").exists()
    line.mend()
    with Registry.connect(line.address) as there:
        there.pull("fraud/versions/1", tmp_path / "in")
    assert line.received < 36 * MIB
    assert verify_folder(tmp_path / "in")
    assert not list((tmp_path / "in").glob(".model-registry.p*"))


def test_one_pull_at_a_time_is_in_a_folder(registry: Registry, folder: Path, tmp_path: Path) -> None:
    registry.publish(folder, "fraud")
    (tmp_path / "in").mkdir()
    with (tmp_path / "in" / ".model-registry.pull").open("ab") as held:
        assert lock(held)
        with pytest.raises(errors.Conflict, match="another pull"):
            registry.pull("fraud/versions/1", tmp_path / "in")
    registry.pull("fraud/versions/1", tmp_path / "in")


@pytest.mark.parametrize("path", ["", "..", "../a", "/etc/passwd", "a//b", "./a", "a\\b", "a\nb", ".model-registry.json"])
def test_artifacts_stay_in_their_folder(path: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        join(Path("in"), path)


def test_a_link_that_leads_out_is_not_followed(registry: Registry, folder: Path, tmp_path: Path) -> None:
    registry.publish(folder, "fraud")
    (tmp_path / "in").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "in" / "plots").symlink_to(tmp_path / "outside")
    with pytest.raises(errors.InvalidArgument, match="link leads out"):
        registry.pull("fraud/versions/1", tmp_path / "in")
    assert not list((tmp_path / "outside").iterdir())


def test_a_claim_that_is_a_link_is_not_followed(registry: Registry, folder: Path, tmp_path: Path) -> None:
    registry.publish(folder, "fraud")
    (tmp_path / "in").mkdir()
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "in" / ".model-registry.pull").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match=r"model-registry\.pull"):
        registry.pull("fraud/versions/1", tmp_path / "in")
    assert (tmp_path / "mine").read_text() == "mine"
