# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The build of the fused kernels, and what happens where it fails."""

from __future__ import annotations

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
from kernel_packages import cpp_compiler, package_without_libraries, run_python

from referdino_core.ops import build as kernel_build
from referdino_core.ops import deformable_attention
from referdino_core.ops import library as kernels
from referdino_core.ops.build import KernelBuildError, build, build_cuda, has_gpu
from referdino_core.ops.build import main as build_command
from referdino_core.ops.deformable_attention import (
    fused_deformable_attention,
    portable_deformable_attention,
)
from referdino_core.ops.library import KernelLibrary
from referdino_core.ops.loading import ANY_PROCESSORS_LIBRARY, FOLDER, libraries

pytestmark = pytest.mark.slow

NEWER = ("-march=x86-64-v3", "-march=x86-64-v4")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package that has no libraries."""
    return package_without_libraries(tmp_path)


def test_build_command_puts_a_library_that_loads(package, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", compiler_that_refuses(tmp_path, *NEWER))
    outcome = run_python(["-m", "referdino_core.ops.build"], package)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr == ""
    [line] = outcome.stdout.splitlines()[1:]
    assert line.startswith(f"built {package / 'ops' / ANY_PROCESSORS_LIBRARY.name} (-fopenmp")
    status = "from referdino_core.ops.library import kernel_status; print(kernel_status())"
    told = run_python(["-c", status], package).stdout.strip()
    assert told == f"fused ({ANY_PROCESSORS_LIBRARY.name})"


def test_what_builds_needs_no_pytorch(package):
    program = "import sys; sys.modules['torch'] = None; from referdino_core.ops.build import build"
    outcome = run_python(["-c", program], package)
    assert outcome.returncode == 0, outcome.stderr


def compiler_that_refuses(folder: Path, *flags: str) -> str:
    """A wrapper of the machine's C++ compiler that refuses some flags, as other compilers would.

    It does not optimise, which halves the time of a build.
    """
    wrapper = folder / "picky-compiler"
    refusals = "|".join(flags)
    wrapper.write_text(
        "#!/bin/sh\n"
        f'for flag in "$@"; do case "$flag" in {refusals}) '
        'echo "note: first" >&2; echo "error: unknown flag $flag" >&2; exit 1;; esac; done\n'
        f'exec "{cpp_compiler()}" "$@" -O0\n'
    )
    wrapper.chmod(0o755)
    return str(wrapper)


@pytest.mark.parametrize(
    "refused, tuning",
    [(("-march=*",), "-fopenmp"), (("-march=*", "-fopenmp"), "")],
    ids=["a compiler for other processors", "no OpenMP"],
)
def test_plainer_builds_compute_the_same(refused, tuning, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", compiler_that_refuses(tmp_path, *refused))
    folder = tmp_path / "built"
    folder.mkdir()
    for path in libraries():
        (folder / path.name).touch()  # of an earlier build
    [(library, used)] = build(folder).items()
    assert used == tuning and [path.name for path in folder.iterdir()] == [library.name]
    kernel = KernelLibrary(library)
    for module in (deformable_attention, kernels):
        monkeypatch.setattr(module, "kernel_library", lambda: kernel)
    for case in ("nano-like", "odd sizes", "any channels"):
        inputs = make_inputs(*CASES[case])
        gradient = gradient_for(inputs)
        found = output_and_gradients(fused_deformable_attention, inputs, gradient, torch.float32)
        judge = output_and_gradients(portable_deformable_attention, inputs, gradient, torch.float64)
        assert_agrees(found, judge, inputs[1])


def assert_build_fails_in_one_line(capsys, *parts: str) -> None:
    before = {path: path.read_bytes() for path in libraries()}
    assert build_command() == 1
    assert {path: path.read_bytes() for path in libraries()} == before
    assert [path.name for path in FOLDER.glob(".kernels-*")] == []
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


# The CUDA kernel's build. ops/test_cuda_deformable_attention.py compiles it with the real nvcc.


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
    monkeypatch.setattr(kernel_build, "has_gpu", lambda: True)
    folder = tmp_path / "built"
    folder.mkdir()
    library, used = build_cuda(folder)
    assert used == "-arch=all-major"
    assert [path.name for path in folder.iterdir()] == ["libreferdino_cuda_kernels.so"]
    command = library.read_text()
    assert "deformable_attention.cu" in command and "-fvisibility=hidden" in command
    assert ("-ccbin g++-12" in command) == (found_by == "NVCC")


@pytest.mark.parametrize(
    "script, machine, there",
    [
        ("echo 'GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-1)'", None, True),
        ("echo 'GPU 0: Orin (nvgpu) (UUID: 2)'", b"nvidia,p3737\0nvidia,tegra234\0", True),
        ("echo 'No devices were found'; exit 6", None, False),
        ("echo 'No devices found.'", None, False),
        ("echo 'NVIDIA-SMI has failed because of the driver' >&2; exit 9", None, False),
        ("exec sleep 60", None, False),
        (None, None, False),
        (None, b"nvidia,p3737\0nvidia,tegra234\0", True),
        (None, b"raspberrypi,5-model-b\0brcm,bcm2712\0", False),
    ],
)
def test_a_gpu_is_there_where_a_pretended_driver_lists_one_or_the_machine_is_a_jetson(
    script, machine, there, tmp_path, monkeypatch
):
    tool = tmp_path / "nvidia-smi"
    if script is not None:
        tool.write_text(f'#!/bin/sh\n[ "$1" = -L ] || exit 2\n{script}\n')
        tool.chmod(0o755)
    if machine is not None:
        (tmp_path / "compatible").write_bytes(machine)
    monkeypatch.setattr(kernel_build, "_DRIVER_TOOLS", (str(tool),))
    monkeypatch.setattr(kernel_build, "_DRIVER_SECONDS", 1)
    monkeypatch.setattr(kernel_build, "_MACHINE", tmp_path / "compatible")
    assert has_gpu() is there


def test_without_a_gpu_the_pretended_nvcc_is_not_asked_for_this_machines(
    pretended_nvcc, tmp_path, monkeypatch
):
    monkeypatch.setenv("NVCC", str(pretended_nvcc))
    monkeypatch.setattr(kernel_build, "has_gpu", lambda: False)
    _, used = build_cuda(tmp_path)
    assert "native" not in used


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
