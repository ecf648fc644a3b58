# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Calls of the CUDA kernel, their double-precision judge, and the kernel's threads on the CPU."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import torch
from deformable_attention_cases import CASES, make_inputs
from repository import INTERFACES, REPOSITORY
from torch import Tensor

from referdino_core.ops import cuda
from referdino_core.ops.cuda import CudaKernel
from referdino_core.ops.deformable_attention import portable_deformable_attention

KERNELS = Path(cuda.__file__).parent / "csrc"
PLUGINS = REPOSITORY / "trt_plugins"
DECLARED = INTERFACES / "tensorrt"

# Of the result, relative: a rounding of the output, and what sums in float32 lose.
RELATIVE = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 4e-3}
PAIRS = [
    (torch.float32, torch.float32),
    (torch.float16, torch.float16),
    (torch.float16, torch.float32),
    (torch.bfloat16, torch.bfloat16),
    (torch.bfloat16, torch.float32),
]
SHAPES = {
    **CASES,
    "8 samples": (2, ((9, 16), (5, 8)), 7, 8, 4, 32),
    "16 samples of one level": (2, ((23, 40),), 9, 8, 16, 32),
    "16 levels": (1, tuple((side, 17 - side) for side in range(1, 17)), 3, 2, 1, 8),
}

Call = tuple[Tensor, tuple[tuple[int, int], ...], Tensor, Tensor]


def load_script(path: Path) -> ModuleType:
    """A program of the repository that lies outside of its packages, as a module."""
    specification = spec_from_file_location(path.stem, path)
    assert specification is not None and specification.loader is not None
    module = module_from_spec(specification)
    sys.modules[path.stem] = module
    specification.loader.exec_module(module)
    return module


def compile_library(library: Path, *arguments: str | Path) -> Path:
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    assert compiler is not None, "these tests need a C++ compiler"
    command = [compiler, "-std=c++17", "-O2", "-shared", "-fPIC", f"-I{KERNELS}", *arguments]
    outcome = subprocess.run([*command, "-o", library], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    return library


def compile_host_kernel(library: Path, *options: str) -> CudaKernel:
    """The kernel's threads on the CPU, one after the other, behind the interface of its library."""
    return CudaKernel(compile_library(library, DECLARED / "host_kernel.cpp", *options))


def make_call(case: str, value_type: torch.dtype, logits_type: torch.dtype) -> Call:
    value, shapes, locations, _ = make_inputs(*SHAPES[case])
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(*locations.shape[:3], locations.shape[3:5].numel(), generator=generator)
    return value.to(value_type), shapes, locations.flatten(3, 4), (3 * logits).to(logits_type)


def judge(call: Call) -> Tensor:
    """The portable version in double precision, of the very numbers that the kernel gets."""
    value, shapes, locations, logits = call
    weights = logits.double().softmax(-1).unflatten(-1, (len(shapes), -1))
    places = locations.double().unflatten(3, (len(shapes), -1))
    return portable_deformable_attention(value.double(), shapes, places, weights)


def assert_agrees(found: Tensor, expected: Tensor) -> None:
    """Each error is small beside the largest result of all; no single one decides its own scale."""
    assert found.shape == expected.shape and bool(found.isfinite().all())
    error = (found.double() - expected).abs().max()
    assert error <= RELATIVE[found.dtype] * expected.abs().max(), f"error {error}"
