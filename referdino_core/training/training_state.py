# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Files of a training run: its state, from which a killed run goes on, its curve and its recipe.

On one CPU process a run that was killed goes on bit for bit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from referdino_core.errors import ReferDINOError
from referdino_core.files import AtomicFile
from referdino_core.training.boards import Boards

RECIPE_NAME = "recipe.json"


@dataclass(frozen=True)
class RunFiles:
    """Places of a run's files.

    Attributes:
        state: of `TrainingState`. curve: JSON lines of `Curve`. board: folder for TensorBoard.
    """

    state: Path
    curve: Path
    board: Path

    @classmethod
    def of_stage(cls, folder: Path, name: str) -> RunFiles:
        """The files of a named stage of a run: `<name>.pt` and `<name>.jsonl`."""
        return cls(folder / f"{name}.pt", folder / f"{name}.jsonl", folder / "tensorboard" / name)

    @classmethod
    def of_run(cls, folder: Path) -> RunFiles:
        """The files of a run without stages: `state.pt` and `curve.jsonl`."""
        return cls(folder / "state.pt", folder / "curve.jsonl", folder / "tensorboard")


class TrainingState:
    """Everything of a run that changes from step to step.

    Attributes:
        step: the next one. best: highest validation score so far, below 0 before the first.
        averaged: exponential moving average of the learnt weights; empty without one.
    """

    def __init__(
        self,
        module: nn.Module,
        optimisers: Sequence[torch.optim.Optimizer],
        scaler: torch.amp.GradScaler,
        decay: float,
    ) -> None:
        """The state of a run that begins.

        Args:
            module: its parameters that require gradients are learnt.
            decay: per step of the averaged weights, 0 for none.
        """
        self.optimisers, self.scaler, self.decay = optimisers, scaler, decay
        self.step, self.best = 0, -1.0
        self._learnt = {n: p.detach() for n, p in module.named_parameters() if p.requires_grad}
        self.averaged = {n: p.clone() for n, p in self._learnt.items()} if decay else {}

    @torch.no_grad()
    def average(self) -> None:
        """Move the averaged weights a step towards the current ones, faster in the first steps."""
        decay = min(self.decay, (self.step + 1) / (self.step + 10))
        for name, tensor in self.averaged.items():
            tensor.lerp_(self._learnt[name], 1 - decay)

    @torch.no_grad()
    def exchange_averaged(self) -> None:
        """Put the averaged weights into the module, and the current ones in their place."""
        for name, tensor in self.averaged.items():
            current = self._learnt[name].clone()
            self._learnt[name].copy_(tensor)
            tensor.copy_(current)

    def save(self, path: Path) -> None:
        """Write the state, so that a kill leaves this one or the one before."""
        file = AtomicFile(path)
        content: dict[str, Any] = {
            "step": self.step,
            "best": self.best,
            "model": dict(self._learnt),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "scaler": self.scaler.state_dict(),
            "averaged": self.averaged,
            "random": torch.get_rng_state(),
        }
        try:
            torch.save(content, file.temporary_path)
            file.commit()
        finally:
            file.discard()

    def load(self, path: Path, device: torch.device) -> bool:
        """Take up a saved state; False where there is none.

        Raises:
            ReferDINOError: it is the state of another network, or of an earlier version.
        """
        if not path.exists():
            return False
        content = torch.load(path, map_location=device, weights_only=True)
        if not set(content.get("model", ())) == set(self._learnt) or "optimisers" not in content:
            raise ReferDINOError(
                f"{path} is the state of another network or of an earlier version of referdino; "
                "choose another folder."
            )
        self.step, self.best = content["step"], content["best"]
        copy_tensors(content["model"], self._learnt)
        copy_tensors(content["averaged"], self.averaged)
        for optimiser, state in zip(self.optimisers, content["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        self.scaler.load_state_dict(content["scaler"])
        torch.set_rng_state(content["random"].cpu())
        return True


@torch.no_grad()
def copy_tensors(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    """Copy tensors by name; both hold the same names."""
    for name, tensor in target.items():
        tensor.copy_(source[name])


class Curve:
    """Losses by step, as JSON lines and on boards; a context manager.

    A line holds the step, the seconds since the run began or went on, and the mean losses of the
    steps since the line before.
    """

    def __init__(self, path: Path | None, boards: Boards, after: int, every: int) -> None:
        """Forget the lines after a step, which will be repeated.

        Args:
            path: file of the lines; None writes nothing.
            every: steps of a line.
        """
        self._boards, self._every, self._began = boards, every, time.monotonic()
        self._recent: list[Mapping[str, float]] = []
        self._open = contextlib.ExitStack()
        self._file = None
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if json.loads(line)["step"] <= after]
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        self._file = self._open.enter_context(path.open("a", encoding="utf-8"))

    def __enter__(self) -> Curve:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def add(self, step: int, losses: Mapping[str, float]) -> None:
        """Note the losses of a step, the same names at every step."""
        self._recent.append(losses)
        if step % self._every or self._file is None:
            return
        means = {
            name: sum(row[name] for row in self._recent) / len(self._recent) for name in losses
        }
        self._recent.clear()
        line = {"step": step, "seconds": round(time.monotonic() - self._began, 1)}
        line |= {name: float(f"{mean:.6g}") for name, mean in means.items()}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        self._boards.add_figures(step, {f"loss/{name}": mean for name, mean in means.items()})


def check_recipe(
    folder: Path, recipe: Any, start: Path | None, seed: int, accept_changes: bool
) -> None:
    """Note the recipe of a new run; refuse another one for a run that has begun.

    Args:
        recipe: a dataclass of settings.

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
