# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The three stages: built, kept, loaded, run. That needs a GPU; it and TensorRT are simulated."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulated_export import stage_inputs, write_exported_set
from simulated_tensorrt import (
    SIZES,
    Simulation,
    report_phases,
    simulate,
)

from referdino_core.backends.tensorrt.tensorrt_backend import TensorRTRunner
from referdino_core.errors import (
    Cancelled,
    EngineError,
)
from referdino_core.export.stage_io import STAGES
from referdino_core.progress import Progress, ProgressMonitor


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Simulation:
    return simulate(monkeypatch)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    return write_exported_set(tmp_path / "swint")


class TestStages:
    def test_engines_are_built_once_and_then_loaded(
        self, simulation: Simulation, exported: Path, tmp_path: Path
    ) -> None:
        cache = tmp_path / "engines"
        told: list[Progress] = []
        simulation.phases = report_phases
        runner = TensorRTRunner(exported, cache, 2, ProgressMonitor(told.append))
        assert len(simulation.networks) == 3
        fractions = [progress.fraction for progress in told]
        assert fractions == sorted(fractions)
        assert (fractions[0], fractions[-1]) == (0.0, 1.0)
        assert list(dict.fromkeys(progress.phase.split()[0] for progress in told)) == list(STAGES)
        assert runner.sizes == SIZES
        assert runner.exported.window == 3
        assert len(list(cache.glob("*.engine"))) == 3
        assert [path.name for path in cache.glob("timing-*")] == [
            "timing-Simulated-GPU-10.13.3.9.cache"
        ]
        TensorRTRunner(exported, cache, 2)
        assert len(simulation.networks) == 3, "nothing is built a second time"

    def test_the_three_stages_run_one_after_the_other(
        self, simulation: Simulation, exported: Path, tmp_path: Path
    ) -> None:
        runner = TensorRTRunner(exported, tmp_path / "engines", 2)
        image = runner.run("image_encoder", stage_inputs("image_encoder"))
        grounded = runner.run("grounder", stage_inputs("grounder", commands=2) | image)
        chained = {"mask_features": grounded["mask_features"]}
        readings = runner.run("readout", stage_inputs("readout", commands=2, frames=3) | chained)
        assert tuple(readings["scores"].shape) == (2, 3, 5)
        assert set(readings) == {"scores", "boxes", "mask_embeddings"}

    def test_more_commands_rebuild_only_what_they_concern(
        self, simulation: Simulation, exported: Path, tmp_path: Path
    ) -> None:
        TensorRTRunner(exported, tmp_path / "engines", 2)
        TensorRTRunner(exported, tmp_path / "engines", 4)
        rebuilt = [network.content["stage"] for network in simulation.networks[3:]]
        assert rebuilt == ["grounder", "readout"]

    def test_an_engine_that_tensorrt_no_longer_loads_is_rebuilt(
        self,
        simulation: Simulation,
        exported: Path,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        TensorRTRunner(exported, tmp_path / "engines", 2)
        simulation.can_load = False
        with pytest.raises(EngineError, match="version tag does not match"):
            TensorRTRunner(exported, tmp_path / "engines", 2)
        assert len(simulation.networks) == 4, "it was built again before giving up"
        assert "is not used: TensorRT cannot load the image_encoder engine" in caplog.text

    def test_cancelling_keeps_what_is_complete(
        self, simulation: Simulation, exported: Path, tmp_path: Path
    ) -> None:
        def cancel(progress: Progress) -> None:
            if progress.phase.startswith("grounder"):
                monitor.cancelled.set()

        monitor = ProgressMonitor(cancel)

        with pytest.raises(Cancelled):
            TensorRTRunner(exported, tmp_path / "engines", 2, monitor)
        assert len(list((tmp_path / "engines").glob("*.engine"))) == 1
