# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Cross-modal decoder with confidence-aware query pruning (ReferDINO, eq. 4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from referdino_core.configuration import NetworkConfiguration
from referdino_core.network.attention import DecoderLayer
from referdino_core.network.image_geometry import ImageGeometry
from referdino_core.network.layers import MultilayerPerceptron
from referdino_core.network.position_encoding import BoxEmbedding, inverse_sigmoid
from referdino_core.network.query_selection import Proposals, take
from referdino_core.network.token_similarity import TokenSimilarity


@dataclass(frozen=True)
class DecodedQueries:
    """Queries that survive one decoder layer, best first.

    Attributes:
        queries: (N, Q, d) normalised content.
        references: (N, Q, 4) boxes before the layer, in [0, 1].
        refined: (N, Q, 4) boxes after the layer.
    """

    queries: Tensor
    references: Tensor
    refined: Tensor


class Decoder(nn.Module):
    """Refines queries layer by layer, and keeps the most confident fraction after each layer."""

    def __init__(self, configuration: NetworkConfiguration) -> None:
        super().__init__()
        c = configuration
        self.surviving_queries = c.surviving_queries
        self.keep_ratio = c.keep_ratio
        self.pruning_score = c.pruning_score
        self.layers = nn.ModuleList(
            DecoderLayer(c.width, c.heads, c.levels, c.points, c.feed_forward)
            for _ in range(c.decoder_layers)
        )
        self.norm = nn.LayerNorm(c.width)
        self.box_embedding = BoxEmbedding(c.width)
        self.reference_point_head = MultilayerPerceptron((2 * c.width, c.width, c.width))
        self.box_head = MultilayerPerceptron((c.width, c.width, c.width, 4))
        self.similarity = TokenSimilarity(c.width, c.calibrated_scores)

    def forward(
        self,
        proposals: Proposals,
        tokens: Tensor,
        geometry: ImageGeometry,
        text: Tensor,
        text_padding: Tensor,
    ) -> tuple[DecodedQueries, ...]:
        """Surviving queries of every layer.

        Args:
            proposals: content queries and reference boxes.
            tokens: (N, S, d) fused image tokens.
            text: (N, L, d) fused text.
        """
        queries, references = proposals.contents, proposals.boxes.detach()
        ratios = geometry.valid_ratios.repeat(1, 1, 2)[:, None]
        outputs = []
        for layer, survivors in zip(self.layers, self.surviving_queries, strict=True):
            scaled = references[:, :, None] * ratios
            positions = self.query_positions(scaled[:, :, 0]).to(queries.dtype)
            queries, query_weights, text_weights = layer(
                queries, positions, scaled, text, text_padding,
                tokens, geometry.padding, geometry.spatial_shapes,
            )  # fmt: skip
            score = self.confidence(queries, text, text_padding, query_weights, text_weights)
            kept = score.topk(min(survivors, score.shape[1]), dim=1).indices
            queries, references = take(queries, kept), take(references, kept)
            refined = self.refine(queries, references)
            outputs.append(DecodedQueries(self.norm(queries), references, refined))
            references = refined.detach()
        return tuple(outputs)

    def query_positions(self, boxes: Tensor) -> Tensor:
        """Position embeddings (N, Q, d) of boxes (N, Q, 4)."""
        return self.reference_point_head(self.box_embedding(boxes))

    def refine(self, queries: Tensor, references: Tensor) -> Tensor:
        """References refined by their queries: boxes (..., 4) in [0, 1]."""
        return refine_boxes(self.box_head(queries.float()), references)

    def confidence(
        self,
        queries: Tensor,
        text: Tensor,
        text_padding: Tensor,
        query_weights: Tensor,
        text_weights: Tensor,
    ) -> Tensor:
        """Pruning score (N, Q): similarity to the sentence plus attention from other queries.

        The paper (eq. 4) uses attention weights for both terms; the released code uses the mean of
        two distributions over the queries.
        """
        if self.pruning_score == "paper":
            received = received_attention(query_weights)
            return received / max(queries.shape[1] - 1, 1) + text_weights.mean(1).amax(-1)
        similarity = self.similarity(queries.float(), text.float(), text_padding)
        received = received_attention(query_weights)
        return 0.5 * (similarity.softmax(-1) + received.softmax(-1))


def refine_boxes(deltas: Tensor, references: Tensor) -> Tensor:
    """References (..., 4) in [0, 1], moved by deltas (..., 4) of their logits."""
    return (deltas + inverse_sigmoid(references)).sigmoid()


def received_attention(query_weights: Tensor) -> Tensor:
    """(N, Q) attention that each query receives from the others; weights: (N, heads, Q, Q)."""
    precision = torch.promote_types(query_weights.dtype, torch.float32)
    weights = query_weights.mean(1, dtype=precision)
    own = weights.flatten(1)[:, :: weights.shape[-1] + 1]
    return weights.sum(1) - own
