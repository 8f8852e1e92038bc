"""A real server for each test, and a line to it that can be cut."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelregistry import Registry

SERVER = os.environ.get("REGISTRY_SERVER", str(Path(__file__).parents[3] / "target/debug/registry-server"))


class Server:
    """A registry that can be stopped and started again, at the same address with the same data."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._folder, self._arguments, self.address = folder, arguments, "127.0.0.1:0"
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        command = [SERVER, "--storage-path", str(self._folder / "store"), "--listen", self.address, "--bookmark-every", "1h"]
        command += self._arguments
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line.startswith("listening on "), (self._folder / "log").read_text()
        self.address = line.split()[-1]

    def stop(self, kill: bool = False) -> None:
        if self._process and self._process.stdout:
            (self._process.kill if kill else self._process.terminate)()
            self._process.wait()
            self._process.stdout.close()
            self._process = None

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """It does nothing, and its connections stay."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


class Line:
    """Passes connections on to a server, counts what goes up and down, and cuts them after so much, or when told to."""

    def __init__(self, to: str) -> None:
        self._to, self.is_cut = to, False
        self.sent, self.received, self.cut_after = 0, 0, float("inf")
        #: Cut once, it lets others in.
        self.mends_itself = False
        #: Answers get lost.
        self.loses_answers = False
        #: How many seconds an answer takes longer.
        self.lag = 0.0
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Breaks what is there, and lets nobody in."""
        with self._guard:
            self.is_cut = True
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def mend(self) -> None:
        self.is_cut, self.loses_answers, self.cut_after, self.sent, self.received = False, False, float("inf"), 0, 0

    def close(self) -> None:
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        host, _, port = self._to.rpartition(":")
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = None if self.is_cut else socket.create_connection((host, int(port)))
            except OSError:
                server = None
            if server is None:
                client.close()
                continue
            with self._guard:
                self._open |= {client, server}
            threading.Thread(target=self._pass, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, False), daemon=True).start()

    def _pass(self, source: socket.socket, to: socket.socket, up: bool) -> None:
        try:
            while piece := source.recv(1 << 16):
                if up:
                    self.sent += len(piece)
                else:
                    self.received += len(piece)
                if self.sent + self.received > self.cut_after:
                    self.cut()
                    if self.mends_itself:
                        self.mend()
                    break
                time.sleep(0 if up else self.lag)
                if up or not self.loses_answers:
                    to.sendall(piece)
        except OSError:
            pass
        with self._guard:
            gone = {source, to} & self._open
            self._open -= gone
        for one in gone:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        source.close()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture
def line(server: Server) -> Iterator[Line]:
    line = Line(server.address)
    yield line
    line.close()


@pytest.fixture
def registry(server: Server) -> Iterator[Registry]:
    with Registry.connect(server.address, actor="tester") as registry:
        registry.create_model("fraud", model_type="classification")
        yield registry


@pytest.fixture
def publish(registry: Registry, tmp_path: Path) -> Callable[[str], str]:
    """Publishes a version whose model says so, and returns its name."""

    def publish(says: str) -> str:
        folder = tmp_path / f"out-{says}"
        folder.mkdir()
        (folder / "model.txt").write_text(says)
        return registry.publish(folder, "fraud").name

    return publish
