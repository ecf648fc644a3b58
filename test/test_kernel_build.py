# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The build of the fused kernels, the CPU's loader, and what happens where it is not to be had."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from deformable_attention_cases import (
    CASES,
    assert_agrees,
    gradient_for,
    make_inputs,
    output_and_gradients,
)

import referdino_core
from referdino_core.kernels import BUILD_COMMAND, LIBRARY_PATH, FusedKernel
from referdino_core.kernels import build as kernel_build
from referdino_core.kernels.build import KernelBuildError, build, build_cuda
from referdino_core.kernels.build import main as build_command
from referdino_core.network.deformable_attention import portable_deformable_attention

PACKAGE = Path(referdino_core.__file__).parent

# The loader in processes of its own: a library, once loaded, stays for a process's life.

CALL_TWICE = """
import logging
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
import torch
from referdino_core.kernels import fused_kernel, kernel_status, __file__ as home
from referdino_core.network import deformable_attention as attention
torch.manual_seed(0)
value, locations = torch.randn(1, 20, 2, 16), torch.rand(1, 3, 2, 1, 4, 2)
inputs = (value, ((4, 5),), locations, torch.rand(1, 3, 2, 1, 4))
first = attention.multi_scale_deformable_attention(*inputs)
second = attention.multi_scale_deformable_attention(*inputs)
assert torch.equal(first, attention.portable_deformable_attention(*inputs))
assert torch.equal(first, second)
try:
    attention.fused_deformable_attention(*inputs)
except RuntimeError as error:
    print(error)
print(home)
print(fused_kernel())
print(kernel_status())
"""


@pytest.fixture
def package_without_library(tmp_path: Path) -> Path:
    """The parts of the package that deformable attention needs, copied, without the library."""
    copy = tmp_path / PACKAGE.name
    shutil.copytree(
        PACKAGE / "kernels", copy / "kernels", ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    (copy / "network").mkdir()
    for part in ("errors.py", "network/deformable_attention.py"):
        shutil.copy(PACKAGE / part, copy / part)
    for folder in (copy, copy / "network"):
        (folder / "__init__.py").touch()
    return copy


def run_python(arguments: list[str], folder: Path):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def assert_falls_back(package: Path, reason: str, status: str) -> None:
    outcome = run_python(["-c", CALL_TWICE], package.parent)
    assert outcome.returncode == 0, outcome.stderr
    refusal, home, kernel, told = outcome.stdout.splitlines()
    assert refusal.startswith("the fused CPU kernel is not available") and BUILD_COMMAND in refusal
    assert Path(home).parent == package / "kernels"
    assert kernel == "None"
    assert status in told and BUILD_COMMAND in told
    lines = [line for line in outcome.stderr.splitlines() if "referdino" in line]
    assert len(lines) == 1, outcome.stderr
    assert reason in lines[0] and BUILD_COMMAND in lines[0] and "portable" in lines[0]


def test_missing_library_falls_back_with_one_line(package_without_library):
    assert_falls_back(package_without_library, "is not built", "not built")


def test_broken_library_falls_back_with_one_line(package_without_library):
    library = package_without_library / "kernels" / "libreferdino_kernels.so"
    library.write_bytes(b"\x7fELF" + bytes(500))
    assert_falls_back(package_without_library, "cannot be loaded", "cannot be loaded")


def test_build_command_puts_a_library_that_loads(package_without_library):
    folder = package_without_library.parent
    outcome = run_python(["-m", "referdino_core.kernels.build"], folder)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr == ""
    assert outcome.stdout.splitlines()[-1].startswith("built ")
    status = "from referdino_core.kernels import kernel_status; print(kernel_status())"
    assert run_python(["-c", status], folder).stdout.strip() == "fused"


@pytest.mark.parametrize(
    "source, complaint",
    [
        ('extern "C" int referdino_kernels_version() { return 77; }\n'
         'extern "C" void referdino_deformable_attention_forward() {}\n'
         'extern "C" void referdino_deformable_attention_backward() {}\n'
         'extern "C" void referdino_deformable_inference() {}\n'
         'extern "C" void referdino_window_attention() {}\n', "version 77"),
        ("int other() { return 0; }\n", "is no library of referdino's kernels"),
    ],
    ids=["another version", "another library"],
)  # fmt: skip
def test_library_of_other_sources_is_refused(source, complaint, tmp_path):
    (tmp_path / "other.cpp").write_text(source)
    library = tmp_path / "other.so"
    command = [cpp_compiler(), "-shared", "-fPIC", str(tmp_path / "other.cpp"), "-o", str(library)]
    subprocess.run(command, check=True)
    with pytest.raises(OSError, match=complaint):
        FusedKernel(library)


def cpp_compiler() -> str:
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    assert compiler is not None, "these tests need a C++ compiler"
    return compiler


def compiler_that_refuses(folder: Path, *flags: str) -> str:
    """A wrapper of the machine's C++ compiler that refuses some flags, as other compilers would."""
    wrapper = folder / "picky-compiler"
    refusals = "|".join(flags)
    wrapper.write_text(
        "#!/bin/sh\n"
        f'for flag in "$@"; do case "$flag" in {refusals}) '
        'echo "note: first" >&2; echo "error: unknown flag $flag" >&2; exit 1;; esac; done\n'
        f'exec "{cpp_compiler()}" "$@"\n'
    )
    wrapper.chmod(0o755)
    return str(wrapper)


@pytest.mark.parametrize(
    "refused, tuning",
    [(("-march=native",), "-fopenmp"), (("-march=native", "-fopenmp"), "")],
    ids=["any CPU", "no OpenMP"],
)
def test_plainer_builds_compute_the_same(refused, tuning, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", compiler_that_refuses(tmp_path, *refused))
    folder = tmp_path / "built"
    folder.mkdir()
    library, used = build(folder)
    assert used == tuning and [path.name for path in folder.iterdir()] == [library.name]
    kernel = FusedKernel(library)
    for case in ("nano-like", "odd sizes", "any channels"):
        inputs = make_inputs(*CASES[case])
        gradient = gradient_for(inputs)
        found = (
            kernel.deformable_attention(*inputs),
            *kernel.deformable_attention_gradients(*inputs, gradient),
        )
        judge = output_and_gradients(portable_deformable_attention, inputs, gradient, torch.float64)
        assert_agrees(found, judge, inputs[1])


def assert_build_fails_in_one_line(capsys, *parts: str) -> None:
    before = LIBRARY_PATH.read_bytes()
    assert build_command() == 1
    assert LIBRARY_PATH.read_bytes() == before
    assert [path.name for path in LIBRARY_PATH.parent.glob(".kernels-*")] == []
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("the fused CPU kernel cannot be built: ")
    for part in parts:
        assert part in lines[0]


def test_build_without_a_compiler_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert_build_fails_in_one_line(capsys, "CXX names 'no-such-compiler', which is not found")
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert_build_fails_in_one_line(capsys, "no C++ compiler found", "g++")


def test_build_with_a_compiler_that_fails_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CXX", compiler_that_refuses(tmp_path, "-O3"))
    assert_build_fails_in_one_line(capsys, "error: unknown flag -O3")


def test_build_into_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(KernelBuildError, match=r"^the fused CPU kernel cannot be built: .*missing"):
        build(tmp_path / "missing")


# The CUDA kernel's build. test_cuda_deformable_attention.py compiles it with the real nvcc.


@pytest.fixture
def pretended_nvcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script instead of nvcc: like one without a GPU that does not know every GPU's name."""
    script = tmp_path / "cuda" / "bin" / "nvcc"
    script.parent.mkdir(parents=True)
    script.write_text(
        "#!/bin/sh\n"
        'for word in "$@"; do case "$word" in\n'
        "  -arch=native) echo \"nvcc warning : no GPU for '-arch=native'\" >&2;;\n"
        '  -gencode=*sm_90) echo "nvcc fatal : error: unknown GPU sm_90" >&2; exit 1;;\n'
        'esac; last="$word"; done\n'
        'echo "$@" > "$last"\n'
    )
    script.chmod(0o755)
    for variable in ("NVCC", "CUDA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(kernel_build, "_NVCC_PLACES", ())
    return script


@pytest.mark.parametrize("found_by", ["NVCC", "CUDA_HOME", "places"])
def test_cuda_build_with_pretended_nvcc_finds_it_and_flags_that_it_takes(
    found_by, pretended_nvcc, tmp_path, monkeypatch
):
    if found_by == "NVCC":
        monkeypatch.setenv("NVCC", f"{pretended_nvcc} -ccbin g++-12")
    elif found_by == "CUDA_HOME":
        monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    else:
        monkeypatch.setattr(kernel_build, "_NVCC_PLACES", ("no-such-nvcc", str(pretended_nvcc)))
    monkeypatch.setattr(kernel_build, "_GPU_DEVICES", (str(tmp_path),))
    folder = tmp_path / "built"
    folder.mkdir()
    library, used = build_cuda(folder)
    assert used == "-arch=all-major"
    assert [path.name for path in folder.iterdir()] == ["libreferdino_cuda_kernels.so"]
    command = library.read_text()
    assert "deformable_attention.cu" in command and "-fvisibility=hidden" in command
    assert ("-ccbin g++-12" in command) == (found_by == "NVCC")


def test_cuda_build_without_nvcc_is_one_line(pretended_nvcc, monkeypatch, capsys):
    assert build_command(["--cuda"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "the fused CUDA kernel cannot be built: nvcc is not found "
        "(install the CUDA toolkit; or set CUDA_HOME to where it is)"
    ]
    monkeypatch.setenv("NVCC", "no-such-nvcc")
    assert build_command(["--cuda"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith("NVCC names 'no-such-nvcc', which is not found")


def test_cuda_build_with_pretended_nvcc_that_fails_is_one_line(
    pretended_nvcc, tmp_path, monkeypatch
):
    pretended_nvcc.write_text('#!/bin/sh\necho "a.h: error: unsupported compiler" >&2\nexit 1\n')
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    with pytest.raises(KernelBuildError, match=r"^the fused CUDA kernel .*unsupported compiler$"):
        build_cuda(tmp_path)
    assert list(tmp_path.glob("*.so")) == list(tmp_path.glob(".kernels-*")) == []
