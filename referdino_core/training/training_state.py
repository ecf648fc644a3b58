# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The state of a training run on disk: what a killed run goes on from, bit for bit on one CPU."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from referdino_core.errors import ReferDINOError
from referdino_core.files import AtomicFile
from referdino_core.training.loop import average
from referdino_core.training.video_recipes import VideoRecipe

STATE_NAME = "state.pt"
RECIPE_NAME = "recipe.json"


class TrainingState:
    """Everything of a run that changes from step to step.

    Attributes:
        step: the next one. best: highest validation score so far, below 0 before the first.
        averaged: exponential moving average of the learnt weights; empty without one.
    """

    def __init__(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        recipe: VideoRecipe,
    ) -> None:
        self.model, self.optimiser, self.scaler = model, optimiser, scaler
        self.step, self.best = 0, -1.0
        self.decay = recipe.averaging
        learnt = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
        self._learnt = learnt
        self.averaged = {n: p.clone() for n, p in learnt.items()} if self.decay else {}

    def average(self) -> None:
        """Move the averaged weights a step towards the current ones."""
        average(self.averaged, self._learnt, self.decay, self.step)

    @torch.no_grad()
    def exchange_averaged(self) -> None:
        """Put the averaged weights into the model, and the current ones in their place."""
        for name, tensor in self.averaged.items():
            current = self._learnt[name].clone()
            self._learnt[name].copy_(tensor)
            tensor.copy_(current)

    def save(self, folder: Path) -> None:
        """Write the state, so that a kill leaves this one or the one before."""
        file = AtomicFile(folder / STATE_NAME)
        content: dict[str, Any] = {
            "step": self.step,
            "best": self.best,
            "model": dict(self._learnt),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "averaged": self.averaged,
            "random": torch.get_rng_state(),
        }
        try:
            torch.save(content, file.temporary_path)
            file.commit()
        finally:
            file.discard()

    def load(self, folder: Path, device: torch.device) -> bool:
        """Take up a saved state; False where there is none."""
        path = folder / STATE_NAME
        if not path.exists():
            return False
        content = torch.load(path, map_location=device, weights_only=True)
        self.step, self.best = content["step"], content["best"]
        copy_tensors(content["model"], self._learnt)
        copy_tensors(content["averaged"], self.averaged)
        self.optimiser.load_state_dict(content["optimiser"])
        self.scaler.load_state_dict(content["scaler"])
        torch.set_rng_state(content["random"].cpu())
        return True


@torch.no_grad()
def copy_tensors(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    """Copy tensors by name; both hold the same names."""
    for name, tensor in target.items():
        tensor.copy_(source[name])


def check_recipe(
    folder: Path, recipe: VideoRecipe, start: Path | None, seed: int, accept_changes: bool
) -> None:
    """Note the recipe of a new run; refuse another one for a run that has begun.

    Raises:
        ReferDINOError: the recipe differs from the run's and changes are not accepted.
    """
    path = folder / RECIPE_NAME
    settings = {**dataclasses.asdict(recipe), "start": str(start or "random"), "seed": seed}
    given = json.loads(json.dumps(settings))
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        changes = [
            f"{name} {kept.get(name)} -> {given.get(name)}"
            for name in sorted({*kept, *given})
            if kept.get(name) != given.get(name)
        ]
        if changes and not accept_changes:
            raise ReferDINOError(
                f"The run in {folder} has another recipe: {', '.join(changes)}. Choose another "
                "--out, or say --accept-changes to go on with the new one."
            )
    path.write_text(json.dumps(given, indent=2) + "\n", encoding="utf-8")
