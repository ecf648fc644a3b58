# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Homes that are not there or cannot be written: one line that says which variable to set."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import referdino_core as rd
from referdino_core.backends.tensorrt.engine_cache import EngineCache, EngineCacheError
from referdino_core.batch.recordings import read_list
from referdino_core.building import load_model
from referdino_core.errors import ExportError
from referdino_core.export.cache import ExportCache
from referdino_core.progress import ProgressMonitor
from referdino_core.user_files import cache_directory, cannot_be_written, user_path

pytestmark = pytest.mark.slow

STRANGER = 54321
"""A user id that no machine has in its list of users."""

# As a container with --user runs it. What is not loaded before cannot be where the interpreter
# belongs to root.
PROGRAM = f"""
import os, sys, referdino_core.building, referdino_core.cli.program
os.setgroups([]); os.setgid({STRANGER}); os.setuid({STRANGER})
sys.exit(referdino_core.cli.program.main(sys.argv[1:]))
"""


def as_stranger(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user without a home, with no home but what is given."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    without = ("HOME", "XDG_CACHE_HOME", "REFERDINO_CACHE")
    environment = {
        name: value
        for name, value in os.environ.items()
        # Coverage would be measured in a folder that this user cannot write, and say so.
        if name not in without and not name.startswith("COVERAGE_")
    }
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


def open_to_all(folder: Path) -> Path:
    """A folder that anyone can reach, and nobody but its owner can write."""
    for place in (folder, *folder.parents):
        if place.owner() == "root" and place != Path("/tmp") and place.is_relative_to("/tmp"):
            place.chmod(place.stat().st_mode | stat.S_IROTH | stat.S_IXOTH)
    return folder


def test_without_a_home_a_download_says_which_variable_to_set() -> None:
    outcome = as_stranger("download", "bert")
    assert (outcome.returncode, outcome.stdout) == (1, "")
    [line] = outcome.stderr.splitlines()
    assert "There is no home directory" in line
    assert "set REFERDINO_CACHE" in line


def test_without_a_home_the_bundled_model_is_described() -> None:
    outcome = as_stranger("info")
    assert outcome.returncode == 0, outcome.stderr
    assert "is bundled" in outcome.stdout
    assert "set REFERDINO_CACHE" in outcome.stdout


@pytest.mark.parametrize("home", ["/", "/nonexistent", "/root"])
def test_a_home_that_cannot_be_written_is_named_with_the_variable(home: str) -> None:
    outcome = as_stranger("download", "bert", HOME=home)
    assert outcome.returncode == 1
    progress, line = outcome.stderr.splitlines()
    assert "Downloading " in progress
    assert f"{home.rstrip('/')}/.cache/referdino" in line
    assert "set REFERDINO_CACHE to a writable folder" in line


def test_a_cache_of_another_user_counts_as_empty(tmp_path: Path) -> None:
    hidden = tmp_path / "cache"
    hidden.mkdir(mode=0o700)
    open_to_all(tmp_path)
    outcome = as_stranger("download", "--list", REFERDINO_CACHE=str(hidden))
    assert outcome.returncode == 0, outcome.stderr
    assert "here" not in outcome.stdout.split("kept in")[0].split()


def test_a_home_of_nobody_is_named() -> None:
    for read in (user_path, lambda path: load_model(path, "cpu")):
        with pytest.raises(rd.ReferDINOError, match=r"no home directory for '~no-such-user/x.pth'"):
            read("~no-such-user/x.pth")


def test_a_line_of_a_list_with_a_home_of_nobody_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("~no-such-user/a.mcap\n")
    with pytest.raises(rd.ReferDINOError, match="no-such-user"):
        read_list(tmp_path / "list.txt")


def test_a_cache_variable_with_a_home_of_nobody_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFERDINO_CACHE", "~no-such-user/cache")
    with pytest.raises(rd.ReferDINOError, match="no-such-user"):
        cache_directory()


def test_exports_and_engines_that_cannot_be_kept_name_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("where a folder would have to be")
    monkeypatch.setenv("REFERDINO_CACHE", str(tmp_path / "file" / "cache"))
    exports = ExportCache.of(rd.build("nano"), "fp32", "gather")
    with (
        pytest.raises(ExportError, match="set REFERDINO_CACHE"),
        exports.locked(exports.folder / "x", ProgressMonitor()),
    ):
        pass
    with pytest.raises(EngineCacheError, match="set REFERDINO_CACHE"):
        EngineCache(cache_directory() / "engines")


def test_a_folder_that_the_user_named_is_told_without_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REFERDINO_CACHE", str(tmp_path / "cache"))
    line = cannot_be_written(tmp_path / "own" / "x.pth", PermissionError(13, "Permission denied"))
    assert line == f"{tmp_path}/own/x.pth cannot be written: Permission denied."
