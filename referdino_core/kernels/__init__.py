# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The fused CPU kernels: C++ sources, the command that builds them, and their loader.

The library is optional. Where it is not built, everything works through the portable PyTorch
version of each operator, and one line in the log says so.
"""

from __future__ import annotations

import ctypes
import functools
import logging
from pathlib import Path

# PyTorch comes first on purpose: its OpenMP runtime is then the one that the library resolves to,
# and both share one pool of threads.
import torch

__all__ = ["BUILD_COMMAND", "LIBRARY_PATH", "FusedKernel", "fused_kernel", "kernel_status"]

LIBRARY_PATH = Path(__file__).with_name("libreferdino_kernels.so")
BUILD_COMMAND = "python -m referdino_core.kernels.build"
_VERSION = 3

_log = logging.getLogger("referdino.kernels")


class FusedKernel:
    """The loaded library of fused CPU kernels.

    Tensors that are handed over are contiguous and on the CPU, and float32 where nothing else is
    said; callers see to that. The number of threads is PyTorch's (``torch.get_num_threads()``), as
    it is at each call.
    """

    def __init__(self, path: Path) -> None:
        """Load the library at ``path``; OSError where it cannot be, or is of another version."""
        library = ctypes.CDLL(str(path))
        try:
            version = library.referdino_kernels_version()
            self._forward = library.referdino_deformable_attention_forward
            self._backward = library.referdino_deformable_attention_backward
            self._inference = library.referdino_deformable_inference
            self._windows = library.referdino_window_attention
        except AttributeError as error:
            raise OSError(f"{path.name} is no library of referdino's kernels") from error
        if version != _VERSION:
            raise OSError(f"{path.name} was built from version {version} of its sources")
        sizes = (*[ctypes.c_int64] * 6, ctypes.c_int)
        self._forward.argtypes = (*[ctypes.c_void_p] * 5, *sizes)
        self._backward.argtypes = (*[ctypes.c_void_p] * 8, *sizes)
        self._forward.restype = self._backward.restype = None
        self._inference.argtypes = (
            *[ctypes.c_void_p] * 5,
            *[ctypes.c_int64] * 8,
            *[ctypes.c_int] * 2,
        )
        self._windows.argtypes = (
            *[ctypes.c_void_p] * 6,
            *[ctypes.c_int64] * 6,
            *[ctypes.c_int] * 2,
        )
        self._windows.restype = None
        self.path = path

    def deformable_attention(
        self,
        value: torch.Tensor,
        spatial_shapes: tuple[tuple[int, int], ...],
        locations: torch.Tensor,
        weights: torch.Tensor,
    ) -> torch.Tensor:
        """Multi-scale deformable attention.

        Args:
            value: (N, S, M, D).
            spatial_shapes: height and width per level, S cells together.
            locations: (N, Q, M, L, P, 2), x and y in 0..1 of the level.
            weights: (N, Q, M, L, P).

        Returns:
            (N, Q, M * D).
        """
        batch, queries, heads, levels, points = weights.shape
        channels = value.shape[-1]
        output = value.new_empty(batch, queries, heads * channels)
        self._forward(
            value.data_ptr(),
            _level_sizes(spatial_shapes),
            locations.data_ptr(),
            weights.data_ptr(),
            output.data_ptr(),
            *(batch, queries, heads, channels, levels, points),
            torch.get_num_threads(),
        )
        return output

    def deformable_attention_gradients(
        self,
        value: torch.Tensor,
        spatial_shapes: tuple[tuple[int, int], ...],
        locations: torch.Tensor,
        weights: torch.Tensor,
        output_gradient: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Gradients for value, locations and weights, given that of the output (N, Q, M * D)."""
        batch, queries, heads, levels, points = weights.shape
        channels = value.shape[-1]
        value_gradient = torch.zeros_like(value)
        location_gradient = torch.empty_like(locations)
        weight_gradient = torch.empty_like(weights)
        self._backward(
            value.data_ptr(),
            _level_sizes(spatial_shapes),
            locations.data_ptr(),
            weights.data_ptr(),
            output_gradient.data_ptr(),
            value_gradient.data_ptr(),
            location_gradient.data_ptr(),
            weight_gradient.data_ptr(),
            *(batch, queries, heads, channels, levels, points),
            torch.get_num_threads(),
        )
        return value_gradient, location_gradient, weight_gradient

    def deformable_inference(
        self,
        value: torch.Tensor,
        spatial_shapes: tuple[tuple[int, int], ...],
        references: torch.Tensor,
        projections: torch.Tensor,
        points: int,
    ) -> torch.Tensor:
        """Multi-scale deformable attention from what the linear layers give; no gradients.

        Args:
            value: (N, S, M, D) float32 or bfloat16.
            spatial_shapes: height and width per level, S cells together.
            references: (N, Q, L, 2) points or (N, Q, L, 4) boxes in 0..1; (1, ...) serves all.
            projections: (N, Q, M * L * points * 3) like value: offsets x, y by head, level and
                point, then logits by head, level and point.
            points: per head and level.

        Returns:
            (N, Q, M * D) like value.
        """
        value, references, projections = (
            tensor.contiguous() for tensor in (value, references.float(), projections)
        )
        batch, _, heads, channels = value.shape
        queries = projections.shape[1]
        output = value.new_empty(batch, queries, heads * channels)
        too_many = self._inference(
            value.data_ptr(),
            _level_sizes(spatial_shapes),
            references.data_ptr(),
            projections.data_ptr(),
            output.data_ptr(),
            *(batch, len(references), queries, heads, channels, len(spatial_shapes), points),
            references.shape[-1],
            value.dtype == torch.bfloat16,
            torch.get_num_threads(),
        )
        if too_many:
            raise ValueError(
                f"{len(spatial_shapes)} levels of {points} points are too many samples"
            )
        return output

    def window_attention(
        self,
        projections: torch.Tensor,
        padding: torch.Tensor,
        window_cells: torch.Tensor,
        regions: torch.Tensor | None,
        bias: torch.Tensor,
    ) -> torch.Tensor:
        """Swin's window attention of whole images; no gradients.

        Args:
            projections: (N, cells, 3 C) queries, keys and values, float32 or bfloat16.
            padding: (3 C,) what a cell beyond the border projects to.
            window_cells: (windows, size) int32 cell of every place in every window, -1 beyond.
            regions: (windows, size) uint8, cells of different regions do not see each other.
            bias: (heads, size, padded) added to the logits of every key and query, the number of
                queries padded to a multiple of 8.

        Returns:
            (N, cells, C) like the projections; C / heads is a multiple of 8.
        """
        projections = projections.contiguous()
        images, cells, width = projections.shape
        windows, size = window_cells.shape
        output = projections.new_empty(images, cells, width // 3)
        self._windows(
            projections.data_ptr(),
            padding.data_ptr(),
            window_cells.data_ptr(),
            None if regions is None else regions.data_ptr(),
            bias.data_ptr(),
            output.data_ptr(),
            *(images, cells, windows, size, len(bias), width // 3 // len(bias)),
            projections.dtype == torch.bfloat16,
            torch.get_num_threads(),
        )
        return output


def _level_sizes(spatial_shapes: tuple[tuple[int, int], ...]) -> ctypes.Array[ctypes.c_int64]:
    sides = [side for shape in spatial_shapes for side in shape]
    return (ctypes.c_int64 * len(sides))(*sides)


@functools.cache
def fused_kernel() -> FusedKernel | None:
    """The fused CPU kernels, or None, with one line in the log, where they are not to be had."""
    if not LIBRARY_PATH.exists():
        _log.warning(
            "the fused CPU kernel is not built: using the slower portable version "
            "(build it with: %s)",
            BUILD_COMMAND,
        )
        return None
    try:
        return FusedKernel(LIBRARY_PATH)
    except OSError as error:
        _log.warning(
            "the fused CPU kernel cannot be loaded (%s): using the slower portable version "
            "(build it again with: %s)",
            " ".join(str(error).split()),
            BUILD_COMMAND,
        )
        return None


def kernel_status() -> str:
    """One line for people: whether the fused CPU kernel is in use, and if not, how to get it."""
    if fused_kernel() is not None:
        return "fused"
    reason = "cannot be loaded" if LIBRARY_PATH.exists() else "not built"
    return f"portable (the fused kernel is {reason}; build it with: {BUILD_COMMAND})"
