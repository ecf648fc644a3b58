# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Checking and running engines: a real library loads none without a GPU, so both are simulated."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from simulated_export import network_content, stage_inputs
from simulated_tensorrt import (
    SIZES,
    Simulation,
    simulate,
)

from referdino_core.backends.cuda_graph import GraphedFunction
from referdino_core.backends.tensorrt.engine import TensorRTEngine
from referdino_core.backends.tensorrt.library import forwarding_logger
from referdino_core.backends.tensorrt.networks import AxisRange
from referdino_core.errors import (
    EngineError,
)
from referdino_core.export.stage_io import STAGES

CPU = torch.device("cpu")
RANGES = {"N": AxisRange(1, 1, 2), "T": AxisRange(1, 3, 3)}


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Simulation:
    return simulate(monkeypatch)


def open_engine(simulation: Simulation, stage: str = "grounder", **content: Any) -> TensorRTEngine:
    profile = {
        tensor.name: [
            [(SIZES | sizes).get(axis, axis) for axis in tensor.axes]
            for sizes in ({"N": 1, "T": 1}, {"N": 1, "T": 3}, {"N": 2, "T": 3})
        ]
        for tensor in STAGES[stage].inputs
    }
    payload = json.dumps(network_content(stage) | {"profile": profile} | content).encode()
    return TensorRTEngine(
        payload,
        STAGES[stage],
        low_precision=torch.float16,
        ranges=RANGES,
        sizes={"H": SIZES["H"], "W": SIZES["W"], "L": SIZES["L"]},
        logger=forwarding_logger(),
        device=CPU,
    )


class TestEngine:
    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            (lambda c: c["inputs"].pop("text"), "has the tensors finest"),
            (lambda c: c["outputs"].pop("queries"), "has the tensors finest"),
            (lambda c: c["inputs"]["text"].__setitem__(1, "float16"), "text .* is torch.float16"),
            (lambda c: c["outputs"]["queries"].__setitem__(1, "int8"), "queries .* is None"),
            (lambda c: c["inputs"]["text"][0].pop(), "text has 2 axes, 3 were"),
            (
                lambda c: c["inputs"]["text"].__setitem__(0, [-1, 5, 8]),
                r"text is \?x5x8, but axis L should be 4",
            ),
            (
                lambda c: c["inputs"]["text"].__setitem__(0, [1, 4, 8]),
                "axis N should be dynamic",
            ),
            (
                lambda c: c["inputs"]["tokens"].__setitem__(0, [1, -1, 8]),
                "axis S of tokens has no fixed size",
            ),
            (
                lambda c: c["outputs"]["references"].__setitem__(0, [-1, 5, 3]),
                "axis 4 should be 4",
            ),
            (
                lambda c: c["outputs"].__setitem__("finest", c["inputs"].pop("finest")),
                "finest of the grounder engine should be an input",
            ),
        ],
    )
    def test_an_engine_that_does_not_fit_its_stage_is_refused(
        self, simulation: Simulation, change: Callable[[dict], object], complaint: str
    ) -> None:
        content = network_content("grounder")
        change(content)
        with pytest.raises(EngineError, match=complaint):
            open_engine(simulation, **content)

    def test_an_engine_that_tensorrt_refuses_says_why(self, simulation: Simulation) -> None:
        simulation.can_load = False
        with pytest.raises(EngineError, match="grounder engine: version tag does not match"):
            open_engine(simulation)

    def test_addresses_of_tensors_are_handed_on_without_copies(
        self, simulation: Simulation
    ) -> None:
        engine = open_engine(simulation)
        inputs = stage_inputs("grounder", commands=2)
        for name in ("tokens", "finest"):
            inputs[name] = aligned(inputs[name])
        outputs = engine.run(inputs)
        (addresses, shapes, stream) = simulation.engines[0].contexts[0].launches[-1]
        assert stream == 7
        assert addresses["tokens"] == inputs["tokens"].data_ptr()
        assert addresses["finest"] == inputs["finest"].data_ptr()
        assert {name: addresses[name] for name in outputs} == {
            name: tensor.data_ptr() for name, tensor in outputs.items()
        }
        assert shapes["text"] == (2, 4, 8)
        assert {name: tuple(tensor.shape) for name, tensor in outputs.items()} == {
            "queries": (2, 5, 8),
            "references": (2, 5, 4),
            "fused_text": (2, 4, 8),
            "mask_features": (2, 8, 9, 16),
        }
        assert outputs["mask_features"].dtype == torch.float16
        assert outputs["queries"].dtype == torch.float32

    def test_other_inputs_are_copied_to_where_they_stay(self, simulation: Simulation) -> None:
        engine = open_engine(simulation)
        first, second = (stage_inputs("grounder") for _ in range(2))
        second["text"] += 1.0
        for inputs in (first, second):
            inputs["tokens"] = aligned(first["tokens"])
            engine.run(inputs)
        launches = simulation.engines[0].contexts[0].launches
        assert launches[0][0]["text"] == launches[1][0]["text"]
        buffer = engine._input_memory["text"]
        assert buffer.data_ptr() == launches[1][0]["text"]
        assert torch.equal(buffer[: second["text"].numel()], second["text"].flatten())

    def test_the_key_stays_until_a_shape_or_an_address_changes(
        self, simulation: Simulation
    ) -> None:
        engine = open_engine(simulation)
        keys = engine._graphed.keys  # type: ignore[attr-defined]
        inputs = stage_inputs("grounder")
        for name in ("tokens", "finest"):
            inputs[name] = aligned(inputs[name])
        engine.run(inputs)
        engine.run({name: aligned(tensor, keep=True) for name, tensor in inputs.items()})
        assert keys[0] == keys[1]
        engine.run(stage_inputs("grounder", commands=2) | {"tokens": inputs["tokens"]})
        assert keys[2] != keys[1]
        elsewhere = inputs | {"tokens": aligned(inputs["tokens"].clone())}
        engine.run(inputs)
        assert keys[3] == keys[1]
        engine.run(elsewhere)
        assert keys[4] != keys[3]

    def test_outputs_keep_their_place_whatever_the_shapes(self, simulation: Simulation) -> None:
        engine = open_engine(simulation, "readout")
        seen = [
            engine.run(stage_inputs("readout", commands, frames))["scores"]
            for commands, frames in ((1, 1), (2, 3), (1, 2))
        ]
        assert len({scores.data_ptr() for scores in seen}) == 1
        assert [tuple(scores.shape) for scores in seen] == [(1, 1, 5), (2, 3, 5), (1, 2, 5)]

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"text": None}, "grounder needs the input 'text'"),
            ({"text": torch.zeros(1, 4, 8).half()}, "text of grounder is torch.float16"),
            ({"text": torch.zeros(3, 4, 8)}, r"is \(3, 4, 8\), but the engine takes \(1, 4, 8\)"),
            ({"text": torch.zeros(1, 4)}, r"is \(1, 4\), but the engine takes"),
            ({"text": torch.zeros(2, 4, 8)}, "axis N of text_padding of grounder is 1, but 2 in"),
        ],
    )
    def test_tensors_that_do_not_fit_are_refused(
        self, simulation: Simulation, change: dict[str, torch.Tensor | None], complaint: str
    ) -> None:
        engine = open_engine(simulation)
        inputs = {
            name: tensor
            for name, tensor in (stage_inputs("grounder") | change).items()
            if tensor is not None
        }
        with pytest.raises(EngineError, match=complaint):
            engine.run(inputs)
        assert simulation.engines[0].contexts[0].launches == []
        engine.run(stage_inputs("grounder"))

    def test_work_that_tensorrt_refuses_is_an_error(self, simulation: Simulation) -> None:
        engine = open_engine(simulation)
        simulation.engines[0].contexts[0].accepts_work = False
        with pytest.raises(EngineError, match="refuses its work of the grounder engine"):
            engine.run(stage_inputs("grounder"))


def aligned(tensor: torch.Tensor, *, keep: bool = False) -> torch.Tensor:
    """The same values where TensorRT takes them as they are, as memory of a GPU always is."""
    if keep or tensor.data_ptr() % 256 == 0:
        return tensor
    memory = torch.empty(tensor.numel() + 256, dtype=tensor.dtype)
    start = -memory.data_ptr() % 256 // tensor.element_size()
    return memory[start : start + tensor.numel()].view(tensor.shape).copy_(tensor)


class TestGraphedFunctionOnASimulatedStream:
    @pytest.fixture
    def events(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        events: list[str] = []

        class Stream:
            cuda_stream = 7

            def __init__(self, name: str) -> None:
                self.name = name

            def wait_stream(self, other: Stream) -> None:
                events.append(f"{self.name} waits for {other.name}")

            def synchronize(self) -> None:
                events.append("host waits")

        class Graph:
            def replay(self) -> None:
                events.append("replay")

        @contextmanager
        def current(stream: Stream) -> Iterator[None]:
            yield

        @contextmanager
        def record(graph: Graph, stream: Stream, capture_error_mode: str) -> Iterator[None]:
            events.append(f"record on {stream.name} ({capture_error_mode})")
            try:
                yield
            finally:
                events.append("end of recording")

        monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
        monkeypatch.setattr(torch.cuda, "graph", record)
        monkeypatch.setattr(torch.cuda, "stream", current)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream("caller"))
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device: events.append("device waits"))
        monkeypatch.setattr(torch.cuda, "Stream", lambda: Stream("own"))
        return events

    def graphed(self, events: list[str]) -> GraphedFunction:
        def launch() -> tuple[torch.Tensor, ...]:
            events.append("launch")
            return ()

        return GraphedFunction(launch, CPU, stream=torch.cuda.Stream(), max_graphs=1)

    def run(self, graphed: GraphedFunction, events: list[str], key: object) -> list[str]:
        events.clear()
        graphed(key=key)
        assert (events[0], events[-1]) == ("own waits for caller", "caller waits for own")
        return events[1:-1]

    def test_first_launched_then_recorded_then_replayed(self, events: list[str]) -> None:
        graphed = self.graphed(events)
        assert self.run(graphed, events, "a") == ["launch"]
        recording = ["device waits", "record on own (thread_local)", "launch", "end of recording"]
        assert self.run(graphed, events, "a") == [*recording, "replay"]
        assert self.run(graphed, events, "a") == ["replay"]
        assert self.run(graphed, events, "b") == ["host waits", "launch"]
        assert self.run(graphed, events, "b") == [*recording, "replay"]
        assert self.run(graphed, events, "a") == ["host waits", "launch"]

    def test_work_that_cannot_be_recorded_is_launched_and_said_once(
        self, events: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        graphed = self.graphed(events)
        self.run(graphed, events, "a")

        def launch() -> tuple[torch.Tensor, ...]:
            if events[-1].startswith("record "):
                raise EngineError("not while recording")
            events.append("launch")
            return ()

        graphed.function = launch
        for _ in range(2):
            assert self.run(graphed, events, "a")[-1] == "launch"
        (record,) = caplog.records
        assert "runs kernel by kernel" in record.getMessage()
        assert "not while recording" in record.getMessage()

    def test_work_that_must_not_be_recorded_is_launched_every_time(self, events: list[str]) -> None:
        graphed = self.graphed(events)
        graphed.can_record = False
        for _ in range(3):
            assert self.run(graphed, events, "a") == ["launch"]
