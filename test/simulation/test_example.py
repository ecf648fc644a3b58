# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The example for models of one's own, run as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from referdino_core.simulation import Room
from referdino_core.world import WorldUnavailable

EXAMPLE = Path(__file__).parents[2] / "examples" / "follow_in_mujoco.py"


def run(instruction: str) -> subprocess.CompletedProcess[str]:
    try:
        Room(32, 32, 0.2)
    except WorldUnavailable as error:
        pytest.skip(str(error))
    return subprocess.run(
        [sys.executable, EXAMPLE, *instruction.split()], capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_the_example_finds_what_it_is_told_to() -> None:
    done = run("find the blue box")
    assert done.returncode == 0, done.stderr
    assert "ended: Done" in done.stdout
    assert "After 0.00 m" in done.stdout


def test_the_example_says_what_it_does_not_understand() -> None:
    done = run("follow the mug")
    assert done.returncode == 1
    assert done.stderr == "Not understood: The model does not know 'mug'.\n"
