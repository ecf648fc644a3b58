# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Language-guided query selection of Grounding DINO: the best image tokens propose boxes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from referdino_core.configuration import NetworkConfiguration
from referdino_core.network.image_geometry import ImageGeometry
from referdino_core.network.layers import MultilayerPerceptron
from referdino_core.network.token_similarity import TokenSimilarity


@dataclass(frozen=True)
class Proposals:
    """The selected image tokens, best first.

    Attributes:
        scores: (N, Q) logits. boxes: (N, Q, 4) centre x, y, width, height in [0, 1].
        anchors: (N, Q, 4) the tokens' proposal boxes, before the box head.
        features: (N, Q, d) features of the selected tokens.
        contents: (N, Q, d) learned content queries for the decoder, by rank.
        every_score: (N, S) logits of all tokens, for dense supervision.
    """

    scores: Tensor
    boxes: Tensor
    anchors: Tensor
    features: Tensor
    contents: Tensor
    every_score: Tensor


class QuerySelection(nn.Module):
    """Scores every image token against the text, and turns the best ones into reference boxes."""

    def __init__(self, configuration: NetworkConfiguration) -> None:
        super().__init__()
        width = configuration.width
        self.output = nn.Linear(width, width)
        self.output_norm = nn.LayerNorm(width)
        self.box_head = MultilayerPerceptron((width, width, width, 4))
        self.contents = nn.Embedding(configuration.num_queries, width)
        self.similarity = TokenSimilarity(width, configuration.calibrated_scores)

    def forward(
        self, tokens: Tensor, geometry: ImageGeometry, text: Tensor, text_padding: Tensor
    ) -> Proposals:
        """Select from fused image tokens (N, S, d) by fused text (N, L, d)."""
        features = self.output_norm(self.output(tokens * geometry.usable[..., None])).float()
        every_score = self.similarity(features, text.float(), text_padding)
        count = min(self.contents.num_embeddings, tokens.shape[1])
        scores, best = every_score.topk(count, dim=1)
        features = take(features, best)
        anchors = take(geometry.proposals.expand(tokens.shape[0], -1, -1), best)
        boxes = (self.box_head(features) + anchors).sigmoid()
        contents = self.contents.weight[:count].expand(tokens.shape[0], -1, -1)
        return Proposals(scores, boxes, anchors.sigmoid(), features, contents, every_score)


def take(tokens: Tensor, indices: Tensor) -> Tensor:
    """Rows (N, K, ...) of (N, S, ...) `tokens` at (N, K) `indices`."""
    return tokens.gather(1, indices[..., None].expand(-1, -1, tokens.shape[-1]))
