# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Word by word supervision: a word that names an attribute should fit the cells that have it.

Scores of whole sentences alone teach this slowly: a network first finds out what an object is, and
makes every sentence look like "an object". Here each word of a colour, a shape or a size meets
every cell of every object in the image, before the two are fused.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from referdino_core.network.fusion_encoder import BidirectionalAttention
from referdino_core.network.image_encoder import ImageFeatures
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.network.tokenizer import WordTokenizer
from referdino_core.training.attributes import ATTRIBUTES

SYNONYMS = {"sphere": "ball", "cube": "box", "little": "small", "large": "big"}
SYNONYMS |= {f"{shape}s": shape for shape in ("ball", "cylinder", "capsule")}
SYNONYMS |= {"spheres": "ball", "boxes": "box", "cubes": "box"}
OPEN_WORD = -1


def word_meanings(
    tokenizer: WordTokenizer, sentences: Sequence[str], length: int
) -> tuple[Tensor, Tensor]:
    """What every token of the sentences names.

    Returns:
        (B, L) int64 column of `ATTRIBUTES`, -1 for words that name none, and (B, L) int64 index
        of the value in that column.
    """
    columns = torch.full((len(sentences), length), OPEN_WORD)
    values = torch.zeros(len(sentences), length, dtype=torch.int64)
    for row, sentence in enumerate(sentences):
        for place, word in enumerate(tokenizer.split(sentence), start=1):
            named = SYNONYMS.get(word, word)
            for column, options in enumerate(ATTRIBUTES.values()):
                if named in options:
                    columns[row, place], values[row, place] = column, options.index(named)
    return columns, values


def alignment_loss(
    image: ImageFeatures,
    text: TextFeatures,
    labels: Tensor,
    attributes: Tensor,
    meanings: tuple[Tensor, Tensor],
) -> Tensor:
    """Cross-entropy of every naming word against every cell that belongs to an object.

    Args:
        image: features of N images. text: features of N * E sentences.
        labels: (N, S) int64 object of every cell, 0 background.
        attributes: (N, K + 1, 3) int64 values of every object, see `attribute_indices`.
        meanings: see `word_meanings`.
    """
    sentences = len(text.tokens) // len(image.tokens)
    columns, values = meanings
    logits = text.tokens @ image.tokens.repeat_interleave(sentences, 0).transpose(1, 2)
    logits = logits * image.tokens.shape[-1] ** -0.5
    labels, attributes = (t.repeat_interleave(sentences, 0) for t in (labels, attributes))
    rows = torch.arange(len(labels))[:, None]
    cells = attributes[rows, labels]
    of_column = cells.transpose(1, 2).gather(
        1, columns.clamp(min=0)[..., None].expand(-1, -1, cells.shape[1])
    )
    truth = (of_column == values[..., None]).float()
    counted = (columns != OPEN_WORD)[..., None] & (labels > 0)[:, None]
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    # A word fits one in two to eight objects; both sides weigh the same.
    weight = torch.where(truth > 0, 3.0, 1.0) * counted
    return (entropy * weight).sum() / weight.sum().clamp(min=1.0)


def let_alike_attend(model: ReferDINO) -> None:
    """Start the fusion layers with equal projections of image and text.

    Their product is then a similarity from the first step on: cells attend to words that fit.
    """
    with torch.no_grad():
        for block in model.grounder.fusion_encoder.modules():
            if isinstance(block, BidirectionalAttention):
                block.l_proj.weight.copy_(block.v_proj.weight)
