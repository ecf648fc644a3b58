# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Stages of the small model's training: their lengths, learning rates and optimisers."""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from referdino_core.training.loop import LoopPlan, Source, StepLosses, TrainingLoop
from referdino_core.training.processes import Processes
from referdino_core.training.training_state import RunFiles

logger = logging.getLogger("referdino.training")

Losses = Callable[[np.random.Generator, float], Mapping[str, Tensor]]
"""Named losses of a fresh batch that is drawn with the generator, at a share of the stage."""


def mixed_precision(device: torch.device) -> torch.autocast:
    """Context in which a device's matrix multiplications run in bfloat16, if that is faster."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision_of(device) == "bf16")


def precision_of(device: torch.device) -> str:
    """The precision of matrix multiplications: bf16 if it is faster on the device, or fp32."""
    faster = torch.cuda.is_bf16_supported() if device.type == "cuda" else bfloat16_pays()
    return "bf16" if faster else "fp32"


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
        seed: of the batches.
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
    seed: int = 0


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
    """Train `module` on its device; its weights are then the averaged ones.

    A second call resumes from the last saved state; a finished stage is only loaded. The curve
    `<name>.jsonl` has a line per ten steps.

    Args:
        losses: see `Losses`; the generator is seeded by the step.
        folder: folder of `<name>.pt` and the curve.
    """
    device = next(module.parameters()).device
    loop = TrainingLoop(
        LoopPlan(
            steps=plan.iterations,
            gradient_norm=plan.clip,
            averaging=plan.averaging,
            precision=precision_of(device),
            save_every=plan.save_every,
            note_every=10,
        ),
        module,
        make_optimisers(plan, module),
        functools.partial(rate_factor, plan),
        RunFiles.of_stage(folder, plan.name),
        Processes(0, 1, device),
    )

    def drawn(step: int) -> StepLosses:
        # Seeded by the step, so that a resumed run sees the same batches.
        generator = np.random.default_rng([len(plan.name), step, plan.seed])
        terms = losses(generator, step / plan.iterations)
        return StepLosses(torch.stack([term.float() for term in terms.values()]).sum(), terms)

    first = loop.state.step
    if first < plan.iterations:
        logger.info("Stage %s, matrices in %s.", plan.name, loop.plan.precision)
        loop.run(
            Source(
                range(first, plan.iterations), drawn, lambda step: f"its batch is that of {step}"
            ),
            bar=functools.partial(tqdm, desc=plan.name),
        )
    else:
        logger.info("Stage %s is complete.", plan.name)
    loop.state.exchange_averaged()
    module.eval()
