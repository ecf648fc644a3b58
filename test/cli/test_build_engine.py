# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino build-engine`: without a library, with the real one, and on a simulated GPU."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from onnx_exports import nano_export
from real_tensorrt import PRECISION, environment, program, require_library
from simulated_export import write_exported_set
from simulated_tensorrt import simulate

from referdino_core.backends.tensorrt.library import LIBRARIES
from referdino_core.cli import main


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
    for expected in ("build-engine swint", "REFERDINO_CACHE", "--workspace-gib", "--for sm_89"):
        assert expected in text


def test_the_program_lists_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "build-engine" in capsys.readouterr().out


@pytest.mark.parametrize("more", [[], ["--for", "sm_89"]])
def test_without_a_library_one_line_says_how_to_get_it(
    exported: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
) -> None:
    for library in LIBRARIES:
        for name in library.modules:
            monkeypatch.setitem(sys.modules, name, None)
    assert main(["build-engine", str(exported), *more]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    named = "TensorRT for RTX is not" if more else "Neither TensorRT nor TensorRT for RTX is"
    assert line.startswith(f"referdino: error: {named} installed: install ")
    assert ("pip install tensorrt-cu12" in line) == (not more)
    assert "pip install tensorrt-rtx-cu13-libs" in line


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
    "wrong",
    [
        ["--max-commands", "0"],
        ["--workspace-gib", "-1"],
        ["--workspace-gib", "much"],
        ["--for", ""],
        ["--for", "sm_89,"],
    ],
)
def test_numbers_that_make_no_sense_are_wrong_usage(
    exported: Path, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["build-engine", str(exported), *wrong])
    assert ended.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_on_a_simulated_gpu_it_builds_and_tells_where_the_engines_are(
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
    for more, ending in (([], "built"), ([], "exists"), (["--force"], "built")):
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


@pytest.mark.slow
def test_ctrl_c_ends_a_build_in_good_order_and_keeps_what_is_complete(tmp_path: Path) -> None:
    require_library()
    folder = shutil.copytree(
        nano_export(PRECISION, "plugin").folder, tmp_path / "nano",
        ignore=shutil.ignore_patterns("engines"),
    )  # fmt: skip
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(program(folder), env=environment(), text=True, **pipes)
    errors = ""
    try:
        assert process.stderr is not None
        for line in process.stderr:
            errors += line
            if "grounder engine: there is none yet" in line:
                break
        process.send_signal(signal.SIGINT)
        output, rest = process.communicate(timeout=60)
    finally:
        process.kill()
    errors += rest
    assert process.returncode == 130, errors
    assert output == ""
    assert errors.rstrip().endswith("referdino: stopped")
    assert "Traceback" not in errors
    (engine,) = (folder / "engines").glob("*.engine")
    assert engine.name.startswith("image_encoder-")
    assert not list((folder / "engines").glob("*.partial"))
