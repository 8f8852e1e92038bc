"""The examples, as programs. They need scikit-learn, so that tests/full.sh runs them."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from sklearn.datasets import load_breast_cancer

from modelregistry import Registry
from modelregistry.v1 import ListInstancesRequest, ListInstancesResponse

from .conftest import Server

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_a_trainer_feeds_a_service(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_REGISTRY_ENDPOINT", server.address)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rows = load_breast_cancer().data[:20].tolist()

    def train(regularisation: str) -> str:
        command = [sys.executable, str(EXAMPLES / "trainer.py"), regularisation]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    command = [sys.executable, str(EXAMPLES / "service.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service, Registry.connect() as registry:
        # The service waits for its model.
        registry.create_model("breast-cancer", model_type="classification")
        assert "versions/1: " in train("0.001")
        assert service.stdout
        port = service.stdout.readline().split()[-1]

        def score() -> str:
            request = urllib.request.Request(f"http://127.0.0.1:{port}", json.dumps(rows).encode())
            with urllib.request.urlopen(request) as answered:
                answer = json.load(answered)
            assert len(answer["scores"]) == len(rows)
            return str(answer["by"])

        assert score() == "namespaces/default/models/breast-cancer/versions/1"
        assert "versions/2: " in (said := train("1.0"))
        assert ", promoted" in said
        assert ", not promoted" in train("0.001")
        assert registry.version("breast-cancer@production").number == 2
        while score() != "namespaces/default/models/breast-cancer/versions/2":
            pass
        running = ListInstancesRequest(parent=registry.name("breast-cancer"))
        assert len(registry.call(running, ListInstancesResponse).instances) == 1
        service.terminate()
        service.wait(30)
        assert not registry.call(running, ListInstancesResponse).instances
