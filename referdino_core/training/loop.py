# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop of all recipes: one pass after another, from batches to the optimisers' steps.

What a recipe adds is its batches, its losses and its learning rates; precision, accumulation,
clipping, averaged weights, the curve, and going on after a stop are here.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from referdino_core.errors import InferenceError, ReferDINOError
from referdino_core.precision import PRECISIONS
from referdino_core.training.boards import Boards, WandbPlan, open_boards
from referdino_core.training.processes import ALONE, Processes
from referdino_core.training.training_state import Curve, RunFiles, TrainingState

logger = logging.getLogger("referdino.training")

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class LoopPlan:
    """Length and arithmetic of a run; a step is one forward and backward pass.

    Attributes:
        steps: of the whole run.
        gradient_norm: to which gradients are clipped.
        accumulation: steps whose gradients are added up before the optimisers change the weights.
        averaging: decay of an exponential moving average of the weights, 0 for none.
        precision: of matrix multiplications under autocast, a key of `PRECISIONS`; weights stay in
            float32. "fp16" scales the gradients.
        save_every: steps between two saved states.
        note_every: steps whose mean losses are a line of the curve.
    """

    steps: int
    gradient_norm: float
    accumulation: int = 1
    averaging: float = 0.0
    precision: str = "fp32"
    save_every: int = 100
    note_every: int = 1


@dataclass(frozen=True)
class StepLosses:
    """Losses of a batch.

    Attributes:
        total: scalar to minimise.
        terms: scalars for the curve, by name.
    """

    total: Tensor
    terms: Mapping[str, Tensor]


@dataclass(frozen=True)
class Source(Generic[Batch]):
    """Where a loop's losses come from.

    Attributes:
        batches: from the step on at which the loop begins, in their order.
        losses: forward pass of a batch.
        describe: what a batch consists of, a clause for the message about a loss that is not
            finite.
    """

    batches: Iterable[Batch]
    losses: Callable[[Batch], StepLosses]
    describe: Callable[[Batch], str]


class TrainingLoop:
    """A run in a folder, which goes on where it was stopped.

    Attributes:
        state: of the run. files: where it is kept.
    """

    def __init__(
        self,
        plan: LoopPlan,
        module: nn.Module,
        optimisers: Sequence[torch.optim.Optimizer],
        rate: Callable[[int], float],
        files: RunFiles,
        processes: Processes = ALONE,
        shared: DistributedDataParallel | None = None,
        wandb: WandbPlan | None = None,
    ) -> None:
        """Take up the run's state where it has one.

        Args:
            module: its parameters that require gradients are learnt.
            optimisers: of these parameters; every group has its "highest" learning rate.
            rate: factor of the highest learning rates at a step.
            shared: the module of several processes that computes the losses.
            wandb: a run on Weights & Biases, beside TensorBoard.
        """
        self.plan, self.module, self.optimisers, self.rate = plan, module, optimisers, rate
        self.files, self.processes, self.shared, self.wandb = files, processes, shared, wandb
        self.learnt = [p for p in module.parameters() if p.requires_grad]
        self.scaler = torch.amp.GradScaler(processes.device.type, enabled=plan.precision == "fp16")
        self.state = TrainingState(module, optimisers, self.scaler, plan.averaging)
        if self.state.load(files.state, processes.device):
            logger.info("Going on at step %d.", self.state.step)

    def run(
        self,
        source: Source[Batch],
        *,
        bar: Callable[..., tqdm] = tqdm,
        stop: threading.Event | None = None,
        most_steps: int | None = None,
        after_step: Callable[[int, Boards], None] | None = None,
    ) -> bool:
        """Train to the end, or until `stop` is set; the state is saved in either case.

        Args:
            bar: makes a progress bar.
            most_steps: end of a shorter run.
            after_step: called with the number of steps done, and the boards that show the run.

        Returns:
            Whether the run is complete.

        Raises:
            ReferDINOError: a loss is not finite, nothing can be read, or a board cannot be used.
        """
        last = min(self.plan.steps, most_steps or self.plan.steps)
        saved = self.state.step
        with (
            self._boards() as boards,
            self._curve(boards) as curve,
            bar(total=last, initial=saved, unit="step") as shown,
        ):
            for batch in source.batches:
                asked = stop is not None and self.processes.any(stop.is_set())
                if (asked or self.state.step >= last) and self.may_stop:
                    break
                losses = self._step(source, batch)
                self._note(curve, shown, losses)
                if self.may_stop and self.state.step - saved >= self.plan.save_every:
                    self.save()
                    saved = self.state.step
                if after_step is not None:
                    after_step(self.state.step, boards)
        self.save()
        return self.state.step >= last

    @property
    def may_stop(self) -> bool:
        """Whether no gradients are being accumulated, which a saved state would not hold."""
        return self.state.step % self.plan.accumulation == 0

    def save(self) -> None:
        """Write the state, once for all processes."""
        if self.processes.is_first:
            self.state.save(self.files.state)
        self.processes.wait()

    def _step(self, source: Source[Batch], batch: Batch) -> StepLosses:
        """One forward and backward pass; every `accumulation` of them a step of the optimisers."""
        steps_now = (self.state.step + 1) % self.plan.accumulation == 0
        quiet: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if self.shared is not None and not steps_now:
            quiet = self.shared.no_sync()
        low = torch.autocast(
            self.processes.device.type,
            PRECISIONS[self.plan.precision].dtype,
            enabled=self.plan.precision != "fp32",
        )
        self.module.train()
        with quiet:
            with low:
                losses = self._finite(source, batch)
            self.scaler.scale(losses.total / self.plan.accumulation).backward()
        if steps_now:
            self._change_weights()
        self.state.step += 1
        return losses

    def _change_weights(self) -> None:
        for optimiser in self.optimisers:
            self.scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(self.learnt, self.plan.gradient_norm)
        factor = self.rate(self.state.step)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["highest"] * factor
            self.scaler.step(optimiser)
        self.scaler.update()
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        self.state.average()

    def _finite(self, source: Source[Batch], batch: Batch) -> StepLosses:
        """Losses of a batch.

        Raises:
            ReferDINOError: they are not finite.
        """
        with contextlib.suppress(InferenceError):
            losses = source.losses(batch)
            if bool(losses.total.detach().isfinite()):
                return losses
        raise ReferDINOError(
            f"The loss of step {self.state.step} is not finite; {source.describe(batch)}. The last "
            "saved state is kept: go on from it with a lower learning rate."
        )

    def _boards(self) -> Boards:
        if not self.processes.is_first:
            return Boards(())
        return open_boards(self.files.board, self.state.step, self.wandb)

    def _curve(self, boards: Boards) -> Curve:
        path = self.files.curve if self.processes.is_first else None
        return Curve(path, boards, self.state.step, self.plan.note_every)

    def _note(self, curve: Curve, shown: tqdm, losses: StepLosses) -> None:
        total = self.processes.mean(losses.total)
        terms = {name: float(value.detach()) for name, value in losses.terms.items()}
        curve.add(self.state.step, {"total": total, **terms})
        shown.set_postfix(loss=f"{total:.3f}", refresh=False)
        shown.update()
