# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The library of fused CPU kernels, as functions of PyTorch's tensors."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from referdino_core.kernels.attention import AttentionKernels, check_samples, level_sizes
from referdino_core.kernels.operators import OperatorKernels
from referdino_core.kernels.weights import (
    AttentionWeights,
    DeformableAttentionWeights,
    FeedForwardWeights,
    WindowAttentionWeights,
)


class FusedKernel(AttentionKernels, OperatorKernels):
    """The loaded library of fused CPU kernels.

    Tensors are on the CPU, and float32 where nothing else is said; weights, tables and what the
    gradients are asked for are contiguous. Callers see to that. The number of threads is PyTorch's
    (``torch.get_num_threads()``), as it is at each call.
    """

    def feed_forward(self, features: Tensor, weights: FeedForwardWeights) -> Tensor:
        """A feed-forward network, the residual around it, and the norm before or after it.

        Args:
            features: (..., width).
            weights: those of `FeedForwardBlock`.

        Returns:
            (..., width).
        """
        features = features.contiguous()
        output = torch.empty_like(features)
        self._library.referdino_feed_forward(
            ctypes.byref(weights),
            features.data_ptr(),
            features.numel() // features.shape[-1],
            output.data_ptr(),
            torch.get_num_threads(),
        )
        return output

    def attention_block(
        self,
        tokens: Tensor,
        weights: AttentionWeights,
        positions: Tensor | None = None,
        context: Tensor | None = None,
        visible: Tensor | None = None,
        attention: Tensor | None = None,
    ) -> Tensor:
        """Multi-head attention with its projections, the residual around it, and the norm after.

        Args:
            tokens: (N, Q, d); positions: (N, Q, d), or (1, Q, d) for all, added for queries
                and, without a context, keys.
            weights: those of `AttentionBlock`.
            context: (N, K, d) what is attended to; the tokens themselves where there is none.
            visible: (N, 1 or Q, K) bool, True where a query sees a key.
            attention: (N, heads, Q, K), filled with the attention weights.

        Returns:
            (N, Q, d).
        """
        tokens = tokens.contiguous()
        output = torch.empty_like(tokens)
        batch, count, _ = tokens.shape
        if positions is not None:
            positions = positions.expand_as(tokens).contiguous()
        if context is not None:
            context = context.contiguous()
        if visible is not None:
            visible = visible.contiguous()
        self._library.referdino_attention_block(
            ctypes.byref(weights),
            tokens.data_ptr(),
            None if positions is None else positions.data_ptr(),
            None if context is None else context.data_ptr(),
            None if visible is None else visible.data_ptr(),
            0 if visible is None else visible.shape[1],
            None if attention is None else attention.data_ptr(),
            output.data_ptr(),
            *(batch, count, 0 if context is None else context.shape[1]),
            torch.get_num_threads(),
        )
        return output

    def deformable_block(
        self,
        tokens: Tensor,
        positions: Tensor,
        references: Tensor,
        memory: Tensor,
        spatial_shapes: tuple[tuple[int, int], ...],
        weights: DeformableAttentionWeights,
    ) -> Tensor:
        """Deformable attention with its projections, the residual around it, and the norm after.

        Args:
            tokens: (N, Q, d); positions: (N, Q, d), or (1, Q, d) for all.
            references: as `deformable_inference` takes them.
            memory: (N, S, d), the cells of all levels.
            spatial_shapes: height and width per level.
            weights: those of `DeformableAttentionBlock`.

        Returns:
            (N, Q, d).
        """
        tokens, positions, references, memory = (
            t.contiguous() for t in (tokens, positions, references, memory)
        )
        output = torch.empty_like(tokens)
        too_many = self._library.referdino_deformable_block(
            ctypes.byref(weights),
            tokens.data_ptr(),
            positions.data_ptr(),
            len(positions),
            memory.data_ptr(),
            level_sizes(spatial_shapes),
            len(spatial_shapes),
            references.data_ptr(),
            *(len(references), references.shape[-1]),
            output.data_ptr(),
            *(len(tokens), tokens.shape[1]),
            torch.get_num_threads(),
        )
        check_samples(too_many, len(spatial_shapes), weights.points)
        return output

    def window_block(self, tokens: Tensor, weights: WindowAttentionWeights) -> Tensor:
        """Swin's window attention with the norm before it and the residual around it.

        Args:
            tokens: (N, cells, C).
            weights: those of `FusedSwinBlock`.

        Returns:
            (N, cells, C).
        """
        tokens = tokens.contiguous()
        output = torch.empty_like(tokens)
        self._library.referdino_window_block(
            ctypes.byref(weights),
            tokens.data_ptr(),
            output.data_ptr(),
            *(len(tokens), tokens.shape[1]),
            torch.get_num_threads(),
        )
        return output
