# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Stage 1, text encoder: token ids to text features, once per command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from referdino_core.configuration import NetworkConfiguration
from referdino_core.network.bert import Bert


@dataclass(frozen=True)
class TextFeatures:
    """Encoded sentences, padded to a common length L.

    Attributes:
        tokens: (N, L, d) float features.
        padding: (N, L) bool, True on padding.
        attention: (N, L, L) bool attention mask, True within a sub-sentence.
        positions: (N, L) int64 position of each token in its sub-sentence.
    """

    tokens: Tensor
    padding: Tensor
    attention: Tensor
    positions: Tensor

    def expand(self, count: int) -> TextFeatures:
        """A single sentence repeated for `count` images."""
        return TextFeatures(
            *(
                getattr(self, name).expand(count, *getattr(self, name).shape[1:])
                for name in ("tokens", "padding", "attention", "positions")
            )
        )


def stack_texts(texts: Sequence[TextFeatures]) -> TextFeatures:
    """Stack separately encoded sentences to one batch, padded to the longest."""
    if len(texts) == 1:
        return texts[0]
    length = max(text.tokens.shape[1] for text in texts)

    def padded(name: str, fill: float, axes: int) -> Tensor:
        rows = []
        for text in texts:
            short = length - text.tokens.shape[1]
            amounts = {1: (0, short), 2: (0, 0, 0, short)}[axes]
            rows.append(F.pad(getattr(text, name), amounts, value=fill))
        return torch.cat(rows)

    attention = torch.eye(length, dtype=torch.bool, device=texts[0].tokens.device)
    attention = attention.repeat(sum(len(text.tokens) for text in texts), 1, 1)
    row = 0
    for text in texts:
        count, size = text.attention.shape[:2]
        attention[row : row + count, :size, :size] = text.attention
        row += count
    return TextFeatures(
        tokens=padded("tokens", 0, axes=2),
        padding=padded("padding", True, axes=1),
        attention=attention,
        positions=padded("positions", 0, axes=1),
    )


def sub_sentences(input_ids: Tensor, sentence_ends: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Attention mask of a sentence's sub-sentences, and token positions within them.

    Args:
        input_ids: (L,) int64 tokens of one sentence, [CLS] and [SEP] included.
        sentence_ends: ids that delimit sub-sentences.

    Returns:
        (L, L) bool mask, True where attention is allowed, and (L,) int64 positions.
    """
    length = len(input_ids)
    attention = torch.eye(length, dtype=torch.bool)
    positions = torch.zeros(length, dtype=torch.int64)
    ends = [column for column, token in enumerate(input_ids.tolist()) if token in sentence_ends]
    previous = 0
    for column in ends:
        if 0 < column < length - 1:
            span = slice(previous + 1, column + 1)
            attention[span, span] = True
            positions[span] = torch.arange(column - previous)
        previous = column
    return attention, positions


class TextEncoder(nn.Module):
    """The text stage: BERT with the sub-sentence mask, and a projection to the model's width."""

    def __init__(self, configuration: NetworkConfiguration) -> None:
        super().__init__()
        self.sentence_ends = configuration.bert.sentence_ends
        self.bert = Bert(configuration.bert)
        self.feature_map = nn.Linear(configuration.bert.width, configuration.width)

    def forward(self, sentences: Sequence[Tensor]) -> TextFeatures:
        """Encode sentences of (L_i,) int64 token ids each, special tokens included."""
        length = max(len(sentence) for sentence in sentences)
        device = self.feature_map.weight.device
        input_ids = torch.zeros(len(sentences), length, dtype=torch.int64)
        padding = torch.ones(len(sentences), length, dtype=torch.bool)
        attention = torch.eye(length, dtype=torch.bool).repeat(len(sentences), 1, 1)
        positions = torch.zeros(len(sentences), length, dtype=torch.int64)
        for row, sentence in enumerate(sentences):
            count = len(sentence)
            input_ids[row, :count] = sentence
            padding[row, :count] = False
            attention[row, :count, :count], positions[row, :count] = sub_sentences(
                sentence.cpu(), self.sentence_ends
            )
        attention, positions = attention.to(device), positions.to(device)
        hidden = self.bert(input_ids.to(device), positions, attention)
        return TextFeatures(self.feature_map(hidden), padding.to(device), attention, positions)
