# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Which tests run with the oldest releases."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from repository import REPOSITORY, TESTS

pytestmark = pytest.mark.slow

SCRIPT = REPOSITORY / "setup" / "oldest_versions.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    return importlib.import_module("oldest_versions")


def test_tests_run_with_the_oldest_releases_unless_something_that_they_need_is_named(
    script: ModuleType,
) -> None:
    chosen = set(script.tests())
    assert "test/session/test_session.py" in chosen
    assert "test/network/test_goldens.py" in chosen
    assert "test/replay/test_mcap_file.py" in chosen
    assert not [name for name in chosen if name.startswith("test/ros/")]


def test_every_pattern_of_what_is_left_out_fits_a_test(script: ModuleType) -> None:
    for pattern in " ".join(script.LEFT_OUT.values()).split():
        assert list(TESTS.glob(pattern)), pattern


def test_without_the_right_interpreter_the_script_says_that_nothing_was_run(tmp_path: Path) -> None:
    other = tmp_path / "python3.10"
    other.write_text("#!/bin/sh\necho 3.9\n")
    other.chmod(0o755)
    for python in (other, tmp_path / "missing"):
        outcome = subprocess.run(
            [sys.executable, SCRIPT],
            env={**os.environ, "OLDEST_PYTHON": str(python)},
            capture_output=True,
            text=True,
        )
        assert outcome.returncode == 1
        assert outcome.stderr.startswith(f"test-oldest: not run: {python} is no Python 3.10")
        assert outcome.stderr.count("\n") == 1
