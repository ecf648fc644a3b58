# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The training recipe of the small model: rendering, and the sequence of stages."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from referdino_core.building import build
from referdino_core.checkpoint import load_checkpoint, save_weights
from referdino_core.files import create_folder
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.tokenizer import SPECIAL_WORDS, WordTokenizer
from referdino_core.training.attribute_stage import (
    AttributeHeads,
    attribute_losses,
    draw_attributes,
)
from referdino_core.training.batches import draw_frames
from referdino_core.training.calibration import calibrate
from referdino_core.training.frame_stage import MOTIONS, frame_losses, most_positives
from referdino_core.training.grounded_clips import GroundedClip, GroundingPlan, ground_world
from referdino_core.training.recorded_world import RecordedWorld, SeveralWorlds, World
from referdino_core.training.stages import StagePlan, run_stage
from referdino_core.training.temporal_stage import DISPLACEMENTS, temporal_losses
from referdino_core.training.word_alignment import let_alike_attend
from referdino_core.world import VOCABULARY, WorldSettings
from referdino_core.world.clip import Split
from referdino_core.world.settings import SCENES

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
SLOTS = StagePlan(
    "slots",
    iterations=1000,
    learning_rate=3e-4,
    matrix_learning_rate=1.5e-3,
    scalar_learning_rate=3e-4,
)
# Scores change from focal to plain cross-entropy: their scale and offset have to change a lot.
TEMPORAL = StagePlan(
    "temporal",
    iterations=4000,
    learning_rate=3e-4,
    matrix_learning_rate=3e-3,
    scalar_learning_rate=1e-2,
)


@dataclass(frozen=True)
class Recipe:
    """Sizes of the training set, the batches and the stages; clips are per kind of scene.

    `contrastive_weight` is that of SOC's contrastive loss in the temporal stage, 0 for none.
    """

    clips: int = 3000
    attribute_images: int = 48
    attributes: StagePlan = ATTRIBUTES
    frame_images: int = 16
    frame_sentences: int = 3
    frames: StagePlan = FRAMES
    slots: StagePlan = SLOTS
    temporal_clips: int = 3000
    temporal_items: int = 48
    temporal: StagePlan = TEMPORAL
    contrastive_weight: float = 0.0
    calibration_clips: int = 100


def train(
    folder: Path,
    recipe: Recipe,
    start: Path | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> ReferDINO:
    """Render the clips and run all stages; a second call resumes.

    Args:
        folder: folder of clips, states, curves, weights and their vocabulary.
        start: weights to start from; the first stage, which trains the image encoder, is then
            skipped.
    """
    torch.manual_seed(seed)
    create_folder(folder)
    model = build("nano").to(device)
    if start is not None:
        load_checkpoint(model, start)
    world = render(folder / "world", "train", recipe.clips)
    tokenizer = _written_tokenizer(folder)
    if start is None:
        learn_attributes(model, world, recipe, folder)
        let_alike_attend(model)
    learn_frames(model, world, tokenizer, recipe, folder)
    grounded = GroundingPlan(model, tokenizer, world)
    learn_time(
        model, ground_world(grounded, folder / "grounded", recipe.temporal_clips), recipe, folder
    )
    _finish(model, tokenizer, recipe, folder)
    return model


def average(
    folder: Path, recipe: Recipe, weights: Sequence[Path], device: torch.device | str = "cpu"
) -> ReferDINO:
    """The mean of the weights of several runs that went on from one another, calibrated anew.

    Such runs end in one valley of the loss, and their mean is often better than each (Wortsman et
    al., Model soups, ICML 2022).

    Args:
        folder: folder of the validation clips, the weights and their vocabulary.
        weights: files of this package's small model.

    Raises:
        ReferDINOError: a file cannot be read, or holds another model.
    """
    create_folder(folder)
    model = build("nano").to(device)
    states = []
    for path in weights:
        load_checkpoint(model, path)
        states.append({name: value.clone() for name, value in model.state_dict().items()})
    model.load_state_dict(
        {
            name: torch.stack([state[name].double() for state in states]).mean(0).to(value.dtype)
            for name, value in states[0].items()
        }
    )
    _finish(model, _written_tokenizer(folder), recipe, folder)
    return model


def _written_tokenizer(folder: Path) -> WordTokenizer:
    """The tokenizer of the world's words, which are written beside the weights."""
    # The bundled vocabulary belongs to the bundled weights, which may know fewer words.
    words = (*SPECIAL_WORDS, *VOCABULARY)
    (folder / "vocabulary.txt").write_text("\n".join(words) + "\n")
    return WordTokenizer(words)


def _finish(model: ReferDINO, tokenizer: WordTokenizer, recipe: Recipe, folder: Path) -> None:
    """Calibrate the model on validation clips, and save it."""
    held_back = render(folder / "world", "validation", recipe.calibration_clips)
    plan = GroundingPlan(model, tokenizer, held_back)
    found = calibrate(model, ground_world(plan, folder / "held_back", len(held_back)))
    logger.info("Calibrated: %s.", found)
    save_weights(model, folder / "nano.safetensors")


def render(folder: Path, split: Split, clips: int) -> World:
    """The first clips of a split, alternating between all kinds of scenes."""
    worlds = [
        RecordedWorld(folder / scenes, split, clips, WorldSettings(scenes=scenes))
        for scenes in SCENES
    ]
    for world in worlds:
        world.render()
    return SeveralWorlds(worlds)


def learn_attributes(model: ReferDINO, world: World, recipe: Recipe, folder: Path) -> None:
    """First stage: train the image encoder, with heads that are discarded afterwards."""
    heads = AttributeHeads(model.configuration.width).to(model.device)
    run_stage(
        recipe.attributes,
        nn.ModuleDict({"encoder": model.image_encoder, "heads": heads}),
        lambda generator, _: attribute_losses(
            model.image_encoder,
            heads,
            draw_attributes(world, recipe.attribute_images, generator),
        ),
        folder,
    )


def learn_frames(
    model: ReferDINO, world: World, tokenizer: WordTokenizer, recipe: Recipe, folder: Path
) -> None:
    """Second and third stage: train the whole network on single frames.

    At first every query on an object is positive, which speeds up learning; then gradually fewer,
    so that every candidate keeps a slot.
    """
    head = nn.Linear(model.configuration.width, len(MOTIONS)).to(model.device)

    def losses(generator: np.random.Generator, most: int | None) -> dict[str, Tensor]:
        batch = draw_frames(world, recipe.frame_images, recipe.frame_sentences, generator)
        return frame_losses(model, head, tokenizer, batch, most)

    learnt = nn.ModuleDict({"network": model, "motion": head})
    run_stage(recipe.frames, learnt, lambda generator, _: losses(generator, None), folder)
    run_stage(
        recipe.slots,
        learnt,
        lambda generator, progress: losses(generator, most_positives(progress)),
        folder,
    )


def learn_time(
    model: ReferDINO, items: Sequence[GroundedClip], recipe: Recipe, folder: Path
) -> None:
    """Fourth stage: train only the readout, on clips that are grounded once."""
    model.grounder.requires_grad_(False)
    head = nn.Linear(model.configuration.width, DISPLACEMENTS).to(model.device)

    def losses(generator: np.random.Generator, _: float) -> dict[str, Tensor]:
        drawn = generator.integers(len(items), size=recipe.temporal_items)
        chosen = [items[number] for number in drawn]
        return temporal_losses(model, head, chosen, generator, recipe.contrastive_weight)

    run_stage(
        recipe.temporal,
        nn.ModuleDict({"readout": model.readout, "displacement": head}),
        losses,
        folder,
    )
