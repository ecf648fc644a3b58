# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""How well the readout scores grounded clips: those that it was trained on, against others.

    python -m referdino_core.training --out runs/nano          # grounds clips in runs/nano/grounded
    python benchmarks/grounded_scores.py runs/nano/grounded runs/other/grounded

A row for every folder: of the sentences that mean a visible object in the last frame of a clip, how
many have their object in the slot with the highest mean score over the window, and how many of
these scores reach --accept; of the sentences that are true of nothing, how many reach it all the
same; and the log loss of the newest frame, summed over the slots.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from referdino_core.building import load_model
from referdino_core.network.referdino import ReferDINO
from referdino_core.training.grounded_clips import GroundedClip
from referdino_core.training.supervision import POSITIVE_OVERLAP
from referdino_core.training.temporal_stage import LONGEST_WINDOW, stack_items


@dataclass(frozen=True)
class Score:
    """The last frame of one sentence.

    Attributes:
        probability: mean of the best slot's over the window. right: whether it holds the target.
        visible: whether any slot holds the target. absent: whether none does in any frame.
        loss: log loss of the newest frame, summed over the slots.
    """

    probability: float
    right: bool
    visible: bool
    absent: bool
    loss: float


@torch.no_grad()
def score(model: ReferDINO, item: GroundedClip) -> Score:
    """Score one grounded sentence at its last frame."""
    newest = len(item.stamps) - 1
    batch = stack_items([item], [np.arange(max(0, newest - LONGEST_WINDOW + 1), newest + 1)])
    window, readout = batch.window, model.readout
    history = readout.history(window)
    logits = readout.similarity(history, window.text, window.text_padding[:, None])[0].float()
    mean = logits.sigmoid().mean(0)
    best = int(mean.argmax())
    covered = item.overlaps > POSITIVE_OVERLAP
    return Score(
        probability=float(mean[best]),
        right=bool(covered[newest, best]),
        visible=bool(covered[newest].any()),
        absent=not bool((item.overlaps > 0).any()),
        loss=float(
            F.binary_cross_entropy_with_logits(logits[-1], batch.scores[0, -1], reduction="sum")
        ),
    )


def row(folder: Path, scores: Sequence[Score], accept: float) -> str:
    """A row of the table."""
    visible = [one for one in scores if one.visible]
    absent = [one for one in scores if one.absent]
    accepted = [one.right and one.probability >= accept for one in visible]
    figures = (
        np.mean([one.right for one in visible]),
        np.mean(accepted),
        np.mean([one.probability >= accept for one in absent]),
    )
    cells = " | ".join(f"{100 * figure:.1f} %" for figure in figures)
    loss = np.mean([one.loss for one in scores])
    return f"| {folder} | {len(visible)} | {len(absent)} | {cells} | {loss:.2f} |"


def main() -> None:
    """Score the folders and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="with grounded clips (*.pt)")
    parser.add_argument("--model", default="nano", help="a model's name or a checkpoint's path")
    parser.add_argument("--accept", type=float, default=0.45, help="a score that counts")
    parser.add_argument("--clips", type=int, help="of the first so many clips alone")
    options = parser.parse_args()
    model = load_model(options.model, "cpu")
    print(
        "| folder | target visible | true of nothing | right object, any score | right object "
        "| mask, true of nothing | log loss |\n|---|---:|---:|---:|---:|---:|---:|"
    )
    for folder in options.folders:
        scores = [
            score(model, GroundedClip(**plain))
            for path in tqdm(sorted(folder.glob("*.pt")), desc=folder.name, unit="file")
            if options.clips is None or int(path.stem) < options.clips
            for plain in torch.load(path, weights_only=True)
        ]
        print(row(folder, scores, options.accept), flush=True)


if __name__ == "__main__":
    main()
