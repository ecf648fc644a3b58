# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Deformable attention on NVIDIA GPUs: the kernel's arithmetic, its build and its binding.

Where there is no GPU the kernel's threads run on the CPU, one after the other: the same code,
compiled for it. Where there is one, the kernel itself is held to the portable version.
"""

from __future__ import annotations

import ctypes
import logging
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cuda_kernel_cases import (
    PAIRS,
    PLUGINS,
    SHAPES,
    Call,
    assert_agrees,
    compile_host_kernel,
    compile_library,
    judge,
    load_script,
    make_call,
)

from referdino_core.ops import build as kernel_build
from referdino_core.ops import cuda
from referdino_core.ops.build import KernelBuildError, build_cuda
from referdino_core.ops.cuda import CudaKernel, CudaKernelError, cuda_deformable_attention

pytestmark = pytest.mark.gpu

register_report = load_script(PLUGINS / "register_report.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("libraries")


@pytest.fixture(scope="module")
def host_kernel(folder: Path) -> CudaKernel:
    return compile_host_kernel(folder / "host.so")


@pytest.fixture(scope="module")
def long_index_kernel(folder: Path) -> CudaKernel:
    """The same, with the indices that calls of more than 2^31 threads get."""
    return compile_host_kernel(folder / "long.so", "-DSHORT_INDEX_LIMIT=0")


# ---- The arithmetic, on the CPU ------------------------------------------------------------------


@pytest.mark.parametrize("value_type, logits_type", PAIRS)
@pytest.mark.parametrize("case", SHAPES)
def test_host_arithmetic_agrees_with_the_portable_version(
    host_kernel, case, value_type, logits_type
):
    call = make_call(case, value_type, logits_type)
    found = host_kernel.deformable_attention(*call, stream=0)
    assert found.dtype == value_type
    assert_agrees(found, judge(call))


@pytest.mark.parametrize("case", SHAPES)
def test_host_arithmetic_with_long_indices_is_the_same(host_kernel, long_index_kernel, case):
    call = make_call(case, torch.float16, torch.float32)
    short, long = (
        kernel.deformable_attention(*call, stream=0) for kernel in (host_kernel, long_index_kernel)
    )
    assert torch.equal(short, long)


def test_host_arithmetic_of_misaligned_values_is_the_same(host_kernel):
    value, shapes, locations, logits = make_call("odd sizes", torch.float16, torch.float16)
    shifted = torch.empty(value.numel() + 1, dtype=value.dtype)[1:].view_as(value).copy_(value)
    assert shifted.is_contiguous() and shifted.data_ptr() % 16
    plain = host_kernel.deformable_attention(value, shapes, locations, logits, stream=0)
    found = host_kernel.deformable_attention(shifted, shapes, locations, logits, stream=0)
    torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-6)


def test_host_arithmetic_reads_nothing_outside(host_kernel):
    value, shapes, locations, logits = make_call("odd sizes", torch.float32, torch.float32)
    value.fill_(torch.nan)
    for place in (-2.0, -1e30, 3.0, 1e30, torch.inf, -torch.inf, torch.nan):
        outside = torch.full_like(locations, place)
        found = host_kernel.deformable_attention(value, shapes, outside, logits, stream=0)
        assert torch.equal(found, torch.zeros_like(found)), place


def test_host_arithmetic_ignores_samples_that_are_no_places(host_kernel):
    value, shapes, locations, logits = make_call("nano-like", torch.float32, torch.float32)
    odd = torch.rand(locations.shape, generator=torch.Generator().manual_seed(3)) < 0.2
    nowhere = host_kernel.deformable_attention(
        value, shapes, locations.masked_fill(odd, torch.nan), logits, stream=0
    )
    far = locations.masked_fill(odd, -5.0)
    assert_agrees(nowhere, judge((value, shapes, far, logits)))


def test_host_softmax_is_stable(host_kernel):
    value, shapes, locations, logits = make_call("encoder-like", torch.float32, torch.float32)
    for changed in (logits * 1e4, logits + 1e4, logits.masked_fill(logits > 0, -torch.inf)):
        changed[..., 0] = changed[..., 0].clamp(min=-1e30)
        call = (value, shapes, locations, changed)
        assert_agrees(host_kernel.deformable_attention(*call, stream=0), judge(call))


def test_host_arithmetic_of_nothing_is_nothing(host_kernel):
    value, shapes, locations, logits = make_call("one cell", torch.float32, torch.float32)
    found = host_kernel.deformable_attention(
        value, shapes, locations[:, :0], logits[:, :0], stream=0
    )
    assert found.shape == (2, 0, 64)


def test_host_number_formats_are_those_of_pytorch(host_kernel):
    library = ctypes.CDLL(str(host_kernel.path))
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16)
    generator = torch.Generator().manual_seed(4)
    size = torch.randint(-(2**31), 2**31, (20000,), generator=generator, dtype=torch.int64)
    numbers = size.to(torch.int32).view(torch.float32)
    ties = every.view(torch.float16).float() * (1 + 2.0**-11)
    numbers = torch.cat([numbers, ties, torch.tensor([0.0, -0.0, 65519.9, 65520.0, 1e-8])])
    for name, dtype in (("float16", torch.float16), ("bfloat16", torch.bfloat16)):
        read, write = getattr(library, f"read_{name}"), getattr(library, f"write_{name}")
        read.argtypes, read.restype = (ctypes.c_uint16,), ctypes.c_float
        write.argtypes, write.restype = (ctypes.c_float,), ctypes.c_uint16
        found = torch.tensor([read(bits & 0xFFFF) for bits in every.tolist()])
        assert torch.equal(found.nan_to_num(0.5), every.view(dtype).float().nan_to_num(0.5)), name
        written = torch.tensor([write(number) for number in numbers.tolist()], dtype=torch.int32)
        found = written.to(torch.int16).view(dtype).float()
        assert torch.equal(found.nan_to_num(0.5), numbers.to(dtype).float().nan_to_num(0.5)), name


# ---- The binding ---------------------------------------------------------------------------------


def test_what_the_kernel_cannot_take_is_refused_in_one_line():
    value, shapes, locations, logits = make_call("nano-like", torch.float16, torch.float32)
    wrong = {
        "value is torch.int64": (value.long(), shapes, locations, logits),
        "locations are torch.float16": (value, shapes, locations.half(), logits),
        "logits are torch.bfloat16": (value, shapes, locations, logits.bfloat16()),
        "takes value (N, S, M, D)": (value, shapes, locations.unflatten(3, (3, 4)), logits),
        "1 to 16 levels, not 0": (value, (), locations, logits),
        "have no tokens": (value, ((400, 1), (0, 7)), locations, logits),
        "value has 400 tokens": (value, ((15, 20), (8, 10)), locations, logits),
        "do not match": (value, shapes, locations[:, :-1], logits),
        "cannot be divided among 3 levels": (value, shapes, locations[..., 1:, :], logits[..., 1:]),
        "logits is not contiguous": (value, shapes, locations, logits.mT.contiguous().mT),
        "but value is on cpu": (value, shapes, locations, logits),
    }
    for complaint, call in wrong.items():
        with pytest.raises(ValueError, match="deformable attention") as caught:
            cuda_deformable_attention(*call)
        assert complaint in str(caught.value), str(caught.value)


def test_kernel_reports_errors_of_the_gpu(host_kernel):
    """The CPU stands in for a GPU that refuses."""
    value, shapes, locations, logits = make_call("one cell", torch.float32, torch.float32)
    shifted = torch.empty(locations.numel() + 1)[1:].view_as(locations).copy_(locations)
    with pytest.raises(CudaKernelError, match=r"invalid argument .*ops\.build --cuda"):
        host_kernel.deformable_attention(value, shapes, shifted, logits, stream=0)


@pytest.fixture
def library_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the loader looks, with nothing there yet."""
    path = tmp_path / cuda.LIBRARY_PATH.name
    monkeypatch.setattr(cuda, "LIBRARY_PATH", path)
    cuda.cuda_kernel.cache_clear()
    yield path
    cuda.cuda_kernel.cache_clear()


OTHER_VERSION = """
extern "C" int referdino_cuda_kernels_version() { return 77; }
extern "C" void referdino_cuda_deformable_attention() {}
extern "C" void referdino_cuda_error_text() {}
"""


@pytest.mark.parametrize(
    "source, reason, status",
    [
        (None, "is not built", "not built"),
        (OTHER_VERSION, "version 77", "cannot be loaded"),
        ("int other() { return 0; }", "is not a library of", "cannot be loaded"),
    ],
    ids=["no library", "another version", "another library"],
)
def test_without_its_library_one_line_says_so(source, reason, status, library_path, caplog):
    if source is not None:
        code = library_path.with_suffix(".cpp")
        code.write_text(source)
        compile_library(library_path, code)
    with caplog.at_level(logging.INFO, logger="referdino.kernels"):
        assert cuda.cuda_kernel() is None and cuda.cuda_kernel() is None
    [line] = caplog.messages
    assert reason in line and cuda.BUILD_COMMAND in line and "portable" in line
    assert status in cuda.cuda_kernel_status()


def test_library_that_is_there_is_used(library_path, host_kernel):
    shutil.copy(host_kernel.path, library_path)
    assert cuda.cuda_kernel_status() == "fused"


# ---- Building ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nvcc() -> list[str]:
    try:
        return kernel_build.find_nvcc()
    except KernelBuildError as error:
        pytest.skip(str(error))


def test_nvcc_compiles_the_kernel(nvcc, folder, monkeypatch):
    monkeypatch.setattr(kernel_build, "_COMMON", (("-gencode=arch=compute_87,code=sm_87",),))
    library, _ = build_cuda(folder)
    kernel = CudaKernel(library)
    value, _, locations, logits = make_call("16 levels", torch.float32, torch.float32)
    too_many = ((1, 1),) * 17
    with pytest.raises(CudaKernelError, match="invalid argument"):
        kernel.deformable_attention(value, too_many, locations, logits, stream=0)


@pytest.mark.parametrize("gpu", register_report.ARCHITECTURES)
def test_nvcc_keeps_the_kernel_in_registers(nvcc, gpu):
    """For Orin, RTX 40, Hopper and RTX 50; which numbers are usual, register_report.py shows."""
    known = subprocess.run([*nvcc, "--list-gpu-code"], capture_output=True, text=True, check=True)
    if gpu not in known.stdout.split():
        pytest.skip(f"this nvcc is too old for {gpu}")
    variants = register_report.compile_variants([gpu])
    assert len(variants) == 20 and {one.gpu for one in variants} == {gpu}
    types = {(one.value, one.logits) for one in variants}
    assert types == {
        (value, logits)
        for value in ("Float32", "Float16", "BFloat16")
        for logits in (value, "Float32")
    }
    usual = [one for one in variants if one.lanes > 1 and one.index_bits == 32]
    block = register_report.threads_per_block()
    assert len(usual) == 5 and block == 128
    for one in usual:
        assert one.spills == 0 and one.registers <= 56, one
        assert one.occupancy(block) > 0.6, one


def test_builds_without_a_gpu_cover_what_robots_and_desktops_have():
    newest, older, _ = kernel_build._COMMON
    for number in (87, 89, 90):
        for flags in (newest, older):
            assert f"-gencode=arch=compute_{number},code=sm_{number}" in flags
    assert "-gencode=arch=compute_120,code=sm_120" in newest
    cmake = (PLUGINS / "CMakeLists.txt").read_text()
    declared = re.search(r"set\(architectures (80-real[^)]*)\)", cmake)
    assert declared and declared[1] == "80-real 87-real 89-real 90-real 75-virtual"
    assert "list(APPEND architectures 120-real)" in cmake


@pytest.fixture
def surrounding_project(tmp_path: Path) -> Path:
    """A CMake project of which trt_plugins is a part, as it is of the ROS package."""
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(surrounding LANGUAGES CXX)\n"
        f'add_subdirectory("{PLUGINS}" trt_plugins)\nmessage(STATUS "and on it goes")\n'
    )
    return tmp_path


@pytest.mark.parametrize("asked", ["AUTO", "OFF"])
def test_cmake_says_in_one_line_what_it_leaves_out(surrounding_project, asked):
    if asked == "AUTO" and kernel_build.has_gpu():
        pytest.skip("this machine has a GPU: nothing is left out")
    command = ["cmake", "-S", surrounding_project, "-B", surrounding_project / "build"]
    outcome = subprocess.run(
        [*command, f"-DREFERDINO_CUDA={asked}"], capture_output=True, text=True, check=True
    )
    lines = [line for line in outcome.stdout.splitlines() if "Left out" in line]
    assert len(lines) == 1 and "CUDA kernel and the TensorRT plugin" in lines[0]
    assert "and on it goes" in outcome.stdout and outcome.stderr == ""


# ---- On a GPU ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpu_kernel(folder: Path) -> CudaKernel:
    if not torch.cuda.is_available():
        pytest.skip("this machine has no GPU that PyTorch can use")
    if cuda.LIBRARY_PATH.exists():
        return CudaKernel(cuda.LIBRARY_PATH)
    try:
        return CudaKernel(build_cuda(folder)[0])
    except KernelBuildError as error:
        pytest.skip(str(error))


@pytest.fixture
def on_gpu(gpu_kernel: CudaKernel, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    monkeypatch.setattr(cuda, "cuda_kernel", lambda: gpu_kernel)
    return torch.device("cuda")


def move(call: Call, device: torch.device) -> Call:
    value, shapes, locations, logits = call
    return value.to(device), shapes, locations.to(device), logits.to(device)


@pytest.mark.parametrize("value_type, logits_type", PAIRS)
@pytest.mark.parametrize("case", SHAPES)
def test_gpu_agrees_with_the_portable_version(on_gpu, case, value_type, logits_type):
    call = make_call(case, value_type, logits_type)
    found = cuda_deformable_attention(*move(call, on_gpu))
    assert found.dtype == value_type and found.device.type == "cuda"
    assert_agrees(found.cpu(), judge(call))


def test_gpu_reads_nothing_outside(on_gpu):
    value, shapes, locations, logits = make_call("odd sizes", torch.float16, torch.float16)
    for place in (-2.0, 1e30, torch.inf, torch.nan):
        outside = torch.full_like(locations, place)
        nothing = (value * torch.nan, shapes, outside, logits)
        found = cuda_deformable_attention(*move(nothing, on_gpu))
        assert torch.equal(found, torch.zeros_like(found)), place


def test_gpu_works_on_the_current_stream(on_gpu):
    call = make_call("encoder-like", torch.float32, torch.float32)
    value, shapes, locations, logits = move(call, on_gpu)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(100_000_000)
        later = value * 2
        found = cuda_deformable_attention(later, shapes, locations, logits)
    stream.synchronize()
    assert_agrees(found.cpu() / 2, judge(call))


def test_gpu_runs_inside_a_cuda_graph(on_gpu):
    first = make_call("mask decoder-like", torch.float16, torch.float16)
    value, shapes, locations, logits = move(first, on_gpu)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        cuda_deformable_attention(value, shapes, locations, logits)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = cuda_deformable_attention(value, shapes, locations, logits)
    for sign in (1, -1):
        value.copy_(first[0] * sign)
        graph.replay()
        torch.cuda.synchronize()
        assert_agrees(found.cpu() * sign, judge(first))
