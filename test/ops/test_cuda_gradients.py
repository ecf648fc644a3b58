# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Gradients of deformable attention on NVIDIA GPUs.

Where there is no GPU the backward kernel's threads run on the CPU, one after the other: the same
code, compiled for it. Where there is one, the kernel itself is held to the portable version.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest
import torch
from cuda_kernel_cases import PAIRS, SHAPES, Call, compile_host_kernel, judge, make_call
from torch import Tensor

from referdino_core.ops import build as kernel_build
from referdino_core.ops import cuda
from referdino_core.ops.build import KernelBuildError, build_cuda
from referdino_core.ops.cuda import (
    CudaKernel,
    CudaKernelError,
    DifferentiableAttention,
    _Call,
    _Gradients,
)
from referdino_core.ops.deformable_attention import (
    deformable_attention,
)

pytestmark = pytest.mark.gpu

# Relative to the largest gradient: a rounding of the result, and what sums in float32 lose.
RELATIVE = {torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}


@pytest.fixture(scope="module")
def host_kernel(tmp_path_factory: pytest.TempPathFactory) -> CudaKernel:
    return compile_host_kernel(tmp_path_factory.mktemp("libraries") / "host.so")


class InDoublePrecision(torch.autograd.Function):
    """The portable version forward, the kernel's arithmetic in double precision backward."""

    @staticmethod
    def forward(
        ctx: Any, kernel: CudaKernel, value: Tensor, shapes: Any, places: Tensor, logits: Tensor
    ) -> Tensor:
        ctx.save_for_backward(value, places, logits)
        ctx.library, ctx.shapes = ctypes.CDLL(str(kernel.path)), shapes
        return judge((value, shapes, places, logits))

    @staticmethod
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        value, places, logits = ctx.saved_tensors
        output_gradient = output_gradient.contiguous()
        found = (torch.zeros_like(value), torch.empty_like(places), torch.empty_like(logits))
        sides = [side for shape in ctx.shapes for side in shape]
        batch, queries, heads, samples = logits.shape
        call = _Call(
            *(tensor.data_ptr() for tensor in (value, places, logits, output_gradient)),
            (ctypes.c_int64 * len(sides))(*sides),
            *(batch, queries, heads, value.shape[-1]),
            *(len(ctx.shapes), samples // len(ctx.shapes), 0, 0),
        )
        gradients = _Gradients(*(tensor.data_ptr() for tensor in found))
        assert ctx.library.backward_float64(ctypes.byref(call), ctypes.byref(gradients)) == 0
        return None, found[0], None, found[1], found[2]


def small_call() -> Call:
    """A call in double precision, with samples inside, across the border and outside."""
    generator = torch.Generator().manual_seed(5)
    shapes = ((3, 4), (2, 3))
    value = torch.randn(2, 18, 2, 3, generator=generator, dtype=torch.float64)
    places = torch.rand(2, 3, 2, 4, 2, generator=generator, dtype=torch.float64) * 1.6 - 0.3
    logits = torch.randn(2, 3, 2, 4, generator=generator, dtype=torch.float64)
    return value, shapes, places, logits


def expected_gradients(call: Call, output_gradient: Tensor) -> tuple[Tensor, ...]:
    """Gradients of value, locations and logits by PyTorch, in double precision."""
    value, shapes, places, logits = call
    inputs = tuple(one.double().requires_grad_() for one in (value, places, logits))
    found = judge((inputs[0], shapes, inputs[1], inputs[2]))
    return torch.autograd.grad(found, inputs, output_gradient.double())


def assert_near(found: Tensor, expected: Tensor, precision: torch.dtype) -> None:
    assert found.shape == expected.shape and bool(found.isfinite().all())
    error = (found.double().cpu() - expected).abs().max()
    assert error <= RELATIVE[precision] * expected.abs().max(), f"error {error}"


# ---- The arithmetic, on the CPU ------------------------------------------------------------------


def test_gradients_are_the_derivatives_in_double_precision(host_kernel: CudaKernel) -> None:
    value, shapes, places, logits = small_call()

    def attention(value: Tensor, places: Tensor, logits: Tensor) -> Tensor:
        found: Tensor = InDoublePrecision.apply(host_kernel, value, shapes, places, logits)
        return found

    inputs = tuple(one.requires_grad_() for one in (value, places, logits))
    assert torch.autograd.gradcheck(attention, inputs)


@pytest.mark.parametrize("value_type, logits_type", PAIRS)
@pytest.mark.parametrize("case", SHAPES)
def test_host_gradients_agree_with_the_portable_version(
    host_kernel: CudaKernel, case: str, value_type: torch.dtype, logits_type: torch.dtype
) -> None:
    call = make_call(case, value_type, logits_type)
    value, shapes, places, logits = (
        one.requires_grad_() if isinstance(one, Tensor) else one for one in call
    )
    output = DifferentiableAttention.apply(host_kernel, value, shapes, places, logits)
    wanted = torch.randn(output.shape, generator=torch.Generator().manual_seed(6)).to(value_type)
    output.backward(wanted)
    expected = expected_gradients(call, wanted)
    for found, gradient in zip((value, places, logits), expected, strict=True):
        assert found.grad is not None and found.grad.dtype == found.dtype
        assert_near(found.grad, gradient, value_type)


def test_host_gradients_read_and_write_nothing_outside(host_kernel: CudaKernel) -> None:
    value, shapes, places, logits = make_call("odd sizes", torch.float32, torch.float32)
    value.fill_(torch.nan)
    wanted = torch.ones(*logits.shape[:2], value.shape[2] * value.shape[3])
    for place in (-2.0, -1e30, 3.0, 1e30, torch.inf, -torch.inf, torch.nan):
        outside = torch.full_like(places, place)
        found = host_kernel.gradients(value, shapes, outside, logits, wanted, stream=0)
        assert all(torch.equal(one, torch.zeros_like(one)) for one in found), place


def test_errors_of_the_gpu_are_reported(host_kernel: CudaKernel) -> None:
    """The CPU stands in for a GPU that refuses."""
    value, _, places, logits = make_call("16 levels", torch.float32, torch.float32)
    wanted = torch.ones(*logits.shape[:2], value.shape[2] * value.shape[3])
    with pytest.raises(CudaKernelError, match=r"invalid argument .*ops\.build --cuda"):
        host_kernel.gradients(value, ((1, 1),) * 17, places, logits, wanted, stream=0)


# ---- Building ------------------------------------------------------------------------------------


def test_nvcc_compiles_both_directions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        kernel_build.find_nvcc()
    except KernelBuildError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(kernel_build, "_COMMON", (("-gencode=arch=compute_90,code=sm_90",),))
    kernel = CudaKernel(build_cuda(tmp_path)[0])
    value, _, places, logits = make_call("16 levels", torch.float32, torch.float32)
    wanted = torch.ones(*logits.shape[:2], value.shape[2] * value.shape[3])
    with pytest.raises(CudaKernelError, match="invalid argument"):
        kernel.gradients(value, ((1, 1),) * 17, places, logits, wanted, stream=0)


# ---- On a GPU ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value_type, logits_type", PAIRS)
@pytest.mark.parametrize("case", SHAPES)
def test_training_on_a_gpu_uses_the_kernel_and_agrees_with_the_portable_version(
    case: str,
    value_type: torch.dtype,
    logits_type: torch.dtype,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("this machine has no GPU that PyTorch can use")
    if not cuda.LIBRARY_PATH.exists():
        pytest.skip(f"the kernel is not built: {cuda.BUILD_COMMAND}")
    kernel, calls = CudaKernel(cuda.LIBRARY_PATH), []
    monkeypatch.setattr("referdino_core.ops.deformable_attention.cuda_kernel", lambda: kernel)
    monkeypatch.setattr(cuda, "cuda_kernel", lambda: kernel)
    backward = kernel.gradients
    monkeypatch.setattr(kernel, "gradients", lambda *a, **k: calls.append(1) or backward(*a, **k))
    call = make_call(case, value_type, logits_type)
    value, shapes, places, logits = call
    inputs = tuple(one.cuda().requires_grad_() for one in (value, places, logits))
    split = inputs[1].unflatten(3, (len(shapes), -1))
    output = deformable_attention(inputs[0], shapes, split, inputs[2])
    wanted = torch.randn(output.shape, generator=torch.Generator().manual_seed(6)).to(value_type)
    output.backward(wanted.cuda())
    assert calls
    for found, gradient in zip(inputs, expected_gradients(call, wanted), strict=True):
        assert found.grad is not None
        assert_near(found.grad, gradient, value_type)
