# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Cross-modal temporal decoder (ReferDINO, section on the object-consistent temporal enhancer)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from referdino_core.configuration import NetworkConfiguration
from referdino_core.network.attention import MultiHeadAttention
from referdino_core.network.layers import FeedForward, ResidualNorm
from referdino_core.network.position_encoding import BoxEmbedding, SineEmbedding


def mean_token(text: Tensor, padding: Tensor) -> Tensor:
    """Mean (N, T, d) of the tokens of texts (N, T, L, d), without padding (N, L)."""
    words = (~padding).to(text.dtype)[:, None, :, None]
    return (text * words).sum(2) / words.sum(2)


class TimeEmbedding(nn.Module):
    """Embeddings of frame ages, slot boxes and words; referdino's extension of the paper.

    Without ages, attention along time ignores the order: reversing the frames reverses the output
    exactly, so that "moving left" and "moving right" look the same. Without reference boxes, a
    slot's motion must be inferred from the little that its queries reveal about their positions.
    For the words see `TemporalDecoder.sentence`. The projections of boxes and words are initialised
    to zero, so that weights trained without them work unchanged.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ages = SineEmbedding(width, 100.0)
        self.projection = nn.Linear(width, width)
        self.boxes = BoxEmbedding(width)
        self.box_projection = nn.Linear(2 * width, width, bias=False)
        self.word_projection = nn.Linear(width, width, bias=False)
        for projection in (self.box_projection, self.word_projection):
            nn.init.zeros_(projection.weight)

    def forward(self, ages: Tensor, references: Tensor) -> Tensor:
        """Embeddings (N, T, Q, d).

        Args:
            ages: (N, T) seconds before the newest frame.
            references: (N, T, Q, 4) boxes of the slots, centre x, y, width, height in [0, 1].
        """
        age = self.projection(self.ages(ages * (2 * math.pi)))
        return age[:, :, None] + self.box_projection(self.boxes(references))


class SentenceDecoderLayer(nn.Module):
    """Post-norm decoder layer, in which the sentence attends to the history of one slot."""

    def __init__(self, width: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.self_attn = MultiHeadAttention(width, heads)
        self.norm1 = ResidualNorm(width)
        self.multihead_attn = MultiHeadAttention(width, heads)
        self.norm2 = ResidualNorm(width)
        self.feed_forward = FeedForward(width, feed_forward)
        self.norm3 = ResidualNorm(width)

    def forward(self, sentence: Tensor, history: Tensor) -> Tensor:
        """Sentence features (B, T, d) and slot history (B, T, d) to (B, T, d).

        If all slots of a sentence still share its features, they may be (N, T, d), one for every
        B / N rows of the history.
        """
        sentence = self.norm1(sentence, self.self_attn(sentence, sentence, sentence))
        if len(sentence) != len(history):
            sentence = sentence.repeat_interleave(len(history) // len(sentence), dim=0)
        sentence = self.norm2(sentence, self.multihead_attn(sentence, history, history))
        return self.norm3(sentence, self.feed_forward(sentence))


class TemporalLayer(nn.Module):
    """Self-attention along a slot's history, followed by the sentence decoder layer."""

    def __init__(self, width: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.self_attn = MultiHeadAttention(width, heads)
        self.norm = ResidualNorm(width)
        self.decoder = SentenceDecoderLayer(width, heads, feed_forward)

    def forward(self, history: Tensor, sentence: Tensor) -> tuple[Tensor, Tensor]:
        """Updated (B, T, d) history and sentence; see `SentenceDecoderLayer.forward`."""
        history = self.norm(history, self.self_attn(history, history, history))
        return history, self.decoder(sentence, history)


class TemporalDecoder(nn.Module):
    """Unmasked attention along time, separately for every slot.

    Without layers (single-frame weights) queries pass through unchanged.
    """

    def __init__(self, configuration: NetworkConfiguration) -> None:
        super().__init__()
        c = configuration
        self.layer = nn.ModuleList(
            TemporalLayer(c.width, c.heads, c.temporal_feed_forward)
            for _ in range(c.temporal_layers)
        )
        self.norm = nn.ModuleList(ResidualNorm(c.width) for _ in range(c.temporal_layers))
        embeds_time = c.time_embedding and not c.single_frame
        self.time_embedding = TimeEmbedding(c.width) if embeds_time else None

    def sentence(self, text: Tensor, padding: Tensor) -> Tensor:
        """Sentence features (N, T, d) of fused text (N, T, L, d), which attend to slot histories.

        They are the [CLS] token, as in the paper. It does not attend to the other tokens of its
        sentence and receives information about them only through the image, which does not show
        "moving" and "still": a time embedding adds a projection of the mean of all tokens.

        Args:
            padding: (N, L) bool, True on padding.
        """
        if self.time_embedding is None:
            return text[:, :, 0]
        words = self.time_embedding.word_projection(mean_token(text, padding).float())
        return text[:, :, 0] + words.to(text.dtype)

    def forward(
        self, queries: Tensor, sentence: Tensor, ages: Tensor, references: Tensor
    ) -> Tensor:
        """Queries updated by the history of their slot.

        Args:
            queries: (N, T, Q, d) aligned queries.
            sentence: (N, T, d), see `sentence`.
            ages: (N, T) seconds before the newest frame.
            references: (N, T, Q, 4) boxes of the slots. Ages and references are used only by a time
                embedding.

        Returns:
            (N, T, Q, d).
        """
        count, frames, slots, width = queries.shape
        if self.time_embedding is not None:
            queries = queries + self.time_embedding(ages, references).to(queries.dtype)
        history = queries.transpose(1, 2).reshape(count * slots, frames, width)
        for layer, norm in zip(self.layer, self.norm, strict=True):
            history, sentence = layer(history, sentence)
            history = norm(history, sentence)
        return history.view(count, slots, frames, width).transpose(1, 2)
