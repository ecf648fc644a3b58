# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Stage 5, readout: windows of aligned queries to scores, boxes and mask embeddings."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from referdino_core.configuration import NetworkConfiguration
from referdino_core.network.grounder import Grounder
from referdino_core.network.mask_decoder import MaskDecoder, MaskFeatures
from referdino_core.network.object_memory import Window
from referdino_core.network.temporal_decoder import TemporalDecoder
from referdino_core.network.token_similarity import TokenSimilarity


@dataclass(frozen=True)
class SlotReadings:
    """Readout of all slots of N commands at the newest frame.

    Attributes:
        scores: (N, T, Q) logits of every frame in the window, given the whole window.
        boxes: (N, Q, 4) centre x, y, width, height in [0, 1] at the newest frame.
        mask_embeddings: (N, Q, d), from which `decode_masks` computes masks.
    """

    scores: Tensor
    boxes: Tensor
    mask_embeddings: Tensor


class Readout(nn.Module):
    """The readout stage: temporal decoder, score and box heads, mask decoder.

    The reference-point head and the box head are shared with the grounder.
    """

    def __init__(self, configuration: NetworkConfiguration, grounder: Grounder) -> None:
        super().__init__()
        self.temporal_decoder = TemporalDecoder(configuration)
        self.mask_decoder = MaskDecoder(configuration)
        self.similarity = TokenSimilarity(configuration.width, configuration.calibrated_scores)
        self.query_positions = grounder.decoder.query_positions
        self.boxes = grounder.decoder.refine

    def forward(self, window: Window, masks: MaskFeatures) -> SlotReadings:
        """Read all slots at the newest frame; `masks` are the mask features of that frame."""
        history = self.history(window)
        references = window.references[:, -1]
        text = window.text[:, -1]
        return SlotReadings(
            scores=self.similarity(
                history.float(), window.text.float(), window.text_padding[:, None]
            ),
            boxes=self.boxes(history[:, -1], references),
            mask_embeddings=self.mask_embeddings(
                history[:, -1], references, text, window.text_padding, masks
            ),
        )

    def history(self, window: Window) -> Tensor:
        """Queries (N, T, Q, d), updated by the history of their slot and the sentence."""
        decoder = self.temporal_decoder
        sentence = decoder.sentence(window.text, window.text_padding)
        return decoder(window.queries, sentence, window.ages, window.references)

    def mask_embeddings(
        self,
        queries: Tensor,
        references: Tensor,
        text: Tensor,
        text_padding: Tensor,
        masks: MaskFeatures,
    ) -> Tensor:
        """Mask embeddings (N, Q, d) of queries (N, Q, d) over the frames' mask features."""
        scaled = references * masks.valid_ratio.repeat(1, 2)[:, None]
        positions = self.query_positions(scaled).to(queries.dtype)
        return self.mask_decoder(queries, positions, scaled, text, text_padding, masks)
