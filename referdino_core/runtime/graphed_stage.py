# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A stage on an NVIDIA GPU as a CUDA graph: one launch in place of hundreds."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

logger = logging.getLogger("referdino.runtime")

MAX_GRAPHS = 8
"""Kept per stage: one for each number of images, commands and frames that recurs."""

Stage = Callable[..., tuple[Tensor, ...]]
Signature = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Recording:
    """A graph, the tensors that it reads, and those that it writes anew at every replay."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class GraphedStage:
    """Runs a stage as it is the first time that shapes occur, and from then on as a graph.

    The outputs belong to the graph: the next call with these shapes overwrites them.

    Args:
        stage: from tensors to tensors, always the same for the same shapes.
        in_place: places of the inputs that are read where they lie, because another graph writes
            them; the others are copied. A graph is recorded anew when such an address changes.
    """

    def __init__(self, stage: Stage, in_place: frozenset[int] = frozenset()) -> None:
        self.stage = stage
        self.in_place = in_place
        self.recordings: OrderedDict[Signature, Recording | None] = OrderedDict()
        self.can_record = True

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The stage's outputs."""
        signature = tuple(tuple(tensor.shape) for tensor in inputs)
        if not self.can_record or signature not in self.recordings:
            self.recordings[signature] = None
            self.forget_oldest()
            return self.stage(*inputs)
        self.recordings.move_to_end(signature)
        recording = self.recordings[signature]
        if recording is None or self.has_moved(recording, inputs):
            recording = self.record(inputs)
            if recording is None:
                return self.stage(*inputs)
            self.recordings[signature] = recording
        for place, (kept, given) in enumerate(zip(recording.inputs, inputs, strict=True)):
            if place not in self.in_place:
                kept.copy_(given)
        recording.graph.replay()
        return recording.outputs

    def forget_oldest(self) -> None:
        """Free the graph that has not been used for longest, when there are too many."""
        while len(self.recordings) > MAX_GRAPHS:
            self.recordings.popitem(last=False)

    def has_moved(self, recording: Recording, inputs: tuple[Tensor, ...]) -> bool:
        """Whether an input that is read in place lies elsewhere than it did."""
        return any(
            recording.inputs[place].data_ptr() != inputs[place].data_ptr()
            for place in self.in_place
        )

    def record(self, inputs: tuple[Tensor, ...]) -> Recording | None:
        """Record the stage; None, with one line in the log, where that cannot be done."""
        kept = tuple(
            tensor if place in self.in_place else tensor.clone()
            for place, tensor in enumerate(inputs)
        )
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(inputs[0].device)
        try:
            # Other threads may go on using the device meanwhile.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                outputs = tuple(self.stage(*kept))
        except RuntimeError as error:
            self.can_record = False
            logger.warning(
                "A stage cannot be recorded as a CUDA graph and runs kernel by kernel, which is "
                "slower: %s",
                str(error).splitlines()[0],
            )
            return None
        return Recording(graph, kept, outputs)
