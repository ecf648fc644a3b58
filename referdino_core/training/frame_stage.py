# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Losses of single frames: the second and third training stage, and fine-tuning of their weights.

In the stages an image has several sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from referdino_core.network.grounder import Grounding
from referdino_core.network.mask_decoder import decode_masks
from referdino_core.network.object_memory import Window
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.temporal_decoder import mean_token
from referdino_core.network.text_encoder import stack_texts
from referdino_core.network.tokenizer import WordTokenizer
from referdino_core.training.attributes import token_labels
from referdino_core.training.batches import MOTION_WORDS, FrameBatch, on_device
from referdino_core.training.clip_samples import TrainingClip
from referdino_core.training.supervision import (
    assign,
    layer_loss,
    mask_loss,
    probability_loss,
    token_loss,
)
from referdino_core.training.word_alignment import alignment_loss, word_meanings

MAX_MASKS = 64
FIRST_POSITIVES, LAST_POSITIVES = 8, 2
"""Positive queries per object and decoder layer, at the start and in the second half of a stage."""


MOTIONS = ("still", "moving", "left", "right")
"""Motions that a sentence can state."""
OPEN_MOTION = -1
SHARPNESS = 10.0
"""Scale of the motion head's logits, with which it learns in tens of steps instead of thousands."""


def said_motion(sentence: str) -> int:
    """Index in `MOTIONS` of the motion that a sentence states; `OPEN_MOTION` if it states none."""
    words = set(sentence.split())
    if not words & MOTION_WORDS:
        return OPEN_MOTION
    if words & {"still", "standing"}:
        return MOTIONS.index("still")
    sides = words & {"left", "right"}
    return MOTIONS.index(sides.pop() if sides else "moving")


def motion_loss(head: nn.Linear, features: Tensor, sentences: Sequence[str]) -> Tensor:
    """Cross-entropy of predicting the stated motion from the features of a sentence.

    In single frames all sentences about motion mean the same objects, so that the fused text would
    lose which motion was stated; the temporal decoder, which needs it, uses only the fused text.

    Args:
        head: linear layer from d to `MOTIONS`, which is discarded after the stage.
        features: (N, d) mean of the fused tokens, an input of the temporal decoder.
    """
    said = torch.tensor([said_motion(sentence) for sentence in sentences], device=features.device)
    if not (said != OPEN_MOTION).any():
        return features.sum() * 0
    return F.cross_entropy(SHARPNESS * head(features).float(), said, ignore_index=OPEN_MOTION)


def most_positives(progress: float) -> int:
    """Positive queries per object at a fraction of the stage: at first many, to learn faster."""
    fewer = 2 * progress * (FIRST_POSITIVES - LAST_POSITIVES)
    return max(LAST_POSITIVES, round(FIRST_POSITIVES - fewer))


def frame_losses(
    model: ReferDINO,
    motion_head: nn.Linear,
    tokenizer: WordTokenizer,
    batch: FrameBatch,
    most: int | None = None,
) -> dict[str, Tensor]:
    """Losses of one batch by name, whose sum is minimised.

    Args:
        motion_head: see `motion_loss`.
        most: see `grounding_losses`.
    """
    batch = on_device(batch, model.device)
    encoded = model.text_encoder([tokenizer.encode(sentence) for sentence in batch.sentences])
    image = model.image_encoder(batch.pixels)
    sentences = len(batch.sentences) // len(batch.pixels)
    grounding = model.grounder(image.repeat_interleave(sentences), encoded)
    text, padding = grounding.text, grounding.text_padding
    losses = {
        "words": 2
        * alignment_loss(
            image,
            encoded,
            token_labels(batch.segmentation, image.geometry.spatial_shapes),
            batch.attributes,
            word_meanings(tokenizer, batch.sentences, encoded.tokens.shape[1]),
        ),
        "motion": motion_loss(
            motion_head,
            mean_token(text[:, None], padding)[:, 0],
            batch.sentences,
        ),
    }
    referents = Referents(batch.masks, batch.boxes, batch.exists)
    return losses | grounding_losses(model, grounding, referents, most)


@dataclass(frozen=True)
class Referents:
    """Objects that N sentences may mean in one image each.

    Attributes:
        masks: (N, K, H, W) bool. boxes: (N, K, 4) around them. exists: (N, K) bool.
    """

    masks: Tensor
    boxes: Tensor
    exists: Tensor


def grounding_losses(
    model: ReferDINO,
    grounding: Grounding,
    referents: Referents,
    most: int | None = None,
    calibrated: bool = False,
) -> dict[str, Tensor]:
    """Losses by name of N images that are grounded with one sentence each.

    Args:
        most: positive queries per object and decoder layer, see `assign`. It does not apply to
            proposals, which are independent of each other, and to the readout, which describes
            every slot.
        calibrated: whether the readout's scores are probabilities and have to remain so, as in the
            bundled weights.
    """
    text, padding = grounding.text, grounding.text_padding
    boxes, exists = referents.boxes, referents.exists
    proposals = grounding.proposals
    losses = {
        "tokens": token_loss(
            proposals.every_score, referents.masks, boxes, grounding.spatial_shapes
        ),
        "proposals": layer_loss(proposals.scores, proposals.boxes, boxes, exists),
    }
    for number, layer in enumerate(grounding.layers):
        scores = model.grounder.decoder.similarity(layer.queries, text, padding)
        losses[f"decoder {number}"] = layer_loss(scores, layer.refined, boxes, exists, most)
    single_frame = Window(
        grounding.queries[:, None],
        grounding.references[:, None],
        text[:, None],
        padding,
        torch.zeros(len(text), 1, device=text.device),
    )
    queries = model.readout.history(single_frame)[:, 0]
    scores = model.readout.similarity(queries, text, padding)
    final_boxes = model.readout.boxes(queries, grounding.references)
    if calibrated:
        losses["readout"] = 0.3 * probability_loss(scores, final_boxes, boxes, exists)
    else:
        losses["readout"] = layer_loss(scores, final_boxes, boxes, exists)
    embeddings = model.readout.mask_embeddings(
        queries, grounding.references, text, padding, grounding.masks
    )
    losses["masks"] = 0.5 * best_mask_loss(embeddings, grounding, final_boxes, referents)
    return losses


def clip_losses_by_frame(model: ReferDINO, clips: Sequence[TrainingClip]) -> dict[str, Tensor]:
    """Losses by name of clips with one sentence each, whose frames are judged one by one.

    For fine-tuning weights that were trained by the stages: the paper's losses want one positive
    query per clip, and would first unlearn all others on the object.

    Args:
        clips: each of its own size; those of one size are processed together.
    """
    sizes: dict[tuple[int, ...], list[TrainingClip]] = {}
    for clip in clips:
        sizes.setdefault(tuple(clip.pixels.shape[-2:]), []).append(clip)
    device = model.device
    sums: dict[str, Tensor] = {}
    for alike in sizes.values():
        frames = [len(clip.pixels) for clip in alike]
        truths = [clip.truth.to(device) for clip in alike]
        referents = Referents(
            torch.cat([truth.masks for truth in truths])[:, None],
            torch.cat([truth.boxes for truth in truths])[:, None],
            torch.cat([truth.valid for truth in truths])[:, None],
        )
        texts = [model.text_encoder([clip.input_ids.to(device)]) for clip in alike]
        encoded = stack_texts([text.expand(n) for text, n in zip(texts, frames, strict=True)])
        pixels = torch.cat([clip.pixels for clip in alike]).to(device)
        grounding = model.grounder(model.image_encoder(pixels), encoded)
        found = grounding_losses(model, grounding, referents, LAST_POSITIVES, calibrated=True)
        for name, loss in found.items():
            sums[name] = sums.get(name, 0) + loss * len(alike) / len(clips)
    return sums


def best_mask_loss(
    embeddings: Tensor, grounding: Grounding, boxes: Tensor, batch: Referents
) -> Tensor:
    """Mask loss of the best query of every object, for at most 64 randomly chosen objects."""
    best = assign(boxes, batch.boxes, batch.exists).best
    rows, objects = batch.exists.nonzero(as_tuple=True)
    drawn = torch.randperm(len(rows))[:MAX_MASKS]
    rows, objects = rows[drawn], objects[drawn]
    chosen = embeddings[rows, best[rows, objects]]
    logits = decode_masks(chosen[:, None], grounding.masks.features[rows])[:, 0]
    return mask_loss(logits, batch.masks[rows, objects])
