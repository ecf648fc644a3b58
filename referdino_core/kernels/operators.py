# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Operators other than attention as functions of PyTorch's tensors, through the CPU kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from referdino_core.kernels.library import KernelLibrary
from referdino_core.kernels.weights import ACTIVATIONS, Activation


class OperatorKernels(KernelLibrary):
    """All are for inference, without gradients; tensors are float32."""

    def pack_linear(self, weight: Tensor) -> Tensor:
        """The (out, in) weight of a linear layer, laid out for `linear`."""
        if weight.dtype is not torch.float32:
            raise ValueError(f"weights are packed in float32, not in {weight.dtype}")
        outputs, inputs = weight.shape
        weight = weight.contiguous()
        packed = weight.new_empty(self._library.referdino_packed_size(outputs, inputs))
        self._library.referdino_pack_linear(weight.data_ptr(), outputs, inputs, packed.data_ptr())
        return packed

    def linear(
        self,
        features: Tensor,
        packed: Tensor,
        bias: Tensor | None,
        outputs: int,
        added: Tensor | None = None,
        activation: Activation = "none",
    ) -> Tensor:
        """A linear layer, its activation, and a sum; no gradients.

        Args:
            features: (..., in).
            packed: the weight, as `pack_linear` gives it; bias: (out,).
            outputs: out.
            added: (..., out), added to the activated result.
            activation: "none", "relu" or "gelu".

        Returns:
            (..., out).
        """
        features = features.contiguous()
        inputs = features.shape[-1]
        output = features.new_empty(*features.shape[:-1], outputs)
        if added is not None:
            added = added.contiguous()
        self._library.referdino_linear(
            features.data_ptr(),
            features.numel() // inputs,
            inputs,
            packed.data_ptr(),
            None if bias is None else bias.data_ptr(),
            outputs,
            None if added is None else added.data_ptr(),
            ACTIVATIONS[activation],
            output.data_ptr(),
            torch.get_num_threads(),
        )
        return output

    def layer_norm(
        self,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        epsilon: float,
        added: Tensor | None = None,
    ) -> Tensor:
        """Layer normalisation of (..., width) features, or of their sum with `added`."""
        features = features.contiguous()
        output = torch.empty_like(features)
        if added is not None:
            added = added.contiguous()
        width = features.shape[-1]
        self._library.referdino_layer_norm(
            features.data_ptr(),
            None if added is None else added.data_ptr(),
            weight.data_ptr(),
            bias.data_ptr(),
            features.numel() // width,
            width,
            epsilon,
            output.data_ptr(),
            torch.get_num_threads(),
        )
        return output

    def group_norm(
        self, grid: Tensor, weight: Tensor, bias: Tensor, groups: int, epsilon: float, relu: bool
    ) -> Tensor:
        """Group normalisation of a (N, ..., C) grid, and a ReLU where `relu`; no gradients."""
        grid = grid.contiguous()
        output = torch.empty_like(grid)
        channels = grid.shape[-1]
        self._library.referdino_group_norm(
            grid.data_ptr(),
            weight.data_ptr(),
            bias.data_ptr(),
            output.data_ptr(),
            *(len(grid), grid.numel() // (len(grid) * channels), channels, groups, epsilon, relu),
            torch.get_num_threads(),
        )
        return output

    def convolution(
        self, grid: Tensor, packed: Tensor, bias: Tensor, outputs: int, step: int
    ) -> Tensor:
        """A 3x3 convolution of a grid that is surrounded by zeros; no gradients.

        Args:
            grid: (N, h, w, C).
            packed: the weight (outputs, 3, 3, C) flattened to (outputs, 9 C) and packed.
            bias: (outputs,).
            step: 1 for every place of the grid, 2 for every second one.

        Returns:
            (N, ceil(h / step), ceil(w / step), outputs).
        """
        grid = grid.contiguous()
        count, height, width, inputs = grid.shape
        output = grid.new_empty(count, -(-height // step), -(-width // step), outputs)
        self._library.referdino_convolution(
            grid.data_ptr(),
            packed.data_ptr(),
            bias.data_ptr(),
            output.data_ptr(),
            *(count, height, width, inputs, outputs, step),
            torch.get_num_threads(),
        )
        return output

    def token_similarity(
        self, queries: Tensor, text: Tensor, text_padding: Tensor, scale: float, offset: float
    ) -> Tensor:
        """The highest product of a query with a token, times `scale`, plus `offset`; no gradients.

        Args:
            queries: (..., Q, d); text: (..., L, d).
            text_padding: (..., L) bool, True on padding; a row serves all that follow with it.

        Returns:
            (..., Q).
        """
        queries, text, text_padding = (t.contiguous() for t in (queries, text, text_padding))
        tokens, width = text.shape[-2:]
        similarity = queries.new_empty(queries.shape[:-1])
        self._library.referdino_token_similarity(
            queries.data_ptr(),
            text.data_ptr(),
            text_padding.data_ptr(),
            *(scale, offset),
            similarity.data_ptr(),
            *(text.numel() // (tokens * width), text_padding.numel() // tokens),
            *(queries.shape[-2], tokens, width),
            torch.get_num_threads(),
        )
        return similarity

    def sine_embedding(self, angles: Tensor, wavelengths: Tensor) -> Tensor:
        """Sine and cosine of angles (...) over every one of (W,) wavelengths from 1, (..., 2 W)."""
        angles = angles.contiguous()
        pairs = len(wavelengths)
        embedding = angles.new_empty(*angles.shape, 2 * pairs)
        self._library.referdino_sine_embedding(
            angles.data_ptr(), wavelengths.data_ptr(), angles.numel(), pairs, embedding.data_ptr()
        )
        return embedding

    def box_embedding(self, boxes: Tensor, wavelengths: Tensor) -> Tensor:
        """`sine_embedding` of boxes (..., 4) as turns, in the order y, x, w, h: (..., 8 W)."""
        boxes = boxes.contiguous()
        pairs = len(wavelengths)
        embedding = boxes.new_empty(*boxes.shape[:-1], 8 * pairs)
        self._library.referdino_box_embedding(
            boxes.data_ptr(),
            wavelengths.data_ptr(),
            boxes.numel() // 4,
            pairs,
            embedding.data_ptr(),
        )
        return embedding

    def pruning_scores(self, fit: Tensor, attention: Tensor) -> Tensor:
        """The mean of two distributions over the queries; see `ReleasedPruningScore`.

        Args:
            fit: (N, Q) logits; attention: (N, heads, Q, Q) self-attention weights.

        Returns:
            (N, Q).
        """
        fit, attention = fit.contiguous(), attention.contiguous()
        scores = torch.empty_like(fit)
        self._library.referdino_pruning_scores(
            fit.data_ptr(),
            attention.data_ptr(),
            scores.data_ptr(),
            *attention.shape[:3],
            torch.get_num_threads(),
        )
        return scores

    def refine_boxes(self, moves: Tensor, references: Tensor, epsilon: float) -> Tensor:
        """sigmoid(moves + logits of the references), kept `epsilon` away from 0 and 1; (..., 4)."""
        moves, references = moves.contiguous(), references.contiguous()
        boxes = torch.empty_like(references)
        self._library.referdino_refine_boxes(
            moves.data_ptr(), references.data_ptr(), boxes.data_ptr(), boxes.numel(), epsilon
        )
        return boxes
