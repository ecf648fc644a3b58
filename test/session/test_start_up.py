# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What a session needs before its first frame: few imports, and no weights that nobody reads."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch import nn

import referdino_core as rd
from referdino_core.configuration import NANO
from referdino_core.network.bert import Bert
from referdino_core.network.uninitialised_weights import UninitialisedWeights

IMPORTS = """
import sys
import torch, scipy.optimize
before = set(sys.modules)
import referdino_core
referdino_core.Session("nano").command("the red ball")
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
print(*sorted(name for name in set(sys.modules) - before if name.startswith("torch.")))
"""


def test_a_session_imports_little_beside_pytorch_and_scipy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True, timeout=200
    )
    packages, parts_of_pytorch = (line.split() for line in done.stdout.splitlines())
    third_party = set(packages) - set(sys.stdlib_module_names) - {"referdino_core"}
    assert third_party <= {"numpy", "safetensors", "packaging"}
    assert not [part for part in parts_of_pytorch if "_dynamo" in part or "_inductor" in part]


def test_uninitialised_weights_become_the_same_model_once_they_are_loaded() -> None:
    drawn = rd.build("nano")
    with UninitialisedWeights():
        model = rd.build("nano")
    model.load_state_dict(drawn.state_dict())
    for theirs, ours in ((drawn.parameters, model.parameters), (drawn.buffers, model.buffers)):
        assert all(torch.equal(*pair) for pair in zip(theirs(), ours(), strict=True))
    assert all(type(parameter) is nn.Parameter for parameter in model.parameters())


def test_uninitialised_weights_are_not_drawn() -> None:
    before = torch.get_rng_state()
    with UninitialisedWeights():
        Bert(NANO.bert), nn.Conv2d(3, 4, 2), nn.Linear(5, 6)
    assert torch.equal(torch.get_rng_state(), before)
    Bert(NANO.bert)
    assert not torch.equal(torch.get_rng_state(), before)
