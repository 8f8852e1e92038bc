"""Servers that are recognised by their certificates, and recognise clients by theirs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelregistry import Registry, errors
from tests.conftest import SERVER, Server


def make(folder: Path) -> Path:
    """An authority, and certificates of it."""
    subprocess.run([SERVER, "init", str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return make(tmp_path / "made")


@pytest.fixture
def secured(tmp_path: Path, made: Path) -> Iterator[Server]:
    """It serves only clients that show a certificate."""
    files = [("--tls-cert", "server.pem"), ("--tls-key", "server-key.pem"), ("--tls-client-ca", "ca.pem")]
    server = Server(tmp_path, *(part for flag, name in files for part in (flag, str(made / name))))
    yield server
    server.stop()


def works(registry: Registry) -> bool:
    return list(registry.models()) == []


def test_both_sides_know_each_other(secured: Server, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots, identity = made / "ca.pem", (made / "client.pem", made / "client-key.pem")
    with Registry.connect(secured.address, tls=roots, identity=identity) as registry:
        assert works(registry)
    other = make(tmp_path / "other")
    for wrong in (
        Registry.connect(secured.address, tls=roots, retry_for=0),
        Registry.connect(secured.address, tls=other / "ca.pem", identity=identity, retry_for=0),
        Registry.connect(secured.address, tls=roots, identity=(other / "client.pem", other / "client-key.pem"), retry_for=0),
        Registry.connect(secured.address, retry_for=0),
    ):
        with wrong, pytest.raises(errors.Unavailable):
            works(wrong)
    for name, file in [("CA_FILE", roots), ("CLIENT_CERT", identity[0]), ("CLIENT_KEY", identity[1])]:
        monkeypatch.setenv(f"MODEL_REGISTRY_{name}", str(file))
    with Registry.connect(f"https://{secured.address}") as registry:
        assert works(registry)


def test_files_are_read_again(secured: Server, made: Path, tmp_path: Path) -> None:
    there = make(tmp_path / "there")
    identity = (there / "client.pem", there / "client-key.pem")
    with Registry.connect(secured.address, tls=there / "ca.pem", identity=identity, retry_for=0) as registry:
        with pytest.raises(errors.Unavailable):
            works(registry)
        for file in made.iterdir():
            shutil.copy(file, there)
        with pytest.raises(errors.Unavailable):
            works(registry)
        assert works(registry)
