# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Ablation of SOC's contrastive loss in the temporal stage of `nano`, over several seeds.

    python benchmarks/contrastive_ablation.py --out runs/contrastive            # an hour or two
    python benchmarks/contrastive_ablation.py --out try --clips 100 --steps 10 --unseen 5 --seeds 0

Clips of the world are grounded once with the bundled weights. From there the temporal stage goes on
with every weight of the loss and every seed of its batches, alike in everything else; scores are
calibrated on validation clips; static sentences, those about motion and those that are true of
nothing are then scored on unseen clips, streamed. A second call goes on where the first stopped.

Needs MuJoCo and PyTorch 2.9 or later (Muon).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from referdino_core.building import load_model, tokenizer_of
from referdino_core.checkpoint import save_weights
from referdino_core.evaluation.world_clips import STATIC_KINDS, SentenceScore, evaluate_world
from referdino_core.session import Session
from referdino_core.training.calibration import calibrate
from referdino_core.training.grounded_clips import GroundedClip, GroundingPlan, ground_world
from referdino_core.training.recipe import TEMPORAL, Recipe, learn_time
from referdino_core.training.recorded_world import RecordedWorld
from referdino_core.world import WorldSettings
from referdino_core.world.clip import Split

GROUPS = {"static": STATIC_KINDS, "motion": ("motion", "direction"), "absence": ("absent",)}
CALIBRATION_CLIPS = 100


def ground(folder: Path, split: Split, clips: int) -> list[GroundedClip]:
    """Clips of a split, rendered and grounded with the bundled weights."""
    world = RecordedWorld(folder / "world", split, clips, WorldSettings())
    world.render()
    model = load_model("nano", "cpu")
    plan = GroundingPlan(model, tokenizer_of(model.configuration), world)
    return ground_world(plan, folder / f"grounded_{split}", clips)


def train(
    items: Sequence[GroundedClip],
    held_back: Sequence[GroundedClip],
    folder: Path,
    weight: float,
    seed: int,
    steps: int,
) -> Path:
    """Train the readout on from the bundled weights, and calibrate it; the file of the weights."""
    path = folder / "nano.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        model = load_model("nano", "cpu")
        plan = replace(TEMPORAL, iterations=steps, warm_up=min(80, steps // 4), seed=seed)
        learn_time(model, items, Recipe(temporal=plan, contrastive_weight=weight), folder)
        calibrate(model, held_back)
        save_weights(model, path)
    return path


def measures(scores: Sequence[SentenceScore]) -> dict[str, float]:
    """Right objects by group, and frames with a mask where a sentence is true of nothing, in %."""
    found: dict[str, float] = {}
    for name, kinds in GROUPS.items():
        chosen = [score for score in scores if score.kind in kinds]
        if name == "absence":
            frames = sum(score.empty_frames for score in chosen)
            alarms = sum(score.false_alarms for score in chosen)
            found[name] = 100 * alarms / max(frames, 1)
            continue
        shown = [score for score in chosen if score.region is not None]
        found[name] = 100 * float(np.mean([score.right for score in shown])) if shown else 0.0
    return found


def evaluate(weights: Path, unseen: int) -> dict[str, float]:
    """Measures of weights on unseen clips; kept beside them."""
    path = weights.with_name(f"measures_{unseen}.json")
    if not path.exists():
        scores = evaluate_world(Session(weights, device="cpu"), "test", range(unseen))
        path.write_text(json.dumps(measures(scores["streaming"])) + "\n", encoding="utf-8")
    found: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return found


def table(rows: dict[float, list[dict[str, float]]]) -> str:
    """Means over the seeds, with the standard deviation."""
    lines = [
        "| contrastive weight | seeds | static, right object | motion, right object | absence: "
        "frames with a mask |",
        "|---|---|---|---|---|",
    ]
    for weight, found in rows.items():
        columns = [np.array([row[name] for row in found]) for name in GROUPS]
        cells = [f"{column.mean():.1f} ± {column.std():.1f} %" for column in columns]
        lines.append(f"| {weight:g} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of clips and weights")
    parser.add_argument("--clips", type=int, default=600, help="clips to learn from")
    parser.add_argument("--steps", type=int, default=800, help="of the temporal stage")
    parser.add_argument("--unseen", type=int, default=200, help="clips to score")
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    items = ground(options.out, "train", options.clips)
    held_back = ground(options.out, "validation", min(CALIBRATION_CLIPS, options.clips))
    rows: dict[float, list[dict[str, float]]] = {weight: [] for weight in options.weights}
    for seed in options.seeds:
        for weight in options.weights:
            folder = options.out / f"weight_{weight:g}_seed_{seed}"
            weights = train(items, held_back, folder, weight, seed, options.steps)
            rows[weight].append(evaluate(weights, options.unseen))
            print(f"weight {weight:g}, seed {seed}: {rows[weight][-1]}", flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
