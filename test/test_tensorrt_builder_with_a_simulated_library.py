# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Building engines with a simulated TensorRT: typing, ranges, progress, cancelling, errors."""

from __future__ import annotations

import json
import logging
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from simulated_export import network_content, write_exported_set
from simulated_tensorrt import (
    BuilderFlag,
    Simulation,
    report_phases,
    simulate,
)

from referdino_core.runtime.tensorrt import builder as builder_module
from referdino_core.runtime.tensorrt.builder import BuilderOptions, build_engine
from referdino_core.runtime.tensorrt.errors import (
    BuildCancelled,
    BuildError,
    TensorRTUnavailable,
)
from referdino_core.runtime.tensorrt.library import forwarding_logger, load_tensorrt
from referdino_core.runtime.tensorrt.progress import Heartbeat, PhaseTree
from referdino_core.runtime.tensorrt.stage_tensors import STAGES, AxisRange

RANGES = {"N": AxisRange(1, 1, 2), "T": AxisRange(1, 3, 3)}


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Simulation:
    return simulate(monkeypatch)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    return write_exported_set(tmp_path / "swint")


def build(folder: Path, stage: str = "grounder", **settings: Any) -> dict[str, Any]:
    options = settings.pop("options", BuilderOptions())
    payload = build_engine(
        folder / f"{stage}.onnx", STAGES[stage], RANGES, options, forwarding_logger(), **settings
    )
    return json.loads(payload)


class TestBuilder:
    @pytest.mark.parametrize(("version", "flags"), [("10.0.1", 2), ("10.13.3.9", 2), ("11.4.0", 0)])
    def test_networks_are_strongly_typed_in_every_release(
        self,
        simulation: Simulation,
        exported: Path,
        monkeypatch: pytest.MonkeyPatch,
        version: str,
        flags: int,
    ) -> None:
        simulation.version = version
        monkeypatch.setitem(sys.modules, "tensorrt", simulation.module())
        build(exported)
        assert [network.flags for network in simulation.networks] == [flags]

    @pytest.mark.parametrize("version", ["8.6.1", "9.3.0"])
    def test_releases_without_strong_typing_are_refused(
        self, simulation: Simulation, monkeypatch: pytest.MonkeyPatch, version: str
    ) -> None:
        simulation.version = version
        monkeypatch.setitem(sys.modules, "tensorrt", simulation.module())
        with pytest.raises(TensorRTUnavailable, match=f"{version} is too old: 10.0 or later"):
            load_tensorrt()

    def test_only_commands_and_frames_get_a_range(
        self, simulation: Simulation, exported: Path
    ) -> None:
        profile = build(exported, "readout")["profile"]
        assert profile["text"] == [[1, 1, 4, 8], [1, 3, 4, 8], [2, 3, 4, 8]]
        assert profile["references"] == [[1, 5, 4], [1, 5, 4], [2, 5, 4]]
        assert build(exported, "image_encoder")["profile"] == {}
        tokens = build(exported, "grounder")["profile"]
        assert "tokens" not in tokens, "an input of fixed shape needs none"

    def test_options_reach_tensorrt(self, simulation: Simulation, exported: Path) -> None:
        build(exported, options=BuilderOptions(workspace_gib=1.5, tf32=True))
        build(exported)
        changed, usual = simulation.configs
        assert list(changed.pools.values()) == [3 << 29]
        assert changed.builder_flags == {BuilderFlag.TF32}
        assert usual.pools == {}
        assert usual.builder_flags == set(), "float32 stays float32 unless asked for"

    def test_all_that_the_parser_complains_of_is_one_error(
        self, simulation: Simulation, exported: Path
    ) -> None:
        simulation.unknown_nodes = 7
        with pytest.raises(BuildError) as caught:
            build(exported)
        message = str(caught.value)
        assert f"TensorRT does not understand {exported / 'grounder.onnx'}: node 0" in message
        assert "node 4 (NonZero /layer.4): operator 4 is not known; and 2 more." in message
        assert "\n" not in message

    def test_a_build_that_fails_says_why(self, simulation: Simulation, exported: Path) -> None:
        simulation.can_build = False
        with pytest.raises(BuildError, match="grounder engine: no tactic for the layer"):
            build(exported)

    def test_a_network_of_another_stage_is_refused(
        self, simulation: Simulation, exported: Path
    ) -> None:
        (exported / "readout.onnx").replace(exported / "grounder.onnx")
        with pytest.raises(BuildError, match="the grounder network takes ages, mask_features"):
            build(exported)

    def test_an_image_size_that_may_change_is_refused(
        self, simulation: Simulation, exported: Path
    ) -> None:
        content = network_content("image_encoder")
        content["inputs"]["pixels"][0] = [1, 3, -1, 64]
        (exported / "image_encoder.onnx").write_text(json.dumps(content))
        with pytest.raises(BuildError, match="axis H of pixels"):
            build(exported, "image_encoder")

    def test_timing_cache_is_used_added_to_and_replaced_where_it_is_foreign(
        self, simulation: Simulation, exported: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = exported / "timing.cache"
        build(exported, timing_cache=path)
        build(exported, timing_cache=path)
        assert path.read_bytes() == b"++"
        path.write_bytes(b"other GPU")
        build(exported, timing_cache=path)
        assert path.read_bytes() == b"+"
        assert [record.getMessage() for record in caplog.records] == [
            "timing.cache is not used: TensorRT does not accept it; starting it afresh"
        ]

    def test_progress_rises_from_phase_to_phase(
        self, simulation: Simulation, exported: Path
    ) -> None:
        simulation.phases = report_phases
        told: list[tuple[float, str]] = []
        build(exported, on_phase=lambda fraction, phase: told.append((fraction, phase)))
        fractions = [fraction for fraction, _ in told]
        assert fractions == sorted(fractions)
        assert 0.9 < fractions[-1] <= 1.0
        assert {phase for _, phase in told} == {"Building", "Timing"}
        assert len(set(fractions)) > 5

    def test_cancelling_ends_the_build_at_its_next_step(
        self, simulation: Simulation, exported: Path
    ) -> None:
        simulation.phases = report_phases
        cancelled = threading.Event()
        told: list[str] = []

        def cancel(fraction: float, phase: str) -> None:
            told.append(phase)
            if phase == "Timing":
                cancelled.set()

        with pytest.raises(BuildCancelled, match="grounder engine was cancelled"):
            build(exported, on_phase=cancel, cancelled=cancelled)
        assert len(told) <= 4
        with pytest.raises(BuildCancelled):
            build(exported, cancelled=cancelled)
        assert len(simulation.networks) == 1, "what is cancelled before does not begin"

    def test_an_error_in_a_callback_ends_the_build_and_is_raised(
        self, simulation: Simulation, exported: Path
    ) -> None:
        simulation.phases = report_phases

        def fail(fraction: float, phase: str) -> None:
            raise RuntimeError("the node is gone")

        with pytest.raises(RuntimeError, match="the node is gone"):
            build(exported, on_phase=fail)

    def test_a_long_phase_is_heard_of_in_the_log(
        self,
        simulation: Simulation,
        exported: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.INFO, logger="referdino")
        heard = threading.Event()
        monkeypatch.setattr(
            builder_module, "Heartbeat", lambda describe: Heartbeat(describe, seconds=0.01)
        )

        class Listener(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                heard.set()

        def wait_within_a_phase(monitor: Any) -> bool:
            monitor.phase_start("Timing", None, 2)
            monitor.step_complete("Timing", 0)
            return heard.wait(60)

        simulation.phases = wait_within_a_phase
        listener = Listener()
        logging.getLogger("referdino.tensorrt").addHandler(listener)
        try:
            build(exported)
        finally:
            logging.getLogger("referdino.tensorrt").removeHandler(listener)
        line = caplog.records[0].getMessage()
        assert line.startswith("building the grounder engine: 48%, Timing (0 s)")


class TestPhaseTree:
    def test_one_phase_counts_its_steps(self) -> None:
        tree = PhaseTree()
        tree.start("all", None, 4)
        seen = []
        for step in range(4):
            tree.complete_step("all", step)
            seen.append(tree.fraction)
        assert seen == pytest.approx([0.2375, 0.475, 0.7125, 0.95])

    def test_it_never_falls_whatever_is_reported(self) -> None:
        tree = PhaseTree()
        seen = [tree.fraction]
        for name, parent in (("a", None), ("b", "a"), ("c", "b"), ("d", "nobody")):
            tree.start(name, parent, 3)
            seen.append(tree.fraction)
        for name in ("c", "c", "b", "d", "a", "unknown"):
            tree.complete_step(name, 1)
            tree.complete_step(name, 0)
            seen.append(tree.fraction)
        for name in ("b", "c", "a", "d", "unknown"):
            tree.finish(name)
            seen.append(tree.fraction)
        assert seen == sorted(seen)
        assert 0.95 < seen[-1] <= 1.0

    def test_more_steps_than_announced_stay_within_the_phase(self) -> None:
        tree = PhaseTree()
        tree.start("a", None, 0)
        tree.complete_step("a", 9)
        assert tree.fraction == pytest.approx(0.95)
