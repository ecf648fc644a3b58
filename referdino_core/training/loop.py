# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""One training loop for every stage: schedule, precision, averaged weights, curve, resuming."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm


def mixed_precision() -> torch.autocast:
    """Context in which matrix products on the CPU run in bfloat16, where that pays."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_pays())


@cache
def bfloat16_pays(size: int = 1024, rounds: int = 5) -> bool:
    """Whether this processor multiplies matrices in bfloat16 at least twice as fast, measured."""

    def seconds(precision: torch.dtype) -> float:
        matrix = torch.ones(size, size, dtype=precision)
        spans = []
        for _ in range(rounds):
            began = time.perf_counter()
            matrix @ matrix
            spans.append(time.perf_counter() - began)
        return min(spans)

    return 2 * seconds(torch.bfloat16) < seconds(torch.float32)


logger = logging.getLogger("referdino.training")

Losses = Callable[[np.random.Generator, float], dict[str, Tensor]]
"""Named losses of a fresh batch that is drawn with the generator, at a share of the stage."""


@dataclass(frozen=True)
class StagePlan:
    """How long and how fast a stage learns.

    Attributes:
        name: of the stage; names its files.
        iterations: optimiser steps.
        learning_rate: AdamW's highest, after the warm-up. matrix_learning_rate: Muon's.
        scalar_learning_rate: AdamW's for single numbers, which have far to go.
        warm_up: steps of linear warm-up; a cosine down to 2 % follows.
        averaging: decay per step of the averaged weights that are kept.
    """

    name: str
    iterations: int
    learning_rate: float
    matrix_learning_rate: float
    scalar_learning_rate: float
    warm_up: int = 80
    weight_decay: float = 0.02
    clip: float = 1.0
    averaging: float = 0.995
    save_every: int = 100


def share_of_rate(plan: StagePlan, step: int) -> float:
    """Share of the highest learning rate at a step: linear warm-up, then a cosine."""
    if step < plan.warm_up:
        return (step + 1) / plan.warm_up
    progress = (step - plan.warm_up) / max(1, plan.iterations - plan.warm_up)
    return 0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2


def make_optimisers(plan: StagePlan, module: nn.Module) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the weights between hidden layers, AdamW for all others.

    Muon (Jordan et al. 2024) steps along the orthogonalised gradient, and learnt shapes in fewer
    steps than AdamW alone; it suits neither embeddings nor the narrow layers at either end.
    """
    embeddings = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    matrices = [
        parameter
        for parameter in parameters
        if parameter.ndim == 2 and min(parameter.shape) >= 32 and id(parameter) not in embeddings
    ]
    chosen = {id(parameter) for parameter in matrices}
    others = [parameter for parameter in parameters if id(parameter) not in chosen]
    decay = {"weight_decay": plan.weight_decay}
    rest = {"highest": plan.learning_rate}
    scalars = {"highest": plan.scalar_learning_rate, "weight_decay": 0.0}
    return (
        torch.optim.Muon(
            [{"params": matrices, "highest": plan.matrix_learning_rate, **decay}],
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(
            [
                {"params": [p for p in others if p.ndim >= 2], **rest, **decay},
                {"params": [p for p in others if p.ndim == 1], **rest, "weight_decay": 0.0},
                {"params": [p for p in others if p.ndim == 0], **scalars},
            ]
        ),
    )


def run_stage(plan: StagePlan, module: nn.Module, losses: Losses, folder: Path) -> None:
    """Train `module` and leave it with its averaged weights.

    The state is saved every hundred steps and taken up again; a finished stage is loaded. The
    curve is appended to `<name>.jsonl`, one line per ten steps.

    Args:
        losses: see `Losses`; the generator is seeded by the step.
        folder: where `<name>.pt` and the curve lie.
    """
    path = folder / f"{plan.name}.pt"
    optimisers = make_optimisers(plan, module)
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
        for optimiser, state in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        forget_curve(folder, plan.name, after=start)
        logger.info("Stage %s goes on at step %d.", plan.name, start)
    module.train()
    logger.info("Matrix products in %s.", "bfloat16" if bfloat16_pays() else "float32")
    began = time.monotonic()
    recent: list[dict[str, float]] = []
    steps = tqdm(range(start, plan.iterations), initial=start, total=plan.iterations)
    steps.set_description(plan.name)
    for step in steps:
        # Seeded by the step, so that an interrupted run sees the batches it would have seen.
        with mixed_precision():
            generator = np.random.default_rng([len(plan.name), step])
            terms = losses(generator, step / plan.iterations)
        total = torch.stack([term.float() for term in terms.values()]).sum()
        for optimiser in optimisers:
            optimiser.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(module.parameters(), plan.clip)
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["highest"] * share_of_rate(plan, step)
            optimiser.step()
        average(averaged, module, min(plan.averaging, (step + 1) / (step + 10)))
        recent.append({"total": total.item(), **{n: t.item() for n, t in terms.items()}})
        if (step + 1) % 10 == 0:
            steps.set_postfix(
                loss=f"{append_curve(folder, plan.name, step + 1, began, recent):.3f}"
            )
            recent = []
        if (step + 1) % plan.save_every == 0 or step + 1 == plan.iterations:
            save_state(path, step + 1, module, optimisers, averaged)
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


def forget_curve(folder: Path, name: str, after: int) -> None:
    """Drop the curve's lines of steps that were not saved and come again."""
    path = folder / f"{name}.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    path.write_text("".join(f"{line}\n" for line in lines if json.loads(line)["step"] <= after))


def save_state(
    path: Path,
    step: int,
    module: nn.Module,
    optimisers: Sequence[torch.optim.Optimizer],
    averaged: dict[str, Tensor],
) -> None:
    """Write the state of a stage so that a crash leaves the previous one whole."""
    unfinished = path.with_suffix(".part")
    state = {
        "step": step,
        "module": module.state_dict(),
        "optimisers": [optimiser.state_dict() for optimiser in optimisers],
        "averaged": averaged,
    }
    torch.save(state, unfinished)
    unfinished.rename(path)
