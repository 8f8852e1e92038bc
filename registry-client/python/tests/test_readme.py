"""What the README shows works."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

from modelregistry import Registry

from .conftest import Server


def test_the_readme_is_true(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """All its examples, one after the other, as one program."""
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parent.parent / "README.md").read_text()
    examples = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    program = "\n".join(examples).replace("127.0.0.1:50051", server.address)
    names: dict[str, Registry] = {}
    exec(compile(program, "README.md", "exec"), names)
    with contextlib.closing(names["registry"]) as registry:
        assert registry.version("fraud@champion").version_id == "1.4.0"
    out = capsys.readouterr().out
    assert "namespaces/default/models/fraud/versions/1 a model False\n" in out
    assert "version.stage_transitioned namespaces/default/models/fraud/versions/1 better recall\n" in out
    assert "NAME_INVALID ('model_id', 'model.team')\n" in out
