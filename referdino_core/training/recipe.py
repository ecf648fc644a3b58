# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The recipe of the small model: what is rendered, and the stages that follow each other."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from referdino_core.building import build
from referdino_core.checkpoint import load_checkpoint, save_weights
from referdino_core.models import vocabulary_file
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.tokenizer import Tokenizer, WordTokenizer
from referdino_core.training.attribute_stage import (
    AttributeHeads,
    attribute_losses,
    draw_attributes,
)
from referdino_core.training.batches import draw_frames
from referdino_core.training.frame_stage import frame_losses
from referdino_core.training.grounded_clips import GroundingPlan, ground_world
from referdino_core.training.loop import StagePlan, run_stage
from referdino_core.training.recorded_world import RecordedWorld
from referdino_core.training.temporal_stage import temporal_losses
from referdino_core.training.word_alignment import let_alike_attend
from referdino_core.world import WorldSettings

logger = logging.getLogger("referdino.training")


ATTRIBUTES = StagePlan(
    "attributes",
    iterations=1200,
    learning_rate=1e-3,
    matrix_learning_rate=6e-3,
    scalar_learning_rate=1e-3,
)
FRAMES = StagePlan(
    "frames",
    iterations=2400,
    learning_rate=5e-4,
    matrix_learning_rate=2.5e-3,
    scalar_learning_rate=5e-4,
)
# Scores change from focal to plain cross-entropy: their scale and offset have to move far.
TEMPORAL = StagePlan(
    "temporal",
    iterations=1900,
    learning_rate=3e-4,
    matrix_learning_rate=3e-3,
    scalar_learning_rate=1e-2,
)


@dataclass(frozen=True)
class Recipe:
    """Sizes of the training set, the batches and the stages."""

    clips: int = 6000
    attribute_images: int = 48
    attributes: StagePlan = ATTRIBUTES
    frame_images: int = 16
    frame_sentences: int = 3
    frames: StagePlan = FRAMES
    temporal_clips: int = 1000
    temporal_sentences: int = 4
    temporal_items: int = 48
    temporal: StagePlan = TEMPORAL


def train(folder: Path, recipe: Recipe, start: Path | None = None, seed: int = 0) -> ReferDINO:
    """Render, then run every stage; what is already there is not done again.

    Args:
        folder: where clips, states, curves and the weights lie.
        start: weights to go on from; the first stage, which makes the image encoder see, is
            skipped then.
    """
    torch.manual_seed(seed)
    world = RecordedWorld(folder / "world", "train", recipe.clips, WorldSettings())
    world.render()
    model = build("nano")
    tokenizer = WordTokenizer.from_file(vocabulary_file("nano"))
    if start is None:
        learn_attributes(model, world, recipe, folder)
        let_alike_attend(model)
    else:
        load_checkpoint(model, start)
    run_stage(
        recipe.frames,
        model,
        lambda generator: frame_losses(
            model,
            tokenizer,
            draw_frames(world, recipe.frame_images, recipe.frame_sentences, generator),
        ),
        folder,
    )
    learn_time(model, world, tokenizer, recipe, folder)
    save_weights(model, folder / "nano.safetensors")
    return model


def learn_attributes(model: ReferDINO, world: RecordedWorld, recipe: Recipe, folder: Path) -> None:
    """First stage: the image encoder, with heads that are thrown away after it."""
    heads = AttributeHeads(model.configuration.width)
    run_stage(
        recipe.attributes,
        nn.ModuleDict({"encoder": model.image_encoder, "heads": heads}),
        lambda generator: attribute_losses(
            model.image_encoder,
            heads,
            draw_attributes(world, recipe.attribute_images, generator),
        ),
        folder,
    )


def learn_time(
    model: ReferDINO, world: RecordedWorld, tokenizer: Tokenizer, recipe: Recipe, folder: Path
) -> None:
    """Third stage: only the readout learns, from clips that are grounded once."""
    plan = GroundingPlan(model, tokenizer, world, recipe.temporal_sentences)
    items = ground_world(plan, folder / "grounded", recipe.temporal_clips)
    model.grounder.requires_grad_(False)
    head = nn.Linear(model.configuration.width, 2)

    def losses(generator: np.random.Generator) -> dict[str, Tensor]:
        drawn = generator.integers(len(items), size=recipe.temporal_items)
        return temporal_losses(model, head, [items[number] for number in drawn], generator)

    run_stage(
        recipe.temporal,
        nn.ModuleDict({"readout": model.readout, "displacement": head}),
        losses,
        folder,
    )
