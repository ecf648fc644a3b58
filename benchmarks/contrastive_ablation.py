# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Ablation of SOC's contrastive loss in the temporal stage of `nano`, over several seeds.

    python benchmarks/contrastive_ablation.py --out runs/contrastive
    python benchmarks/contrastive_ablation.py --out try --clips 100 --steps 10 --unseen 5 --seeds 0

Clips of the world are grounded once with the bundled weights. From there the temporal stage goes on
with every weight of the loss and every seed, alike in everything else: one seed gives the same
batches for every weight. Scores are calibrated on validation clips; static sentences, those about
motion and those that are true of nothing are then scored on unseen clips, streamed, and so are the
bundled weights. The table holds means over the seeds and their sample standard deviations; its last
lines compare runs of the same seed. A second call goes on where the first stopped.

Needs MuJoCo and PyTorch 2.9 or later (Muon).
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from referdino_core.backends.backend import EncodedImage, FrameGrounding
from referdino_core.backends.torch_backend import TorchBackend
from referdino_core.building import build, tokenizer_of, weights_of
from referdino_core.checkpoint import load_checkpoint, save_weights
from referdino_core.evaluation.world_clips import (
    STATIC_KINDS,
    SentenceScore,
    choose_sentences,
    score_sentence,
    stream_clip,
)
from referdino_core.files import AtomicFile
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.session import Session
from referdino_core.training.calibration import calibrate
from referdino_core.training.grounded_clips import GroundedClip, GroundingPlan, ground_world
from referdino_core.training.recipe import TEMPORAL, Recipe, learn_time
from referdino_core.training.recorded_world import RecordedWorld
from referdino_core.training.training_state import check_recipe
from referdino_core.world import WorldRenderer, WorldSettings
from referdino_core.world.clip import Split

GROUPS = {"static": STATIC_KINDS, "motion": ("motion", "direction"), "absence": ("absent",)}
CALIBRATION_CLIPS = 50
BUNDLED = "bundled weights"
Measures = dict[str, tuple[float, int]]
"""By group: a share in %, and of how many sentences or frames."""


def start_of(folder: Path) -> Path:
    """A copy of the bundled weights, from which all runs of a folder start."""
    start = folder / "start.safetensors"
    if not start.exists():
        file = AtomicFile(start)
        shutil.copy(weights_of("nano"), file.temporary_path)
        file.commit()
    return start


def load(weights: Path) -> ReferDINO:
    """A `nano` with these weights, ready for inference."""
    model = build("nano").eval()
    load_checkpoint(model, weights)
    return model


def ground(folder: Path, split: Split, clips: int, workers: int) -> list[GroundedClip]:
    """Clips of a split, rendered and grounded with the weights that all runs start from."""
    world = RecordedWorld(folder / "world", split, clips, WorldSettings())
    world.render(workers)
    model = load(start_of(folder))
    plan = GroundingPlan(model, tokenizer_of(model.configuration), world)
    return ground_world(plan, folder / f"grounded_{split}", clips, workers)


def train(
    items: Sequence[GroundedClip],
    held_back: Sequence[GroundedClip],
    start: Path,
    folder: Path,
    recipe: Recipe,
) -> Path:
    """Train the readout on, and calibrate it; the file of the weights.

    Raises:
        ReferDINOError: the folder holds a run of another recipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seed = recipe.temporal.seed
    check_recipe(folder, recipe, start, seed, accept_changes=False)
    path = folder / "nano.safetensors"
    if not path.exists():
        torch.manual_seed(seed)
        model = load(start)
        learn_time(model, items, recipe, folder)
        calibrate(model, held_back)
        file = AtomicFile(path)
        save_weights(model, file.temporary_path)
        file.commit()
    return path


class SharedGrounding(TorchBackend):
    """PyTorch's stages for several weights with the same grounder, which runs for one of them.

    Attributes:
        groundings: those of the present clip, by image and sentences; shared by all weights.
    """

    def __init__(self, model: ReferDINO, groundings: dict[tuple[bytes, bytes], FrameGrounding]):
        super().__init__(model, "fp32")
        self.groundings = groundings

    def encode_image(self, pixels: Tensor) -> EncodedImage:
        """Encode pixels when they are needed."""
        return EncodedImage(pixels, pixels)

    def ground(self, image: EncodedImage, text: TextFeatures) -> FrameGrounding:
        """Ground sentences, or remember how they were grounded."""
        key = (image.tokens.numpy().tobytes(), text.tokens.numpy().tobytes())
        if key not in self.groundings:
            self.groundings[key] = super().ground(super().encode_image(image.tokens), text)
        return self.groundings[key]


def evaluate(
    folder: Path, weights: dict[str, Path], clips: Sequence[int]
) -> dict[str, list[SentenceScore]]:
    """Scores of sentences about unseen clips, streamed, by weights; kept in a folder.

    The weights differ in the readout alone.
    """
    path = folder / "scores.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    for row in map(json.loads, lines):
        found[row["clip"]] |= row["scores"]
    groundings: dict[tuple[bytes, bytes], FrameGrounding] = {}
    sessions = {name: Session(one, device="cpu", runtime="torch") for name, one in weights.items()}
    for session in sessions.values():
        session.predictor.backend = SharedGrounding(session.model, groundings)
    with WorldRenderer() as renderer, path.open("a", encoding="utf-8") as file:
        for index in tqdm(clips, "unseen clips", unit="clip"):
            missing = [name for name in weights if name not in found[index]]
            if not missing:
                continue
            clip = renderer.clip("test", index)
            sentences = choose_sentences(clip, index)
            new = {
                name: [
                    asdict(score_sentence(clip, sentence, masks))
                    for sentence, masks in zip(
                        sentences, stream_clip(sessions[name], clip, sentences), strict=True
                    )
                ]
                for name in missing
            }
            found[index] |= new
            groundings.clear()
            file.write(json.dumps({"clip": index, "scores": new}) + "\n")
            file.flush()
    return {
        name: [SentenceScore(**row) for clip in clips for row in found[clip][name]]
        for name in weights
    }


def measures(scores: Sequence[SentenceScore]) -> Measures:
    """Right objects by group, and frames with a mask where a sentence is true of nothing, in %."""
    found: Measures = {}
    for name, kinds in GROUPS.items():
        chosen = [score for score in scores if score.kind in kinds]
        if name == "absence":
            frames = sum(score.empty_frames for score in chosen)
            alarms = sum(score.false_alarms for score in chosen)
            found[name] = (100 * alarms / max(frames, 1), frames)
            continue
        shown = [score for score in chosen if score.region is not None]
        right = 100 * float(np.mean([score.right for score in shown])) if shown else 0.0
        found[name] = (right, len(shown))
    return found


def table(bundled: Measures, rows: dict[float, list[Measures]]) -> str:
    """Means over the seeds with their standard deviations, and differences between paired runs."""
    counts = {name: count for name, (_, count) in bundled.items()}
    lines = [
        f"| contrastive weight | seeds | static, right object of {counts['static']} "
        f"| motion, right object of {counts['motion']} "
        f"| absence, with a mask of {counts['absence']} frames |",
        "|---|---|---|---|---|",
        f"| {BUNDLED} | | {' | '.join(f'{value:.1f} %' for value, _ in bundled.values())} |",
    ]
    shares = {
        weight: np.array([[run[name][0] for name in GROUPS] for run in found])
        for weight, found in rows.items()
    }
    first, *others = shares
    for weight, found in shares.items():
        lines.append(f"| {weight:g} | {len(found)} | {spread(found, '.1f')} |")
    for weight in others:
        paired = spread(shares[weight] - shares[first], "+.1f")
        lines.append(
            f"| {weight:g} minus {first:g}, same seed | {len(shares[weight])} | {paired} |"
        )
    return "\n".join(lines)


def spread(values: np.ndarray, form: str) -> str:
    """Cells of the columns' means and sample standard deviations; values: (seeds, columns)."""
    if len(values) == 1:
        return " | ".join(f"{value:{form}} %" for value in values[0])
    return " | ".join(f"{column.mean():{form}} ± {column.std(ddof=1):.1f} %" for column in values.T)


def main() -> None:
    """Parse the command line, train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of clips and weights")
    parser.add_argument("--clips", type=int, default=600, help="clips to learn from")
    parser.add_argument("--steps", type=int, default=800, help="of the temporal stage")
    parser.add_argument("--items", type=int, default=48, help="windows of a step")
    parser.add_argument("--unseen", type=int, default=200, help="clips to score")
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=2, help="processes that render and ground")
    options = parser.parse_args()
    items = ground(options.out, "train", options.clips, options.workers)
    calibration_clips = min(CALIBRATION_CLIPS, options.clips)
    held_back = ground(options.out, "validation", calibration_clips, options.workers)
    weights = {BUNDLED: start_of(options.out)}
    names: dict[float, list[str]] = {weight: [] for weight in options.weights}
    for seed in options.seeds:
        for weight in options.weights:
            plan = replace(
                TEMPORAL, iterations=options.steps, warm_up=min(80, options.steps // 4), seed=seed
            )
            recipe = Recipe(
                temporal_clips=options.clips,
                temporal_items=options.items,
                temporal=plan,
                contrastive_weight=weight,
                calibration_clips=calibration_clips,
            )
            name = f"weight_{weight:g}_seed_{seed}"
            weights[name] = train(items, held_back, weights[BUNDLED], options.out / name, recipe)
            names[weight].append(name)
    scores = evaluate(options.out, weights, range(options.unseen))
    found = {name: measures(ones) for name, ones in scores.items()}
    for name, one in found.items():
        print(name, one)
    rows = {weight: [found[name] for name in chosen] for weight, chosen in names.items()}
    result = table(found[BUNDLED], rows)
    (options.out / "table.md").write_text(f"{result}\n", encoding="utf-8")
    print(result)


if __name__ == "__main__":
    main()
