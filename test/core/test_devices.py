# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Where the network runs: chosen by itself, and told where a GPU is left unused."""

from __future__ import annotations

import logging

import pytest
import torch

import referdino_core as rd
from referdino_core.building import load_model, usable_device


@pytest.fixture
def simulated_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch believes that there is a GPU; nothing can run on it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Simulated 9000")


def test_auto_is_the_cpu_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert usable_device("auto") == torch.device("cpu")
    assert rd.Session("nano").device == "cpu"


def test_auto_asks_for_a_simulated_gpu(
    monkeypatch: pytest.MonkeyPatch, simulated_gpu: None
) -> None:
    asked = []
    monkeypatch.setattr(torch, "empty", lambda *size, device: asked.append(device))
    assert usable_device("auto") == torch.device("cuda")
    assert asked == [torch.device("cuda")]


def test_auto_leaves_a_built_model_where_it_is_beside_a_simulated_gpu(
    simulated_gpu: None, caplog: pytest.LogCaptureFixture
) -> None:
    model = rd.build("nano")
    assert load_model(model, "auto").device == torch.device("cpu")
    assert not caplog.records


def test_cpu_beside_a_simulated_gpu_says_so_once(
    simulated_gpu: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "referdino.session")
    assert rd.Session("nano", device="cpu").device == "cpu"
    [line] = [record.getMessage() for record in caplog.records if "GPU" in record.getMessage()]
    assert "Simulated 9000" in line
    assert "device auto or cuda uses it" in line


def test_cpu_without_a_gpu_is_no_matter(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    rd.Session("nano", device="cpu")
    assert not [record for record in caplog.records if "GPU" in record.getMessage()]
