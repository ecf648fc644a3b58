# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Runners of exported networks: opening in the background, padding of texts, batches."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from referdino_core.backends.backend import Preparation
from referdino_core.errors import one_line
from referdino_core.network.object_memory import Window
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.progress import Progress, ProgressMonitor

logger = logging.getLogger("referdino.runtime")


class Runner(Protocol):
    """The three stages of one exported network, open on a runtime."""

    def run(self, stage: str, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run a stage; inputs and outputs by the names of `export.stage_io.STAGES`."""


@dataclass(frozen=True)
class SizeRunners:
    """The runners for one image size, by the number of tokens that texts are padded to.

    Attributes:
        runners: that are open. openings: that are under way in the background, or failed.
    """

    runners: dict[int, Runner] = field(default_factory=dict)
    openings: dict[int, BackgroundOpening] = field(default_factory=dict)

    def token_counts(self, length: int) -> list[int]:
        """The token counts, ascending, that a text of some length can be padded to."""
        return sorted(count for count in self.runners if count >= length)

    def forget_failures(self) -> None:
        """Forget the openings that failed, so that they can be retried."""
        for count, opening in list(self.openings.items()):
            if opening.preparation.error is not None:
                del self.openings[count]


class BackgroundOpening:
    """A runner that a thread of its own opens.

    Attributes:
        task: what is prepared, for the log.
        runner: the result; None until the thread is done.
        preparation: the progress, or the failure.
    """

    def __init__(
        self,
        task: str,
        open_runner: Callable[[ProgressMonitor], Runner],
        cancelled: threading.Event,
    ) -> None:
        """Start the thread.

        Args:
            task: what is prepared, for the log.
            open_runner: opens the runner, and reports its progress to the monitor.
            cancelled: set to cancel.
        """
        self.task = task
        self.runner: Runner | None = None
        self.preparation = Preparation()
        self._open = open_runner
        self._monitor = ProgressMonitor(self._note, cancelled)
        threading.Thread(target=self._run, name="referdino opening", daemon=True).start()

    def _note(self, progress: Progress) -> None:
        self.preparation = Preparation(progress.fraction)

    def _run(self) -> None:
        try:
            runner = self._open(self._monitor)
        except Exception as error:
            if not self._monitor.cancelled.is_set():
                logger.warning("Getting ready for %s failed: %s", self.task, one_line(error))
            self.preparation = replace(self.preparation, error=one_line(error))
        else:
            logger.info("Ready for %s.", self.task)
            self.runner = runner


def padded_text(text: TextFeatures, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Encoded sentences padded to `count` tokens, the added ones visible to themselves alone.

    Returns:
        The grounder's inputs text, text_padding, text_attention and text_positions.
    """
    length = text.tokens.shape[1]
    more = count - length
    attention = torch.eye(count, dtype=torch.bool, device=text.tokens.device)
    attention = attention.repeat(len(text.tokens), 1, 1)
    attention[:, :length, :length] = text.attention
    return (
        F.pad(text.tokens, (0, 0, 0, more)),
        F.pad(text.padding, (0, more), value=True),
        attention,
        F.pad(text.positions, (0, more)).to(torch.int32),
    )


def padded_window(window: Window, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Windows whose texts are padded to `count` tokens.

    Returns:
        The readout's inputs queries, references, text, text_padding and ages.
    """
    more = count - window.text.shape[2]
    return (
        window.queries,
        window.references,
        F.pad(window.text, (0, 0, 0, more)),
        F.pad(window.text_padding, (0, more), value=True),
        window.ages,
    )


def run_in_batches(
    run: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]],
    inputs: Mapping[str, Tensor],
    batch_size: int | None,
) -> Mapping[str, Tensor]:
    """Run a stage on inputs of N commands, at most `batch_size` of them in a call; None is all."""
    count = len(next(iter(inputs.values())))
    if batch_size is None or count <= batch_size:
        return run(inputs)
    parts: dict[str, list[Tensor]] = {}
    for first in range(0, count, batch_size):
        outputs = run({name: one[first : first + batch_size] for name, one in inputs.items()})
        for name, tensor in outputs.items():
            # The next run may overwrite its predecessor's outputs.
            parts.setdefault(name, []).append(tensor.clone())
    return {name: torch.cat(tensors) for name, tensors in parts.items()}
