# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Calibration: the fit finds the true temperature and bias; the weights take them in exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import referdino_core as rd
from referdino_core.checkpoint import load_checkpoint, save_weights
from referdino_core.training import calibration, recipe
from referdino_core.training.calibration import calibrate, calibration_error, fit, sigmoid
from referdino_core.world import VOCABULARY


def answers(slope: float, bias: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, 20000)
    return logits, generator.random(20000) < sigmoid(slope * logits + bias)


def test_the_true_slope_and_bias_are_found() -> None:
    found = fit(*answers(0.6, -1.0))
    assert found.slope == pytest.approx(0.6, abs=0.03)
    assert found.bias == pytest.approx(-1.0, abs=0.05)
    assert found.error_after < 0.02 < found.error_before


def test_scores_that_are_right_as_often_as_they_say_have_no_error() -> None:
    logits, right = answers(1.0, 0.0)
    assert calibration_error(sigmoid(logits), right) < 0.02
    assert calibration_error(np.full(100, 0.95), np.zeros(100, bool)) == pytest.approx(0.95)


def test_the_readout_takes_the_calibration_in(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = rd.build("nano", num_queries=20)
    queries, text = torch.randn(1, 5, 128), torch.randn(1, 4, 128)
    padding = torch.zeros(1, 4, dtype=torch.bool)
    before = model.readout.similarity(queries, text, padding)
    monkeypatch.setattr(calibration, "best_slots", lambda *_: answers(0.6, -1.0))
    found = calibrate(model, [])
    after = model.readout.similarity(queries, text, padding)
    torch.testing.assert_close(after, found.slope * before + found.bias, rtol=1e-4, atol=1e-4)


def test_scores_that_fall_with_being_right_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "best_slots", lambda *_: answers(-1.0, 0.0))
    with pytest.raises(ValueError, match="fall"):
        calibrate(rd.build("nano", num_queries=20), [])


def test_the_mean_of_several_runs_is_saved_calibrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, files = [], []
    for seed in range(3):
        torch.manual_seed(seed)
        models.append(rd.build("nano"))
        files.append(tmp_path / f"{seed}.safetensors")
        save_weights(models[-1], files[-1])
    monkeypatch.setattr(recipe, "render", lambda *_: [])
    monkeypatch.setattr(recipe, "ground_world", lambda *_: [])
    monkeypatch.setattr(calibration, "best_slots", lambda *_: answers(1.0, 0.0))
    recipe.average(tmp_path / "mean", recipe.Recipe(), files)

    found = rd.build("nano")
    load_checkpoint(found, tmp_path / "mean" / "nano.safetensors")
    for name, own in found.image_encoder.named_parameters():
        mean = sum(dict(one.image_encoder.named_parameters())[name] for one in models) / 3
        torch.testing.assert_close(own, mean, rtol=2e-3, atol=2e-3)
    assert (tmp_path / "mean" / "vocabulary.txt").read_text().split()[-1] == VOCABULARY[-1]
