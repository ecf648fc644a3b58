# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT's real Python bindings over empty stand-ins for the libraries behind them."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from repository import REPOSITORY

RELEASES = ("10.13", "11.4")

_LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
_SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getPluginRegistry",
    "getBuilderPluginRegistry",
    "initLibNvInferPlugins",
    "getNvOnnxParserVersion",
)

_PREAMBLE = """
import sys
import {module}
sys.modules["tensorrt"] = {module}
"""

# Prints every class, function and value of the module; signatures come from the docstrings.
_DESCRIBE = """
import inspect, json
import tensorrt as trt

def describe(name, item):
    if inspect.isclass(item):
        members = {}
        for member in dir(item):
            if member.startswith("__") and member != "__init__":
                continue
            value = getattr(item, member)
            if inspect.isclass(value):
                members[member] = {"kind": "class", "class": value.__qualname__}
            else:
                members[member] = describe(member, value)
        return {"kind": "class", "class": item.__qualname__, "members": members}
    if isinstance(item, property):
        return {"kind": "property", "doc": item.fget.__doc__ if item.fget else None}
    if callable(item):
        return {"kind": "callable", "doc": item.__doc__}
    return {"kind": "value", "class": type(item).__qualname__}

classes, names = {}, {}
def visit(name, item):
    names[name] = describe(name, item)
    todo = [item] if inspect.isclass(item) else []
    while todo:
        current = todo.pop()
        if current.__qualname__ not in classes:
            classes[current.__qualname__] = describe(name, current)["members"]
            todo += [value for key, value in vars(current).items() if inspect.isclass(value)]

for name in dir(trt):
    visit(name, getattr(trt, name))
print(json.dumps({"version": trt.__version__, "names": names, "classes": classes}))
"""

_MAKE_STUBS = """
import sys
from mypy.stubgen import main
main(["--inspect-mode", "--quiet", "-m", "tensorrt_bindings.tensorrt", "-o", sys.argv[1]])
"""


@dataclass(frozen=True)
class Bindings:
    """One release of the bindings, and where its stand-in libraries are."""

    release: str
    folder: Path
    libraries: Path
    module: str = "tensorrt_bindings"

    def run(self, script: str, *arguments: str | Path) -> str:
        """What a Python script prints that can import `tensorrt`."""
        paths = [str(self.folder), str(REPOSITORY)]
        environment = os.environ | {
            "LD_LIBRARY_PATH": os.pathsep.join(
                filter(None, (str(self.libraries), os.environ.get("LD_LIBRARY_PATH")))
            ),
            "PYTHONPATH": os.pathsep.join(paths),
        }
        outcome = subprocess.run(
            [
                sys.executable,
                "-c",
                _PREAMBLE.format(module=self.module) + script,
                *map(str, arguments),
            ],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert outcome.returncode == 0, outcome.stderr
        return outcome.stdout

    def describe(self) -> dict:
        """Names, classes and signatures."""
        return json.loads(self.run(_DESCRIBE))

    def make_type_stubs(self, folder: Path) -> Path:
        """A folder with type stubs of the module `tensorrt`."""
        generated = folder / "generated"
        self.run(_MAKE_STUBS, generated)
        source = (generated / "tensorrt_bindings" / "tensorrt.pyi").read_text()
        package = folder / "tensorrt"
        package.mkdir()
        (package / "__init__.pyi").write_text(_complete(source))
        return folder


def open_bindings(release: str, folder: Path) -> Bindings:
    """The bindings that the set-up installed, over stand-ins that are compiled into a folder."""
    installed = REPOSITORY / ".venv" / "tensorrt" / release
    assert (installed / "tensorrt_bindings" / "tensorrt.so").is_file(), (
        f"TensorRT's bindings are not in {installed}: run make setup"
    )
    source = folder / "libraries.cpp"
    source.write_text(
        "".join(f'extern "C" void *{name}() {{ return nullptr; }}\n' for name in _SYMBOLS)
    )
    major = release.split(".")[0]
    for name in _LIBRARIES:
        file_name = f"lib{name}.so.{major}"
        command = ["c++", "-shared", "-fPIC", f"-Wl,-soname,{file_name}", source]
        subprocess.run([*command, "-o", folder / file_name], check=True)
    return Bindings(release, installed, folder)


def _complete(source: str) -> str:
    """Stubs as the generator leaves them, less what is no Python, plus what it cannot see."""
    lines = source.splitlines()
    while True:
        try:
            ast.parse("\n".join(lines))
            break
        except SyntaxError as error:
            assert error.lineno is not None
            line = lines[error.lineno - 1]
            signature = re.match(r"(\s*def \w+)\(.*\) -> .*", line)
            assert signature, f"not understood: {line}"
            lines[error.lineno - 1] = f"{signature[1]}(self, *args, **kwargs): ..."
    # The module has a type of its own called `bool`, which is not what its functions return.
    lines = [
        line if line == "bool: DataType" else re.sub(r"(?<![\w.])bool(?!\w)", "builtins.bool", line)
        for line in ["import builtins", *lines]
    ]
    # The version is added in Python; the buffer protocol has no name that can be looked up.
    lines.append("__version__: str")
    place = lines.index("class IHostMemory:") + 1
    lines.insert(place, "    def __buffer__(self, flags: int, /) -> memoryview: ...")
    return "\n".join(lines) + "\n"
