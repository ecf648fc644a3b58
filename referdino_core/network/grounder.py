# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Stage 3, grounder: image and text features to surviving queries, batched over commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from referdino_core.configuration import NetworkConfiguration
from referdino_core.network.decoder import DecodedQueries, Decoder
from referdino_core.network.fusion_encoder import FusionEncoder
from referdino_core.network.image_encoder import ImageFeatures
from referdino_core.network.mask_decoder import MaskFeatures
from referdino_core.network.pixel_decoder import PixelDecoder
from referdino_core.network.query_selection import Proposals, QuerySelection
from referdino_core.network.text_encoder import TextFeatures


@dataclass(frozen=True)
class Grounding:
    """Output of the grounder for N commands in one frame.

    Attributes:
        text: (N, L, d) fused text. text_padding: (N, L) bool.
        tokens: (N, S, d) fused image tokens of levels with these `spatial_shapes`.
        masks: features that masks are decoded from.
        proposals: the initial queries.
        layers: the queries that survive each decoder layer.
    """

    text: Tensor
    text_padding: Tensor
    tokens: Tensor
    spatial_shapes: tuple[tuple[int, int], ...]
    masks: MaskFeatures
    proposals: Proposals
    layers: tuple[DecodedQueries, ...]

    @property
    def queries(self) -> Tensor:
        """Queries (N, Q, d) that survive the last layer."""
        return self.layers[-1].queries

    @property
    def references(self) -> Tensor:
        """Their boxes (N, Q, 4) before the last layer, in [0, 1]."""
        return self.layers[-1].references


class Grounder(nn.Module):
    """The grounding stage: fusion encoder, query selection, pruning decoder and pixel decoder."""

    def __init__(self, configuration: NetworkConfiguration) -> None:
        super().__init__()
        self.fusion_encoder = FusionEncoder(configuration)
        self.query_selection = QuerySelection(configuration)
        self.decoder = Decoder(configuration)
        self.pixel_decoder = PixelDecoder(configuration.width, configuration.swin.channels[0])

    def forward(self, image: ImageFeatures, text: TextFeatures) -> Grounding:
        """Ground N sentences in one image, or each sentence in its own image."""
        tokens, fused_text = self.fusion_encoder(image, text)
        proposals = self.query_selection(tokens, image.geometry, fused_text, text.padding)
        return Grounding(
            text=fused_text,
            text_padding=text.padding,
            tokens=tokens,
            spatial_shapes=image.geometry.spatial_shapes,
            masks=self.mask_features(tokens, image),
            proposals=proposals,
            layers=self.decoder(proposals, tokens, image.geometry, fused_text, text.padding),
        )

    def mask_features(self, tokens: Tensor, image: ImageFeatures) -> MaskFeatures:
        """Mask features of fused tokens (N, S, d)."""
        geometry = image.geometry
        return MaskFeatures(
            self.pixel_decoder(token_maps(tokens, geometry.spatial_shapes), image.finest),
            geometry.finest_padding,
            geometry.finest_valid_ratio,
        )


def token_maps(
    tokens: Tensor, spatial_shapes: Sequence[tuple[int, int]]
) -> tuple[Tensor, Tensor, Tensor]:
    """Feature maps (N, d, h, w) at strides 8, 16 and 32 of the tokens (N, S, d) of all levels."""
    sizes = [height * width for height, width in spatial_shapes]
    levels = torch.split(tokens, sizes, dim=1)[:3]
    stride8, stride16, stride32 = (
        level.transpose(1, 2).unflatten(-1, shape)
        for level, shape in zip(levels, spatial_shapes, strict=False)
    )
    return stride8, stride16, stride32
