# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""One training loop for every stage: schedule, averaged weights, curve, and resuming."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

logger = logging.getLogger("referdino.training")

Losses = Callable[[np.random.Generator], dict[str, Tensor]]


@dataclass(frozen=True)
class StagePlan:
    """How long and how fast a stage learns.

    Attributes:
        name: of the stage; names its files.
        iterations: optimiser steps. learning_rate: the highest, after the warm-up.
        warm_up: steps of linear warm-up; a cosine down to 2 % follows.
        averaging: decay per step of the averaged weights that are kept.
    """

    name: str
    iterations: int
    learning_rate: float
    warm_up: int = 80
    weight_decay: float = 0.02
    clip: float = 1.0
    averaging: float = 0.995
    save_every: int = 100


def learning_rate(plan: StagePlan, step: int) -> float:
    """Learning rate of a step: linear warm-up, then a cosine."""
    if step < plan.warm_up:
        return plan.learning_rate * (step + 1) / plan.warm_up
    progress = (step - plan.warm_up) / max(1, plan.iterations - plan.warm_up)
    return plan.learning_rate * (0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2)


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict]:
    """Matrices with weight decay; biases, norms and scales without."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def run_stage(plan: StagePlan, module: nn.Module, losses: Losses, folder: Path) -> None:
    """Train `module` and leave it with its averaged weights.

    The state is saved every hundred steps and taken up again; a finished stage is loaded. The
    curve is appended to `<name>.jsonl`, one line per ten steps.

    Args:
        losses: named losses of a fresh batch, drawn with the generator it is given.
        folder: where `<name>.pt` and the curve lie.
    """
    path = folder / f"{plan.name}.pt"
    optimiser = torch.optim.AdamW(parameter_groups(module, plan.weight_decay))
    averaged = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    start = 0
    if path.exists():
        saved = torch.load(path, weights_only=True)
        averaged, start = saved["averaged"], saved["step"]
        if start >= plan.iterations:
            module.load_state_dict(averaged)
            logger.info("Stage %s is complete.", plan.name)
            return
        module.load_state_dict(saved["module"])
        optimiser.load_state_dict(saved["optimiser"])
        logger.info("Stage %s goes on at step %d.", plan.name, start)
    module.train()
    began = time.monotonic()
    recent: list[dict[str, float]] = []
    steps = tqdm(range(start, plan.iterations), initial=start, total=plan.iterations)
    steps.set_description(plan.name)
    for step in steps:
        # Seeded by the step, so that an interrupted run sees the batches it would have seen.
        terms = losses(np.random.default_rng([len(plan.name), step]))
        total = torch.stack(list(terms.values())).sum()
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(module.parameters(), plan.clip)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(plan, step)
        optimiser.step()
        average(averaged, module, min(plan.averaging, (step + 1) / (step + 10)))
        recent.append({"total": total.item(), **{n: t.item() for n, t in terms.items()}})
        if (step + 1) % 10 == 0:
            steps.set_postfix(
                loss=f"{append_curve(folder, plan.name, step + 1, began, recent):.3f}"
            )
            recent = []
        if (step + 1) % plan.save_every == 0 or step + 1 == plan.iterations:
            save_state(path, step + 1, module, optimiser, averaged)
    module.load_state_dict(averaged)
    module.eval()


@torch.no_grad()
def average(averaged: dict[str, Tensor], module: nn.Module, decay: float) -> None:
    """Move the averaged weights a step towards the current ones."""
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            averaged[name].lerp_(tensor, 1 - decay)


def append_curve(
    folder: Path, name: str, step: int, began: float, recent: list[dict[str, float]]
) -> float:
    """Write the mean of the recent losses to the curve and return their mean total."""
    means = {key: sum(row[key] for row in recent) / len(recent) for key in recent[0]}
    line = {"step": step, "seconds": round(time.monotonic() - began, 1)}
    line |= {key: round(value, 4) for key, value in means.items()}
    with (folder / f"{name}.jsonl").open("a") as curve:
        curve.write(json.dumps(line) + "\n")
    return means["total"]


def save_state(
    path: Path,
    step: int,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    averaged: dict[str, Tensor],
) -> None:
    """Write the state of a stage so that a crash leaves the previous one whole."""
    partial = path.with_suffix(".part")
    state = {
        "step": step,
        "module": module.state_dict(),
        "optimiser": optimiser.state_dict(),
        "averaged": averaged,
    }
    torch.save(state, partial)
    partial.rename(path)
