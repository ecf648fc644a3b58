# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Boards that a run can be watched on: figures and pictures in the packages' own files."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from referdino_core.cli import main
from referdino_core.training.boards import Boards, WandbPlan
from referdino_core.training.loop import LoopPlan, Source, StepLosses, TrainingLoop
from referdino_core.training.training_state import RunFiles

STEPS = 6
PICTURE = np.full((12, 16, 3), (200, 30, 60), np.uint8)


def run(folder: Path, wandb: str | None = None, most_steps: int | None = None) -> None:
    """A run of a tiny network, which shows a figure and a picture of validation at its end."""
    torch.manual_seed(0)
    network = nn.Linear(2, 1)
    optimiser = torch.optim.AdamW([{"params": network.parameters(), "highest": 0.01}])
    plan = None if wandb is None else WandbPlan(wandb, folder, {"recipe": "tiny"})
    loop = TrainingLoop(
        LoopPlan(STEPS, gradient_norm=1.0),
        network,
        (optimiser,),
        lambda step: 1.0,
        RunFiles.of_run(folder),
        wandb=plan,
    )

    def losses(step: int) -> StepLosses:
        square = network(torch.full((1, 2), float(step))).square().mean()
        return StepLosses(square, {"square": square})

    def show(step: int, boards: Boards) -> None:
        if step == STEPS:
            boards.add_figures(step, {"validation/J": 0.5})
            boards.add_pictures(step, {"validation/01": PICTURE})

    batches = range(loop.state.step, STEPS)
    loop.run(Source(batches, losses, str), most_steps=most_steps, after_step=show)


def test_tensorboard_shows_losses_validation_and_pictures_once_after_a_stop(
    tmp_path: Path,
) -> None:
    pytest.importorskip("tensorboard")
    pytest.importorskip("PIL")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "run"
    run(folder, most_steps=4)
    run(folder)
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/square")] == [1, 2, 3, 4, 5, 6]
    assert [event.value for event in events.Scalars("validation/J")] == [0.5]
    (picture,) = events.Images("validation/01")
    assert (picture.step, picture.height, picture.width) == (STEPS, 12, 16)


def test_weights_and_biases_keeps_a_run_offline_under_one_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    pytest.importorskip("PIL")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = tmp_path / "run"
    run(folder, "trials", most_steps=4)
    run(folder, "trials")
    runs = sorted((folder / "wandb").glob("offline-run-*"))
    assert len(runs) == 2
    number = (folder / "wandb" / "run_id").read_text()
    assert all(one.name.endswith(number) for one in runs)
    assert all(list(one.glob("*.wandb")) for one in runs)
    images = [path for one in runs for path in one.glob("files/media/images/validation/01*.png")]
    assert len(images) == 1


@pytest.mark.parametrize("found", (None, ModuleType("wandb")), ids=("nothing", "a folder of runs"))
def test_weights_and_biases_asked_for_and_not_installed_is_one_line(
    found: ModuleType | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", found)
    out = tmp_path / "run"
    command = ["train", "--recipe", "own_nano", "--data", str(tmp_path), "--out", str(out)]
    assert main([*command, "--wandb"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "Weights & Biases was asked for and is not installed: pip install wandb" in line
    assert not out.exists()
