# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""When a stage is recorded, recorded anew and replayed, with a stand-in for CUDA graphs."""

from __future__ import annotations

import logging

import pytest
import torch
from simulated_graphs import RecordableStage, Simulation, simulate_graphs
from torch import Tensor

from referdino_core.backends.cuda_graph import MAX_GRAPHS, GraphedFunction

CPU = torch.device("cpu")


def double(first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
    """Twice the first input plus the second, and their difference."""
    return 2 * first + second, first - second


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Simulation:
    return simulate_graphs(monkeypatch)


@pytest.fixture
def stage(simulation: Simulation) -> RecordableStage:
    return RecordableStage(double, simulation)


def numbers(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, generator=generator), torch.randn(count, generator=generator)


def assert_answers(
    graphed: GraphedFunction, stage: RecordableStage, *inputs: Tensor
) -> tuple[Tensor, ...]:
    before = [one.clone() for one in inputs]
    expected = stage.compute(*inputs)
    found = graphed(*inputs)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(inputs, before, strict=True):
        assert torch.equal(one, other)
    return found


def test_the_first_call_is_plain_the_second_is_recorded_the_third_is_replayed(
    simulation: Simulation, stage: RecordableStage
) -> None:
    graphed = GraphedFunction(stage, CPU)
    assert_answers(graphed, stage, *numbers(5, seed=0))
    assert (stage.calls, len(simulation.graphs)) == (1, 0)

    second = assert_answers(graphed, stage, *numbers(5, seed=1))
    assert (stage.calls, len(simulation.graphs)) == (2, 1)
    assert simulation.graphs[0].replays == 1
    assert simulation.synchronised == 1
    assert simulation.modes == ["thread_local"]

    for seed in (2, 3):
        again = assert_answers(graphed, stage, *numbers(5, seed=seed))
        assert [one.data_ptr() for one in again] == [one.data_ptr() for one in second]
    assert (stage.calls, len(simulation.graphs), simulation.graphs[0].replays) == (2, 1, 3)


def test_every_shape_has_a_graph_of_its_own(simulation: Simulation, stage: RecordableStage) -> None:
    graphed = GraphedFunction(stage, CPU)
    for seed in range(4):
        for count in (3, 7):
            assert_answers(graphed, stage, *numbers(count, seed))
    assert [graph.replays for graph in simulation.graphs] == [3, 3]
    assert stage.calls == 4


def test_inputs_are_copied_wherever_they_lie(
    simulation: Simulation, stage: RecordableStage
) -> None:
    graphed = GraphedFunction(stage, CPU)
    held = [numbers(6, seed) for seed in range(6)]
    for first, second in held:
        assert_answers(graphed, stage, first, second)
    assert len(simulation.graphs) == 1
    # The copies are the graph's own: what was given may change or go.
    (recorded,) = graphed.graphs.values()
    assert recorded is not None
    addresses = {one.data_ptr() for pair in held for one in pair}
    assert not addresses & {one.data_ptr() for one in recorded.inputs}


def test_an_input_in_place_is_read_where_it_lies_and_the_other_is_copied(
    simulation: Simulation, stage: RecordableStage
) -> None:
    graphed = GraphedFunction(stage, CPU, in_place=frozenset((0,)))
    first, _ = numbers(4)
    for seed in range(5):
        first.copy_(numbers(4, seed)[0])  # as another graph writes it
        assert_answers(graphed, stage, first, numbers(4, seed)[1])
    assert [graph.replays for graph in simulation.graphs] == [4]
    (recorded,) = graphed.graphs.values()
    assert recorded is not None
    assert recorded.inputs[0] is first


def test_a_moved_input_in_place_is_recorded_anew(
    simulation: Simulation, stage: RecordableStage
) -> None:
    graphed = GraphedFunction(stage, CPU, in_place=frozenset((0,)))
    here, there = numbers(4, seed=1)[0], numbers(4, seed=2)[0]
    for seed, first in enumerate((here, here, here, there, there, here)):
        assert_answers(graphed, stage, first, numbers(4, seed)[1])
    assert [graph.replays for graph in simulation.graphs] == [2, 2, 1]
    assert len(graphed.graphs) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        RuntimeError("operation not permitted when stream is capturing\nmore lines"),
        torch.OutOfMemoryError("no memory for the graph"),
    ],
)
def test_a_stage_that_cannot_be_recorded_runs_plainly_and_says_so_once(
    simulation: Simulation,
    stage: RecordableStage,
    caplog: pytest.LogCaptureFixture,
    refusal: Exception,
) -> None:
    graphed = GraphedFunction(stage, CPU)
    simulation.refusal = refusal
    with caplog.at_level(logging.WARNING, logger="referdino.runtime"):
        for seed in range(5):
            for count in (3, 8):
                assert_answers(graphed, stage, *numbers(count, seed))
    (line,) = [one.message for one in caplog.records if one.name == "referdino.runtime"]
    assert "cannot be recorded as a CUDA graph" in line
    assert line.endswith(str(refusal).splitlines()[0])
    assert len(simulation.graphs) == 1
    assert simulation.graphs[0].replays == 0
    assert stage.calls == 11  # every call, and the recording that failed


def test_a_later_failure_leaves_what_runs_with_its_answers(
    simulation: Simulation, stage: RecordableStage
) -> None:
    graphed = GraphedFunction(stage, CPU)
    for seed in range(3):
        assert_answers(graphed, stage, *numbers(3, seed))
    simulation.refusal = RuntimeError("no more")
    for seed in range(3):
        for count in (3, 9):
            assert_answers(graphed, stage, *numbers(count, seed))
    assert simulation.graphs[1].replays == 0


def test_no_more_graphs_are_kept_than_allowed_and_the_oldest_goes_first(
    simulation: Simulation, stage: RecordableStage
) -> None:
    graphed = GraphedFunction(stage, CPU)
    for count in range(1, MAX_GRAPHS + 1):
        assert_answers(graphed, stage, *numbers(count))
        assert_answers(graphed, stage, *numbers(count))
    assert len(simulation.graphs) == MAX_GRAPHS
    assert_answers(graphed, stage, *numbers(1))  # used again: not the oldest any more
    assert_answers(graphed, stage, *numbers(100))
    kept = [signature[1][0] for signature in graphed.graphs]
    assert len(kept) == MAX_GRAPHS
    assert 1 in kept and 100 in kept and 2 not in kept
    for count in range(200, 230):
        assert_answers(graphed, stage, *numbers(count))
        assert len(graphed.graphs) <= MAX_GRAPHS
    calls, graphs = stage.calls, len(simulation.graphs)
    assert_answers(graphed, stage, *numbers(1))  # forgotten: plain again, then recorded
    assert (stage.calls, len(simulation.graphs)) == (calls + 1, graphs)
    assert_answers(graphed, stage, *numbers(1))
    assert len(simulation.graphs) == graphs + 1
