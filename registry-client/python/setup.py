"""Generates the messages of the contract into the package when it is built; all else is in pyproject.toml."""

import importlib.metadata
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc
from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
PROTO = HERE.parent.parent / "proto"


class Build(build_py):
    """Builds the package, with the generated modules in it."""

    def run(self) -> None:
        """Generates to where the package is built."""
        super().run()
        out = HERE / "src" if self.editable_mode else Path(self.build_lib)
        files = sorted((PROTO / "modelregistry" / "v1").glob("*.proto"))
        known = Path(grpc_tools.__file__).parent / "_proto"
        if not files or protoc.main(["", f"-I{PROTO}", f"-I{known}", f"--python_out={out}", f"--pyi_out={out}", *map(str, files)]):
            raise SystemExit(f"the messages of {PROTO} could not be generated: build from a checkout of the repository")
        lines = ['"""The messages of the contract."""', *(f"from modelregistry.v1.{file.stem}_pb2 import *" for file in files), ""]
        (out / "modelregistry" / "v1" / "__init__.py").write_text("\n".join(lines))


# What is generated needs a runtime that is as new as its generator.
protobuf = [known for known in importlib.metadata.requires("grpcio-tools") or [] if known.startswith("protobuf")]
others = ["grpcio>=1.66", "googleapis-common-protos>=1.63", "blake3>=1", "pathspec>=0.12", "pyfastcdc>=0.3"]
# Nothing that is built is left beside the sources, unless the package is installed as editable.
with tempfile.TemporaryDirectory() as scratch:
    options = {"build": {"build_base": scratch}, "egg_info": {"egg_base": scratch}}
    setup(cmdclass={"build_py": Build}, options=options, install_requires=[*protobuf, *others])
