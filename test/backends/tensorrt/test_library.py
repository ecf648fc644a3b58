# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Which of NVIDIA's two libraries is used, and what is said where none can be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from cuda_kernel_cases import compile_library
from real_tensorrt import require_library
from repository import REPOSITORY

from referdino_core.backends.tensorrt import library as library_module
from referdino_core.backends.tensorrt.library import (
    LIBRARIES,
    TENSORRT,
    TENSORRT_RTX,
    installed_libraries,
    load_tensorrt,
    loaded_library,
)
from referdino_core.errors import TensorRTUnavailable

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide what is installed and what other tests have loaded."""
    for library in LIBRARIES:
        for name in library.modules:
            monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a module of some content where Python finds it, in place of one of the libraries."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(library_module, "open_shared_libraries", lambda: None)

    def put(name: str, content: str) -> None:
        monkeypatch.delitem(sys.modules, name)
        (tmp_path / f"{name}.py").write_text(content)

    return put


def test_without_either_one_line_says_how_to_get_them() -> None:
    assert installed_libraries() == ()
    with pytest.raises(TensorRTUnavailable) as caught:
        load_tensorrt()
    message = str(caught.value)
    assert message.startswith("Neither TensorRT nor TensorRT for RTX is installed: ")
    for way in ("pip install tensorrt-cu13", "python3-libnvinfer", "tensorrt-rtx-cu13-libs"):
        assert way in message
    with pytest.raises(
        TensorRTUnavailable, match=r"^TensorRT for RTX is not installed: install it"
    ):
        load_tensorrt(TENSORRT_RTX)


@pytest.mark.parametrize(
    ("name", "version", "complaint"),
    [
        ("tensorrt", "8.6.1", r"^TensorRT 8\.6\.1 is too old: 10\.0 or later"),
        ("tensorrt", "9.3.0", r"^TensorRT 9\.3\.0 is too old: 10\.0 or later"),
        ("tensorrt_rtx", "1.2.0.54", r"^TensorRT for RTX 1\.2\.0\.54 is too old: 1\.7 or later"),
        ("tensorrt", "new", "reports the version 'new', which is none"),
    ],
)
def test_release_that_will_not_do_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, version: str, complaint: str
) -> None:
    module = ModuleType(name)
    module.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(TensorRTUnavailable, match=complaint):
        load_tensorrt()


def test_tensorrt_itself_is_preferred(install) -> None:
    install("tensorrt", "__version__ = '10.3.0.30'")
    install("tensorrt_rtx", "__version__ = '1.7.1.116'")
    assert installed_libraries() == LIBRARIES
    assert loaded_library() is TENSORRT


def test_where_tensorrt_is_broken_the_other_one_is_used(install) -> None:
    install("tensorrt", "raise RuntimeError('libnvinfer.so.10:\\ncannot open')")
    install("tensorrt_rtx_bindings", "__version__ = '1.7.1.116'")
    assert loaded_library() is TENSORRT_RTX


def test_where_all_are_broken_one_line_says_why(install) -> None:
    install("tensorrt", "raise RuntimeError('libnvinfer.so.10:\\ncannot open')")
    with pytest.raises(TensorRTUnavailable) as caught:
        load_tensorrt()
    assert str(caught.value).startswith(
        "TensorRT is installed but cannot be loaded (libnvinfer.so.10: cannot open): install it "
    )


def test_one_process_takes_one_of_the_two(install) -> None:
    install("tensorrt", "__version__ = '10.3.0.30'")
    assert loaded_library() is TENSORRT
    with pytest.raises(TensorRTUnavailable, match="TensorRT is in use in this process, and one"):
        load_tensorrt(TENSORRT_RTX)


# ---- How TensorRT for RTX is opened --------------------------------------------------------------

LOAD = """
import ctypes, sys
if len(sys.argv) > 1:
    ctypes.CDLL(sys.argv[1])
from referdino_core.errors import TensorRTUnavailable
from referdino_core.backends.tensorrt.library import load_tensorrt
from referdino_core.backends.tensorrt.library import TENSORRT_RTX
try:
    print(load_tensorrt(TENSORRT_RTX).__version__)
except TensorRTUnavailable as error:
    print(error)
with open("/proc/self/maps") as maps:
    print(len({line.split()[-1] for line in maps if "libtensorrt_rtx.so" in line}))
"""


def load_in_a_process(cache: Path, *arguments: str | Path) -> list[str]:
    outcome = subprocess.run(
        [sys.executable, "-c", LOAD, *arguments],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "REFERDINO_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    return outcome.stdout.splitlines()


@pytest.fixture
def wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real one, after all
    require_library()


def test_missing_name_is_added_in_the_cache_and_one_copy_is_open(
    wheels: None, tmp_path: Path
) -> None:
    version, copies = load_in_a_process(tmp_path / "cache")
    assert version.startswith("1.") and copies == "1"
    links = {
        link.name: link.resolve() for link in (tmp_path / "cache" / "tensorrt-rtx").glob("*/*")
    }
    assert len(links) == 3
    assert links["libtensorrt_rtx.so"] == links["libtensorrt_rtx.so.1"]
    assert not links["libtensorrt_rtx.so"].with_name("libtensorrt_rtx.so").exists()
    assert load_in_a_process(tmp_path / "cache") == [version, copies], "a second time as well"


def test_another_copy_in_the_process_is_one_clear_error(wheels: None, tmp_path: Path) -> None:
    source = tmp_path / "other.cpp"
    source.write_text("int other() { return 0; }")
    other = compile_library(tmp_path / "libtensorrt_rtx.so.1", source)
    message, _ = load_in_a_process(tmp_path / "cache", other)
    assert message.startswith(f"TensorRT for RTX is in this process already, from {other}, and ")


def test_cache_that_cannot_be_written_is_one_clear_error(wheels: None, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    message, _ = load_in_a_process(tmp_path / "cache")
    assert "cannot be written" in message
