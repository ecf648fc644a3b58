# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""How many CPU threads a model gets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

import referdino_core as rd
from referdino_core.installation import SHARED_FROM, choose_threads


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_the_small_model_gets_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert choose_threads(rd.build("nano")) == 1 == torch.get_num_threads()


def test_a_large_network_keeps_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert choose_threads(nn.Linear(SHARED_FROM, 1, device="meta")) == 2


def test_the_user_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert choose_threads(rd.build("nano")) == 2
