# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop of all stages: schedule, precision, averaged weights, curve, resumption."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm


def mixed_precision() -> torch.autocast:
    """Context in which matrix multiplications on the CPU run in bfloat16, if that is faster."""
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
    """Length and learning rates of a stage.

    Attributes:
        name: name of the stage and of its files.
        iterations: optimiser steps.
        learning_rate: AdamW's peak rate, after the warm-up.
        matrix_learning_rate: Muon's peak rate.
        scalar_learning_rate: AdamW's peak rate for scalars, which have to change a lot.
        warm_up: steps of linear warm-up, followed by a cosine down to 2 %.
        averaging: decay per step of the averaged weights, which are the result.
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


def rate_factor(plan: StagePlan, step: int) -> float:
    """Learning rate at a step as a fraction of its peak: linear warm-up, then a cosine."""
    if step < plan.warm_up:
        return (step + 1) / plan.warm_up
    progress = (step - plan.warm_up) / max(1, plan.iterations - plan.warm_up)
    return 0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2


def make_optimisers(plan: StagePlan, module: nn.Module) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the weight matrices of hidden layers, AdamW for all other parameters.

    Muon (Jordan et al. 2024) follows the orthogonalised gradient, and learnt shapes in fewer steps
    than AdamW alone; it is not suited to embeddings and to narrow input and output layers.
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
    """Train `module`; its weights are then the averaged ones.

    The state is saved every hundred steps, from which a second call resumes; a finished stage is
    only loaded. The curve is appended to `<name>.jsonl`, one line per ten steps.

    Args:
        losses: see `Losses`; the generator is seeded by the step.
        folder: folder of `<name>.pt` and the curve.
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
        logger.info("Stage %s resumes at step %d.", plan.name, start)
    module.train()
    logger.info("Matrix multiplications in %s.", "bfloat16" if bfloat16_pays() else "float32")
    began = time.monotonic()
    recent: list[dict[str, float]] = []
    steps = tqdm(range(start, plan.iterations), initial=start, total=plan.iterations)
    steps.set_description(plan.name)
    for step in steps:
        # Seeded by the step, so that a resumed run sees the same batches.
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
                group["lr"] = group["highest"] * rate_factor(plan, step)
            optimiser.step()
        average(averaged, module.state_dict(), plan.averaging, step)
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
def average(
    averaged: dict[str, Tensor], current: Mapping[str, Tensor], decay: float, step: int
) -> None:
    """Move the averaged weights a step towards the current ones, faster in the first steps."""
    decay = min(decay, (step + 1) / (step + 10))
    for name, tensor in averaged.items():
        if tensor.is_floating_point():
            tensor.lerp_(current[name], 1 - decay)


def append_curve(
    folder: Path, name: str, step: int, began: float, recent: list[dict[str, float]]
) -> float:
    """Append the means of recent losses to the curve; returns the mean total loss."""
    means = {key: sum(row[key] for row in recent) / len(recent) for key in recent[0]}
    line = {"step": step, "seconds": round(time.monotonic() - began, 1)}
    line |= {key: round(value, 4) for key, value in means.items()}
    with (folder / f"{name}.jsonl").open("a") as curve:
        curve.write(json.dumps(line) + "\n")
    return means["total"]


def forget_curve(folder: Path, name: str, after: int) -> None:
    """Remove the curve's lines after the last saved step, which will be repeated."""
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
    """Save the state of a stage atomically."""
    unfinished = path.with_suffix(".part")
    state = {
        "step": step,
        "module": module.state_dict(),
        "optimisers": [optimiser.state_dict() for optimiser in optimisers],
        "averaged": averaged,
    }
    torch.save(state, unfinished)
    unfinished.rename(path)
