# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino build-engine`: without TensorRT for real, with it simulated."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from simulated_export import write_exported_set
from simulated_tensorrt import simulate

from referdino_core.cli import main

ROOT = Path(__file__).resolve().parents[1]

# A build that goes on until it is cancelled, in a process that can be sent a Ctrl-C.
ENDLESS_BUILD = """
import sys
import pytest
from simulated_tensorrt import simulate
from referdino_core.cli import main

def endless(monitor):
    monitor.phase_start("Timing", None, 1000)
    print("building", flush=True)
    while monitor.step_complete("Timing", 0):
        pass
    return False

with pytest.MonkeyPatch.context() as patches:
    simulate(patches).phases = endless
    sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    return write_exported_set(tmp_path / "swint")


def test_help_shows_examples_and_where_engines_are_kept(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["build-engine", "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for expected in ("referdino build-engine swint", "REFERDINO_CACHE", "--workspace-gib"):
        assert expected in text


def test_the_program_lists_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "build-engine" in capsys.readouterr().out


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed here"
)
def test_without_tensorrt_one_line_says_how_to_get_it(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build-engine", str(exported)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("referdino: error: TensorRT is not to be had")
    assert "pip install tensorrt-cu12" in line


def test_a_folder_that_is_no_export_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build-engine", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"referdino: error: {tmp_path} holds no exported network (export.json is missing): "
        "write one with `referdino export`."
    )


@pytest.mark.parametrize(
    "wrong", [["--max-commands", "0"], ["--workspace-gib", "-1"], ["--workspace-gib", "much"]]
)
def test_numbers_that_make_no_sense_are_wrong_usage(
    exported: Path, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["build-engine", str(exported), *wrong])
    assert ended.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_with_a_simulated_library_it_builds_and_tells_where_the_engines_are(
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    simulation = simulate(monkeypatch)
    cache = tmp_path / "engines"
    command = ["build-engine", str(exported), "--cache", str(cache), "--max-commands", "2"]
    command += ["--workspace-gib", "1"]
    expected = ["image_encoder", "grounder", "readout"]
    for more, ending in (([], "built"), ([], "is here"), (["--force"], "built")):
        assert main([*command, *more]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == len(expected)
        for line, stage in zip(lines, expected, strict=True):
            path, _, told = line.rpartition(": ")
            assert Path(path).is_file()
            assert Path(path).parent == cache
            assert Path(path).name.startswith(f"{stage}-")
            assert told == ending
    assert len(simulation.networks) == 6
    assert {size for config in simulation.configs for size in config.pools.values()} == {1 << 30}


def test_with_a_simulated_library_ctrl_c_ends_the_build_in_good_order(
    exported: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "engines"
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS_BUILD, "build-engine", exported, "--cache", cache],
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'test'}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "building\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert output == ""
    assert errors.rstrip().endswith("referdino: stopped")
    assert "Traceback" not in errors
    assert not list(cache.glob("*.engine"))
    assert not list(cache.glob("*.partial"))
