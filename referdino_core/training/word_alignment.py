# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Supervision of single words: a word for an attribute should match the tokens that have it.

From the scores of whole sentences this is learnt slowly: a network first learns what an object is,
and matches every sentence with any object. Here each word for a colour, shape or size is compared
with every token of every object in the image, before image and text are fused.
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
    """The attribute that every token of the sentences names.

    Returns:
        (B, L) int64 column of `ATTRIBUTES`, -1 for other words, and (B, L) int64 index of the value
        in that column.
    """
    columns = torch.full((len(sentences), length), OPEN_WORD)
    values = torch.zeros(len(sentences), length, dtype=torch.int64)
    for row, sentence in enumerate(sentences):
        for position, word in enumerate(tokenizer.split(sentence), start=1):
            named = SYNONYMS.get(word, word)
            for column, options in enumerate(ATTRIBUTES.values()):
                if named in options:
                    columns[row, position], values[row, position] = column, options.index(named)
    return columns, values


def alignment_loss(
    image: ImageFeatures,
    text: TextFeatures,
    labels: Tensor,
    attributes: Tensor,
    meanings: tuple[Tensor, Tensor],
) -> Tensor:
    """Cross-entropy of the similarity of attribute words and tokens of objects.

    Args:
        image: features of N images.
        text: features of N * E sentences.
        labels: (N, S) int64 object of every token, 0 background.
        attributes: (N, K + 1, 3) int64 values of every object, see `attribute_indices`.
        meanings: see `word_meanings`.
    """
    sentences = len(text.tokens) // len(image.tokens)
    columns, values = (one.to(labels.device) for one in meanings)
    logits = text.tokens @ image.tokens.repeat_interleave(sentences, 0).transpose(1, 2)
    logits = logits * image.tokens.shape[-1] ** -0.5
    labels, attributes = (t.repeat_interleave(sentences, 0) for t in (labels, attributes))
    rows = torch.arange(len(labels), device=labels.device)[:, None]
    of_tokens = attributes[rows, labels]
    of_column = of_tokens.transpose(1, 2).gather(
        1, columns.clamp(min=0)[..., None].expand(-1, -1, of_tokens.shape[1])
    )
    truth = (of_column == values[..., None]).float()
    counted = (columns != OPEN_WORD)[..., None] & (labels > 0)[:, None]
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    # A word fits one in two to eight objects: the weights balance both classes.
    weight = torch.where(truth > 0, 3.0, 1.0) * counted
    return (entropy * weight).sum() / weight.sum().clamp(min=1.0)


def let_alike_attend(model: ReferDINO) -> None:
    """Initialise the fusion layers with equal projections of image and text.

    Their logits are then similarities from the first step on: tokens attend to matching words.
    """
    with torch.no_grad():
        for block in model.grounder.fusion_encoder.modules():
            if isinstance(block, BidirectionalAttention):
                block.l_proj.weight.copy_(block.v_proj.weight)
