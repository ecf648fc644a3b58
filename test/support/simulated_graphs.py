# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for CUDA graphs: a replay runs the stage again, into the recorded outputs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor


@dataclass
class Simulation:
    """What the stand-ins for torch.cuda have seen."""

    graphs: list[SimulatedGraph] = field(default_factory=list)
    capturing: SimulatedGraph | None = None
    synchronised: int = 0
    modes: list[str] = field(default_factory=list)
    refusal: Exception | None = None


@dataclass
class SimulatedGraph:
    simulation: Simulation
    replays: int = 0
    run: Callable[[], tuple[Tensor, ...]] | None = None
    outputs: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        self.simulation.graphs.append(self)

    def replay(self) -> None:
        assert self.run is not None, "a graph that was not recorded"
        self.replays += 1
        for kept, fresh in zip(self.outputs, self.run(), strict=True):
            kept.copy_(fresh)


class RecordableStage:
    """A stage of that function, which can be recorded and counts its calls."""

    def __init__(self, compute: Callable[..., tuple[Tensor, ...]], simulation: Simulation) -> None:
        self.compute = compute
        self.simulation = simulation
        self.calls = 0

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        self.calls += 1
        outputs = self.compute(*inputs)
        graph = self.simulation.capturing
        if graph is not None:
            graph.run = lambda: self.compute(*inputs)
            # Recording computes nothing: what is in the outputs then has no meaning.
            outputs = tuple(torch.full_like(one, torch.nan) for one in outputs)
            graph.outputs = outputs
        return outputs


def simulate_graphs(monkeypatch: pytest.MonkeyPatch) -> Simulation:
    """Let the stand-ins take the place of torch.cuda's graphs."""
    simulation = Simulation()

    @contextlib.contextmanager
    def record(graph: SimulatedGraph, stream: Any, capture_error_mode: str) -> Iterator[None]:
        simulation.modes.append(capture_error_mode)
        simulation.capturing = graph
        try:
            yield
            if simulation.refusal is not None:
                raise simulation.refusal
        finally:
            simulation.capturing = None

    def synchronize(device: Any) -> None:
        simulation.synchronised += 1

    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimulatedGraph(simulation))
    monkeypatch.setattr(torch.cuda, "graph", record)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    return simulation
