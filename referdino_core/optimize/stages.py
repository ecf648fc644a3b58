# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The three tensor stages for one image size, as functions from tensors to tensors.

N commands share one image; T is the number of frames in their windows. Half precision, if chosen,
is used within and between the stages; outputs for the host are float32.
"""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor, nn

from referdino_core.network.grounder import Grounder
from referdino_core.network.image_encoder import ImageEncoder, ImageFeatures
from referdino_core.network.image_geometry import ImageGeometry, Shape, level_shapes
from referdino_core.network.mask_decoder import MaskFeatures
from referdino_core.network.object_memory import Window
from referdino_core.network.readout import Readout
from referdino_core.network.text_encoder import TextFeatures


class ImageStage(nn.Module):
    """Image encoder stage: pixels to multi-scale features."""

    def __init__(self, encoder: ImageEncoder, precision: torch.dtype) -> None:
        super().__init__()
        self.encoder = encoder
        self.precision = precision

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(1, 3, H, W) float32 pixels to tokens (1, S, d) and the finest map (1, C, h, w)."""
        tokens, finest, _ = self.encoder.encode(pixels.to(self.precision))
        return tokens, finest


class GroundingStage(nn.Module):
    """Grounding stage: features and text to surviving queries and mask features.

    Args:
        grounder: the grounder in the stage's precision.
        encoder: the image encoder, for the positions of the image's tokens.
        size: (height, width) of the image in pixels.
    """

    def __init__(
        self, grounder: Grounder, encoder: ImageEncoder, size: Shape, precision: torch.dtype
    ) -> None:
        super().__init__()
        self.grounder = grounder
        self.precision = precision
        geometry = encoder.geometry(size, *level_shapes(size, len(encoder.input_projections)))
        self.spatial_shapes = geometry.spatial_shapes
        for entry in fields(ImageGeometry):
            value = getattr(geometry, entry.name)
            if isinstance(value, Tensor):
                value = value.detach()
                if entry.name == "positions":
                    value = value.to(precision)
                self.register_buffer(entry.name, value, persistent=False)

    def geometry(self) -> ImageGeometry:
        """Geometry of the image's tokens."""
        buffers = dict(self.named_buffers(recurse=False))
        return ImageGeometry(
            spatial_shapes=self.spatial_shapes, padding=None, finest_padding=None, **buffers
        )

    def forward(
        self,
        tokens: Tensor,
        finest: Tensor,
        text: Tensor,
        text_padding: Tensor,
        text_attention: Tensor,
        text_positions: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Ground N sentences in one image.

        Args:
            tokens: (1, S, d). finest: (1, C, h, w). Both are outputs of the image stage.
            text: (N, L, d) float32.
            text_padding: (N, L) bool, True on padding.
            text_attention: (N, L, L) bool attention mask, True where allowed.
            text_positions: (N, L) int, position of each token in its sub-sentence.

        Returns:
            Queries (N, Q, d), their boxes (N, Q, 4) before the last layer, and fused text
            (N, L, d), all float32; mask features (N, d, h, w).
        """
        image = ImageFeatures(tokens, finest, self.geometry())
        sentences = TextFeatures(
            text.to(self.precision), text_padding, text_attention, text_positions
        )
        grounding = self.grounder(image, sentences)
        return (
            grounding.queries.float(),
            grounding.references,
            grounding.text.float(),
            grounding.masks.features,
        )


class ReadoutStage(nn.Module):
    """Readout stage: windows of aligned queries to scores, boxes and mask embeddings."""

    def __init__(self, readout: Readout, precision: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self.readout = readout
        self.precision = precision
        self.valid_ratio: Tensor
        self.register_buffer("valid_ratio", torch.ones(1, 2, device=device), persistent=False)

    def forward(
        self,
        queries: Tensor,
        references: Tensor,
        text: Tensor,
        text_padding: Tensor,
        ages: Tensor,
        mask_features: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Read all slots at the newest frame. Floating-point inputs are float32.

        Args:
            queries: (N, T, Q, d). references: (N, T, Q, 4).
            text: (N, T, L, d). text_padding: (N, L) bool.
            ages: (N, T) seconds.
            mask_features: (N, d, h, w) of the newest frame.

        Returns:
            Score logits (N, T, Q), boxes (N, Q, 4) and mask embeddings (N, Q, d), all float32.
        """
        window = Window(
            queries=queries.to(self.precision),
            references=references,
            text=text.to(self.precision),
            text_padding=text_padding,
            ages=ages,
        )
        readings = self.readout(window, MaskFeatures(mask_features, None, self.valid_ratio))
        return readings.scores, readings.boxes, readings.mask_embeddings.float()
