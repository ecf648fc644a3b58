# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Grounding-guided deformable mask decoder (ReferDINO, section on the mask decoder)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from referdino_core.configuration import NetworkConfiguration
from referdino_core.network.attention import DecoderLayer


@dataclass(frozen=True)
class MaskFeatures:
    """Features at stride 4 that the masks of N sentences are decoded from.

    Attributes:
        features: (N, d, h, w).
        padding: (N, h, w) bool, True on padding; None without padding.
        valid_ratio: (N, 2) non-padded fraction of width and height, or (1, 2) for all.
    """

    features: Tensor
    padding: Tensor | None
    valid_ratio: Tensor


class MaskDecoder(nn.Module):
    """Refines queries to mask embeddings by attending to mask features around their references."""

    def __init__(self, configuration: NetworkConfiguration) -> None:
        super().__init__()
        c = configuration
        self.layers = nn.ModuleList(
            DecoderLayer(
                c.width, c.heads, levels=1, points=c.mask_points, feed_forward=c.mask_feed_forward
            )
            for _ in range(c.mask_layers)
        )

    def forward(
        self,
        queries: Tensor,
        positions: Tensor,
        references: Tensor,
        text: Tensor,
        text_padding: Tensor,
        masks: MaskFeatures,
    ) -> Tensor:
        """Mask embeddings (N, Q, d).

        Args:
            queries, positions: (N, Q, d).
            references: (N, Q, 4) boxes, scaled by the mask features' valid ratio.
            text: (N, L, d); text_padding: (N, L) bool.
            masks: the features to attend to.
        """
        height, width = masks.features.shape[-2:]
        memory = masks.features.flatten(2).transpose(1, 2)
        padding = None if masks.padding is None else masks.padding.flatten(1)
        for layer in self.layers:
            queries, _, _ = layer(
                queries, positions, references[:, :, None], text, text_padding,
                memory, padding, ((height, width),),
            )  # fmt: skip
        return queries


def decode_masks(embeddings: Tensor, mask_features: Tensor) -> Tensor:
    """Mask logits (N, Q, h, w): products of embeddings (N, Q, d) and features (N, d, h, w)."""
    return (embeddings @ mask_features.flatten(2)).unflatten(-1, mask_features.shape[-2:])
