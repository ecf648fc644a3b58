# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Attention of every kind as functions of PyTorch's tensors, through the CPU kernels."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from referdino_core.kernels.library import KernelLibrary


class AttentionKernels(KernelLibrary):
    """Tensors are float32 where nothing else is said."""

    def deformable_attention(
        self,
        value: Tensor,
        spatial_shapes: tuple[tuple[int, int], ...],
        locations: Tensor,
        weights: Tensor,
    ) -> Tensor:
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
        self._library.referdino_deformable_attention_forward(
            value.data_ptr(),
            level_sizes(spatial_shapes),
            locations.data_ptr(),
            weights.data_ptr(),
            output.data_ptr(),
            *(batch, queries, heads, channels, levels, points),
            torch.get_num_threads(),
        )
        return output

    def deformable_attention_gradients(
        self,
        value: Tensor,
        spatial_shapes: tuple[tuple[int, int], ...],
        locations: Tensor,
        weights: Tensor,
        output_gradient: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients for value, locations and weights, given that of the output (N, Q, M * D)."""
        batch, queries, heads, levels, points = weights.shape
        channels = value.shape[-1]
        value_gradient = torch.zeros_like(value)
        location_gradient = torch.empty_like(locations)
        weight_gradient = torch.empty_like(weights)
        self._library.referdino_deformable_attention_backward(
            value.data_ptr(),
            level_sizes(spatial_shapes),
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
        value: Tensor,
        spatial_shapes: tuple[tuple[int, int], ...],
        references: Tensor,
        projections: Tensor,
        points: int,
    ) -> Tensor:
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
        too_many = self._library.referdino_deformable_inference(
            value.data_ptr(),
            level_sizes(spatial_shapes),
            references.data_ptr(),
            projections.data_ptr(),
            output.data_ptr(),
            *(batch, len(references), queries, heads, channels, len(spatial_shapes), points),
            references.shape[-1],
            value.dtype == torch.bfloat16,
            torch.get_num_threads(),
        )
        check_samples(too_many, len(spatial_shapes), points)
        return output

    def window_attention(
        self,
        projections: Tensor,
        padding: Tensor,
        window_cells: Tensor,
        regions: Tensor | None,
        bias: Tensor,
    ) -> Tensor:
        """Swin's window attention of whole images; no gradients.

        Args:
            projections: (N, cells, 3 C) queries, keys and values, float32 or bfloat16.
            padding: (3 C,) what a cell beyond the border projects to.
            window_cells: (windows, size) int32 cell of every place in every window, -1 beyond.
            regions: (windows, size) uint8, cells of different regions do not see each other.
            bias: (heads, size, padded) added to the logits of every key and query, the number of
                queries padded to a multiple of 8.

        Returns:
            (N, cells, C) like the projections.
        """
        projections = projections.contiguous()
        images, cells, width = projections.shape
        windows, size = window_cells.shape
        output = projections.new_empty(images, cells, width // 3)
        self._library.referdino_window_attention(
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

    def attention(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        heads: int,
        visible: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Multi-head attention of projected inputs; no gradients.

        Args:
            queries: (N, Q, C); keys, values: (N, K, C); a row's numbers lie side by side, rows may
                be further apart.
            visible: (N, 1 or Q, K) bool, True where a query sees a key.
            weights: (N, heads, Q, K), filled with the attention weights.

        Returns:
            (N, Q, C).
        """
        batch, query_count, width = queries.shape
        key_count = keys.shape[1]
        output = queries.new_empty(batch, query_count, width)
        if visible is not None:
            visible = visible.contiguous()
        self._library.referdino_attention(
            queries.data_ptr(),
            keys.data_ptr(),
            values.data_ptr(),
            None if visible is None else visible.data_ptr(),
            None if weights is None else weights.data_ptr(),
            output.data_ptr(),
            *(queries.stride(1), keys.stride(1), values.stride(1)),
            0 if visible is None else visible.shape[1],
            *(batch, query_count, key_count, heads, width // heads),
            torch.get_num_threads(),
        )
        return output

    def fusion_attention(
        self, image: Tensor, folded: Tensor, text_padding: Tensor, bias: Tensor, heads: int
    ) -> tuple[Tensor, Tensor]:
        """Bi-directional attention of image cells and the tokens of N sentences; no gradients.

        Args:
            image: (N, S, d), or (1, S, d) for all sentences.
            folded: (N, L, heads * (2 d + 1)): for every head the key of a token in the image's
                channels, then what it gives to the image, then what is added to its logits.
            text_padding: (N, L) bool, True on padding.
            bias: (d,).

        Returns:
            The image (N, S, d) plus the bias and what it takes from the text; what every head of a
            text token takes from the image, (N, L, heads * d).
        """
        image, folded, text_padding = (t.contiguous() for t in (image, folded, text_padding))
        batch, tokens, _ = folded.shape
        _, cells, width = image.shape
        fused = image.new_empty(batch, cells, width)
        seen = image.new_empty(batch, tokens, heads * width)
        self._library.referdino_fusion_attention(
            image.data_ptr(),
            folded.data_ptr(),
            text_padding.data_ptr(),
            bias.data_ptr(),
            fused.data_ptr(),
            seen.data_ptr(),
            *(len(image), batch, cells, width, heads, tokens),
            torch.get_num_threads(),
        )
        return fused, seen


def check_samples(too_many: int, levels: int, points: int) -> None:
    """Raise ValueError where the library had no room for so many samples of a query."""
    if too_many:
        raise ValueError(f"{levels} levels of {points} points are too many samples")


def level_sizes(spatial_shapes: tuple[tuple[int, int], ...]) -> ctypes.Array[ctypes.c_int64]:
    sides = [side for shape in spatial_shapes for side in shape]
    return (ctypes.c_int64 * len(sides))(*sides)
