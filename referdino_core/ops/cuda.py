# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The fused CUDA kernels of deformable attention, for PyTorch tensors on NVIDIA GPUs.

The library is optional: if it is not built or cannot be loaded, the portable PyTorch version is
used, and the log says so in one line. The TensorRT plugin in ``trt_plugins`` contains the same
kernel.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from referdino_core.errors import ReferDINOError

__all__ = [
    "BUILD_COMMAND",
    "LIBRARY_PATH",
    "MAXIMUM_LEVELS",
    "CudaKernel",
    "CudaKernelError",
    "DifferentiableAttention",
    "cuda_deformable_attention",
    "cuda_kernel",
    "cuda_kernel_status",
]

LIBRARY_PATH = Path(__file__).resolve().with_name("libreferdino_cuda_kernels.so")
BUILD_COMMAND = "python -m referdino_core.ops.build --cuda"
MAXIMUM_LEVELS = 16
_VERSION = 2
_TYPE_CODES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}

_log = logging.getLogger("referdino.kernels")

SpatialShapes = tuple[tuple[int, int], ...]


class CudaKernelError(ReferDINOError):
    """The CUDA kernel is not available, or it failed on the GPU."""


class _Call(ctypes.Structure):
    """``ReferdinoDeformableAttention`` of deformable_attention_cuda.h."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("locations", ctypes.c_void_p),
        ("logits", ctypes.c_void_p),
        ("output", ctypes.c_void_p),
        ("level_sizes", ctypes.POINTER(ctypes.c_int64)),
        ("batch", ctypes.c_int64),
        ("queries", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("levels", ctypes.c_int32),
        ("points", ctypes.c_int32),
        ("value_type", ctypes.c_int32),
        ("logits_type", ctypes.c_int32),
    )


class _Gradients(ctypes.Structure):
    """``ReferdinoDeformableGradients`` of deformable_attention_cuda.h."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("locations", ctypes.c_void_p),
        ("logits", ctypes.c_void_p),
    )


class CudaKernel:
    """The loaded library of the fused CUDA kernels, forward and backward.

    Callers ensure that tensors match, are contiguous and on the current device, as
    ``cuda_deformable_attention`` does.
    """

    def __init__(self, path: Path) -> None:
        """Load the library at ``path``; raises OSError if that fails or its version differs."""
        library = ctypes.CDLL(str(path))
        try:
            version = library.referdino_cuda_kernels_version()
            if version != _VERSION:
                raise OSError(f"{path.name} was built from version {version} of its sources")
            self._forward = library.referdino_cuda_deformable_attention
            self._backward = library.referdino_cuda_deformable_attention_backward
            self._error_text = library.referdino_cuda_error_text
        except AttributeError as error:
            raise OSError(f"{path.name} is not a library of referdino's CUDA kernels") from error
        self._forward.argtypes = (ctypes.POINTER(_Call), ctypes.c_void_p)
        self._forward.restype = ctypes.c_int
        self._backward.argtypes = (
            ctypes.POINTER(_Call),
            ctypes.POINTER(_Gradients),
            ctypes.c_void_p,
        )
        self._backward.restype = ctypes.c_int
        self._error_text.argtypes = (ctypes.c_int,)
        self._error_text.restype = ctypes.c_char_p
        self.path = path

    def deformable_attention(
        self,
        value: Tensor,
        spatial_shapes: SpatialShapes,
        locations: Tensor,
        logits: Tensor,
        stream: int,
    ) -> Tensor:
        """Launch the kernel on a stream, given by its address in PyTorch.

        Shapes are those of ``cuda_deformable_attention``.

        Raises:
            CudaKernelError: the kernel failed.
        """
        output = value.new_empty(*logits.shape[:2], value.shape[2] * value.shape[3])
        call = _describe(value, spatial_shapes, locations, logits, output)
        self._check(self._forward(ctypes.byref(call), stream))
        return output

    def gradients(
        self,
        value: Tensor,
        spatial_shapes: SpatialShapes,
        locations: Tensor,
        logits: Tensor,
        output_gradient: Tensor,
        stream: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Launch the backward kernel on a stream.

        Args:
            output_gradient: (N, Q, M * D), contiguous, in the precision of ``value``.

        Returns:
            Gradients of value, locations and logits, float32.

        Raises:
            CudaKernelError: the kernel failed.
        """
        call = _describe(value, spatial_shapes, locations, logits, output_gradient)
        found = (
            torch.zeros_like(value, dtype=torch.float32),
            torch.empty_like(locations),
            torch.empty_like(logits, dtype=torch.float32),
        )
        gradients = _Gradients(*(tensor.data_ptr() for tensor in found))
        self._check(self._backward(ctypes.byref(call), ctypes.byref(gradients), stream))
        return found

    def _check(self, error: int) -> None:
        if error:
            text = self._error_text(error).decode()
            raise CudaKernelError(
                f"the CUDA kernel failed: {text} (error {error}; "
                f"to build it for this machine's GPU: {BUILD_COMMAND})"
            )


def _describe(
    value: Tensor, spatial_shapes: SpatialShapes, locations: Tensor, logits: Tensor, output: Tensor
) -> _Call:
    batch, queries, heads, samples = logits.shape
    levels = len(spatial_shapes)
    sides = [side for shape in spatial_shapes for side in shape]
    return _Call(
        *(tensor.data_ptr() for tensor in (value, locations, logits, output)),
        (ctypes.c_int64 * len(sides))(*sides),
        *(batch, queries, heads, value.shape[-1], levels, samples // max(levels, 1)),
        *(_TYPE_CODES[value.dtype], _TYPE_CODES[logits.dtype]),
    )


class DifferentiableAttention(torch.autograd.Function):
    """Autograd function of the fused kernels; its inputs are those of `CudaKernel`."""

    @staticmethod
    def forward(
        ctx: Any,
        kernel: CudaKernel,
        value: Tensor,
        spatial_shapes: SpatialShapes,
        locations: Tensor,
        logits: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(value, locations, logits)
        ctx.kernel, ctx.spatial_shapes = kernel, spatial_shapes
        with _on_device_of(value) as stream:
            return kernel.deformable_attention(value, spatial_shapes, locations, logits, stream)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[None, Tensor, None, Tensor, Tensor]:
        value, locations, logits = ctx.saved_tensors
        with _on_device_of(value) as stream:
            gradients = ctx.kernel.gradients(
                value,
                ctx.spatial_shapes,
                locations,
                logits,
                output_gradient.to(value.dtype).contiguous(),
                stream,
            )
        to_value, to_locations, to_logits = gradients
        return None, to_value.to(value.dtype), None, to_locations, to_logits.to(logits.dtype)


@contextmanager
def _on_device_of(tensor: Tensor) -> Iterator[int]:
    """PyTorch's current stream on a tensor's GPU, by its address; 0 for tensors on the CPU."""
    if not tensor.is_cuda:
        yield 0
        return
    with torch.cuda.device(tensor.device):
        yield torch.cuda.current_stream().cuda_stream


def cuda_deformable_attention(
    value: Tensor, spatial_shapes: SpatialShapes, locations: Tensor, logits: Tensor
) -> Tensor:
    """Multi-scale deformable attention, including the softmax, on PyTorch's current stream.

    Sampling is bilinear, zero outside, with pixel centres at half-integers. Coordinates, weights
    and sums are float32, and so are gradients until they are complete. CUDA graphs can capture the
    call. Gradients of the value are summed in no fixed order, see PyTorch's notes on
    reproducibility.

    Args:
        value: (N, S, M, D) float32, float16 or bfloat16, the tokens of all levels in row-major
            order.
        spatial_shapes: height and width per level, at most 16; S is the sum of their products.
        locations: (N, Q, M, K, 2) float32, x and y; 0..1 spans the level, any value is allowed.
            K is levels times points, the points of a level in a row.
        logits: (N, Q, M, K) of the value's type or float32, attention weights before softmax.

    Returns:
        (N, Q, M * D) in the precision of ``value``.

    Raises:
        ValueError: the tensors do not match, or are not on one GPU.
        CudaKernelError: the kernel is not available, or it failed.
    """
    check_attention_inputs(value, spatial_shapes, locations, logits)
    for name, tensor in (("value", value), ("locations", locations), ("logits", logits)):
        if tensor.device.type != "cuda" or tensor.device != value.device:
            raise ValueError(
                "deformable attention: the CUDA kernel takes tensors of one GPU, "
                f"but value is on {value.device} and {name} on {tensor.device}"
            )
    kernel = cuda_kernel()
    if kernel is None:
        raise CudaKernelError(f"the fused CUDA kernel is not available: {cuda_kernel_status()}")
    output: Tensor = DifferentiableAttention.apply(kernel, value, spatial_shapes, locations, logits)
    return output


def check_attention_inputs(
    value: Tensor, spatial_shapes: SpatialShapes, locations: Tensor, logits: Tensor
) -> None:
    """Raise ValueError unless the kernel supports these tensors, apart from their device."""
    named = {"value": value, "locations": locations, "logits": logits}
    if value.dtype not in _TYPE_CODES:
        raise ValueError(f"deformable attention: value is {value.dtype}, not floating point")
    if locations.dtype != torch.float32:
        raise ValueError(f"deformable attention: locations are {locations.dtype}, not float32")
    if logits.dtype not in (value.dtype, torch.float32):
        raise ValueError(
            f"deformable attention: logits are {logits.dtype}, "
            f"neither {value.dtype} like the value nor float32"
        )
    if value.dim() != 4 or locations.dim() != 5 or logits.dim() != 4:
        raise ValueError(
            "deformable attention takes value (N, S, M, D), locations (N, Q, M, K, 2) and "
            f"logits (N, Q, M, K), not {_shapes(value, locations, logits)}"
        )
    _check_levels(value, spatial_shapes)
    batch, _, heads, channels = value.shape
    samples = logits.shape[3]
    expected = (batch, locations.shape[1], heads, samples)
    if tuple(logits.shape) != expected or tuple(locations.shape) != (*expected, 2):
        raise ValueError(
            "deformable attention: the shapes of value, locations and logits do not match: "
            f"{_shapes(value, locations, logits)}"
        )
    if samples == 0 or samples % len(spatial_shapes) or heads == 0 or channels == 0:
        raise ValueError(
            f"deformable attention: {samples} samples of {heads} heads of {channels} channels "
            f"cannot be divided among {len(spatial_shapes)} levels"
        )
    for name, tensor in named.items():
        if not tensor.is_contiguous():
            raise ValueError(f"deformable attention: {name} is not contiguous")
    if locations.data_ptr() % 8:
        raise ValueError("deformable attention: locations are not aligned to 8 bytes")


def _check_levels(value: Tensor, spatial_shapes: SpatialShapes) -> None:
    if not 1 <= len(spatial_shapes) <= MAXIMUM_LEVELS:
        raise ValueError(
            f"deformable attention: the CUDA kernel takes 1 to {MAXIMUM_LEVELS} levels, "
            f"not {len(spatial_shapes)}"
        )
    if any(height < 1 or width < 1 for height, width in spatial_shapes):
        raise ValueError(f"deformable attention: levels {tuple(spatial_shapes)} have no tokens")
    tokens = sum(height * width for height, width in spatial_shapes)
    if value.shape[1] != tokens:
        raise ValueError(
            f"deformable attention: value has {value.shape[1]} tokens, "
            f"the levels {tuple(spatial_shapes)} have {tokens}"
        )


def _shapes(*tensors: Tensor) -> str:
    return ", ".join(str(tuple(tensor.shape)) for tensor in tensors)


@functools.cache
def cuda_kernel() -> CudaKernel | None:
    """The fused CUDA kernel; None, with one line in the log, if it is unavailable."""
    if not LIBRARY_PATH.exists():
        _log.warning(
            "the fused CUDA kernel is not built: using the slower portable version "
            "(build it with: %s)",
            BUILD_COMMAND,
        )
        return None
    try:
        return CudaKernel(LIBRARY_PATH)
    except OSError as error:
        _log.warning(
            "the fused CUDA kernel cannot be loaded (%s): using the slower portable version "
            "(build it again with: %s)",
            " ".join(str(error).split()),
            BUILD_COMMAND,
        )
        return None


def cuda_kernel_status() -> str:
    """Status of the fused CUDA kernel in one line, with how to build it if it is unavailable."""
    if cuda_kernel() is not None:
        return "fused"
    reason = "cannot be loaded" if LIBRARY_PATH.exists() else "not built"
    return f"portable (the fused CUDA kernel is {reason}; build it with: {BUILD_COMMAND})"
