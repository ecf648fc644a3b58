# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Images and direct predictions to hold single-frame models against."""

from __future__ import annotations

import golden
import numpy as np
import torch
from torch import Tensor

import referdino_core as rd
from referdino_core.building import tokenizer_of
from referdino_core.network.mask_decoder import decode_masks
from referdino_core.network.pixels import to_pixels

SIZE = (120, 160)
SENTENCE = "the red ball"


def images(count: int) -> np.ndarray:
    """Images (count, H, W, 3) of a drifting texture."""
    pixels = golden.frames(count, *SIZE, seed=2).permute(0, 2, 3, 1)
    return (128 + 40 * pixels).clamp(0, 255).to(torch.uint8).numpy()


def direct(
    model: rd.ReferDINO, image: np.ndarray, sentence: str = SENTENCE
) -> tuple[Tensor, Tensor, Tensor]:
    """Score logits (Q,), boxes (Q, 4) and mask logits (Q, h, w) of the decoder's own queries."""
    ids = tokenizer_of(model.configuration).encode(sentence)
    pixels = to_pixels(image, model.configuration.image_short_side)
    with torch.no_grad():
        grounding = model.grounder(model.image_encoder(pixels), model.text_encoder([ids]))
        queries, references = grounding.queries, grounding.references
        readout = model.readout
        scores = readout.similarity(queries, grounding.text, grounding.text_padding)
        embeddings = readout.mask_embeddings(
            queries, references, grounding.text, grounding.text_padding, grounding.masks
        )
        masks = decode_masks(embeddings, grounding.masks.features)
        return scores[0], readout.boxes(queries, references)[0], masks[0]
