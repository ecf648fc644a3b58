# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Repeated GPU work as CUDA graphs: one launch in place of hundreds."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from referdino_core.errors import EngineError, one_line

logger = logging.getLogger("referdino.runtime")

MAX_GRAPHS = 8
"""Kept per function: one for each number of images, commands and frames that recurs."""

TensorFunction = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True)
class RecordedGraph:
    """A CUDA graph with the tensors that it reads and those that each replay overwrites."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class GraphedFunction:
    """A function that runs eagerly when a signature first occurs, and as a CUDA graph afterwards.

    The second call with a signature records the graph, later ones replay it. The outputs belong to
    the graph: the next call with this signature overwrites them. A function that cannot be recorded
    runs eagerly every time, after one warning.

    Args:
        function: from tensors to tensors, with the same work for the same signature.
        device: the GPU.
        in_place: indices of the inputs that are read in place, because another graph writes
            them; the others are copied. A graph is recorded anew when such an address changes.
        stream: the stream of the function, in order with PyTorch's current stream; None is the
            current stream itself.
        max_graphs: number of graphs that are kept; the least recently used is dropped.
        can_record: False runs the function eagerly in all cases.
    """

    def __init__(
        self,
        function: TensorFunction,
        device: torch.device,
        *,
        in_place: frozenset[int] = frozenset(),
        stream: torch.cuda.Stream | None = None,
        max_graphs: int = MAX_GRAPHS,
        can_record: bool = True,
    ) -> None:
        self.function = function
        self.device = device
        self.in_place = in_place
        self.stream = stream
        self.max_graphs = max_graphs
        self.can_record = can_record
        self.graphs: OrderedDict[Hashable, RecordedGraph | None] = OrderedDict()

    def __call__(self, *inputs: Tensor, key: Hashable = None) -> tuple[Tensor, ...]:
        """Call the function; returns its outputs.

        Args:
            inputs: whose shapes are part of the signature.
            key: the rest of the signature: whatever else the recorded work depends on, such as
                addresses and shapes of tensors that are not inputs.
        """
        signature = (key, *(tuple(tensor.shape) for tensor in inputs))
        with self._on_stream():
            if not self.can_record:
                return self.function(*inputs)
            if signature not in self.graphs:
                self.graphs[signature] = None
                self._drop_oldest()
                return self.function(*inputs)
            self.graphs.move_to_end(signature)
            recorded = self.graphs[signature]
            if recorded is None or self._has_moved(recorded, inputs):
                recorded = self._record(inputs)
                if recorded is None:
                    return self.function(*inputs)
                self.graphs[signature] = recorded
            for index, (static, given) in enumerate(zip(recorded.inputs, inputs, strict=True)):
                if index not in self.in_place:
                    static.copy_(given)
            recorded.graph.replay()
            return recorded.outputs

    def synchronize(self) -> None:
        """Wait until all work on the function's own stream, if it has one, is done."""
        if self.stream is not None:
            self.stream.synchronize()

    @contextmanager
    def _on_stream(self) -> Iterator[None]:
        """Run on the function's stream, synchronised with the current stream before and after."""
        if self.stream is None:
            yield
            return
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            yield
        current.wait_stream(self.stream)

    def _drop_oldest(self) -> None:
        """Free the least recently used graph, after it has finished, if there are too many."""
        while len(self.graphs) > self.max_graphs:
            _, dropped = self.graphs.popitem(last=False)
            if dropped is not None:
                self.synchronize()

    def _has_moved(self, recorded: RecordedGraph, inputs: tuple[Tensor, ...]) -> bool:
        """Whether an input that is read in place has another address than it had."""
        return any(
            recorded.inputs[index].data_ptr() != inputs[index].data_ptr() for index in self.in_place
        )

    def _record(self, inputs: tuple[Tensor, ...]) -> RecordedGraph | None:
        """Record the function; None, after one warning in the log, if that is impossible."""
        static = tuple(
            tensor if index in self.in_place else tensor.clone()
            for index, tensor in enumerate(inputs)
        )
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(self.device)
        try:
            # Other threads may go on using the device meanwhile.
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                outputs = tuple(self.function(*static))
        except (EngineError, RuntimeError) as error:
            self.can_record = False
            logger.warning(
                "A stage cannot be recorded as a CUDA graph and runs kernel by kernel, which is "
                "slower: %s",
                one_line(error),
            )
            return None
        return RecordedGraph(graph, static, outputs)
