# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Second stage of the recipe: single frames, several sentences per image."""

from __future__ import annotations

import torch
from torch import Tensor

from referdino_core.network.grounder import Grounding
from referdino_core.network.mask_decoder import decode_masks
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.tokenizer import WordTokenizer
from referdino_core.training.attributes import cell_labels
from referdino_core.training.batches import FrameBatch
from referdino_core.training.supervision import assign, layer_loss, mask_loss, token_loss
from referdino_core.training.word_alignment import alignment_loss, word_meanings

MAX_MASKS = 64


def frame_losses(
    model: ReferDINO, tokenizer: WordTokenizer, batch: FrameBatch
) -> dict[str, Tensor]:
    """Losses of one batch by name; their sum is to be minimised."""
    encoded = model.text_encoder([tokenizer.encode(sentence) for sentence in batch.sentences])
    image = model.image_encoder(batch.pixels)
    sentences = len(batch.sentences) // len(batch.pixels)
    grounding = model.grounder(image.repeat_interleave(sentences), encoded)
    text, padding = grounding.text, grounding.text_padding
    boxes, exists = batch.boxes, batch.exists
    proposals = grounding.proposals
    losses = {
        "words": 2
        * alignment_loss(
            image,
            encoded,
            cell_labels(batch.segmentation, image.geometry.spatial_shapes),
            batch.attributes,
            word_meanings(tokenizer, batch.sentences, encoded.tokens.shape[1]),
        ),
        "tokens": token_loss(proposals.every_score, batch.masks, grounding.spatial_shapes),
        "proposals": layer_loss(proposals.scores, proposals.boxes, boxes, exists),
    }
    for number, layer in enumerate(grounding.layers):
        fit = model.grounder.decoder.similarity(layer.queries, text, padding)
        losses[f"decoder {number}"] = layer_loss(fit, layer.refined, boxes, exists)
    queries = model.readout.temporal_decoder(
        grounding.queries[:, None], text[:, None, 0], torch.zeros(len(text), 1)
    )[:, 0]
    scores = model.readout.similarity(queries, text, padding)
    final_boxes = model.readout.boxes(queries, grounding.references)
    losses["readout"] = layer_loss(scores, final_boxes, boxes, exists)
    embeddings = model.readout.mask_embeddings(
        queries, grounding.references, text, padding, grounding.masks
    )
    losses["masks"] = 0.5 * best_mask_loss(embeddings, grounding, final_boxes, batch)
    return losses


def best_mask_loss(
    embeddings: Tensor, grounding: Grounding, boxes: Tensor, batch: FrameBatch
) -> Tensor:
    """Mask loss of the best query of every object, of at most 64 objects drawn at random."""
    best = assign(boxes, batch.boxes, batch.exists).best
    rows, objects = batch.exists.nonzero(as_tuple=True)
    drawn = torch.randperm(len(rows))[:MAX_MASKS]
    rows, objects = rows[drawn], objects[drawn]
    chosen = embeddings[rows, best[rows, objects]]
    logits = decode_masks(chosen[:, None], grounding.masks.features[rows])[:, 0]
    return mask_loss(logits, batch.masks[rows, objects])
