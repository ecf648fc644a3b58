# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`referdino replay` as users run it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bag_samples import PERIOD, TRUTH_TOPIC, image, scene, scene_images, text, write_bag

from referdino_core.cli import main
from referdino_core.files import temporary_path
from referdino_core.replay.run_folder import RunFolder

BALL = "the small purple ball"
INTERRUPTED_WHILE_LOADING = """
import builtins, sys
from referdino_core.cli import main
load = builtins.__import__
def interrupt(name, *values):
    if name == "cv2":
        raise KeyboardInterrupt
    return load(name, *values)
builtins.__import__ = interrupt
sys.exit(main(["info"]))
"""
DETERMINISTIC = ("frames.jsonl", "results.mcap", "summary.json")


def replay(*arguments: str | Path) -> int:
    return main(["replay", *map(str, arguments), "--no-report"])


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = [*scene(6, with_truth=True), text(BALL, -PERIOD)]
    return write_bag(tmp_path_factory.mktemp("recording") / "drive", samples)


def test_a_run_prints_its_scores_and_its_folder(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"

    status = replay(
        bag, "--out", out, "--truth", f"topic:{TRUTH_TOPIC}", "--means", f"{BALL}=2",
        "--realtime-on", "150ms", "--set", "accept=0.3", "--window", "4",
    )  # fmt: skip

    lines = capsys.readouterr().out.splitlines()
    assert status == 0
    assert lines[0].startswith("6 frames: 5 processed, 1 dropped, 0 failed (nano, torch fp32)")
    assert lines[1].split() == [
        "J&F", "J", "F", "acquired", "IDF1", "switches", "lent", "lost", "alarms",
    ]  # fmt: skip
    assert lines[2].startswith(f'"{BALL}"') and lines[3].startswith("all ")
    assert "of 1)" in lines[3] and lines[4].startswith("all, streaming ")
    assert lines[-1] == str(out)
    settings = RunFolder(out).summary["settings"]
    assert (settings["accept"], settings["window"], settings["keep"]) == (0.3, 4, 0.3)


def test_the_folder_is_named_after_the_source(
    bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert replay(bag, "--topic", "/camera/image_raw", "--command", BALL, "--inputs") == 0

    assert RunFolder("drive_replay").summary["frames"]["answered"] == 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.mcap"], "missing.mcap does not exist"),
        (["missing.mp4", "--command", "a"], "missing.mp4 does not exist"),
        (["{bag}"], "choose one with --topic: /camera/image_raw, /truth/labels"),
        (["{bag}", "--topic", "/chatter"], "has no topic /chatter"),
        (["{bag}", "--commands", "missing.yaml"], "missing.yaml cannot be read"),
        (["{bag}", "--truth", "topic:/missing", "--topic", "/camera/image_raw"], "there is none"),
        (["{bag}", "--realtime-on", "fast"], "neither a time with its unit"),
        (["{bag}", "--command", "", "--topic", "/camera/image_raw"], "hold no sentence"),
        (["{bag}", "--realtime-on", "40"], "neither a time with its unit (s, ms, us)"),
        (["{bag}", "--frame-rate", "-1"], "A frame rate of -1.0 is impossible"),
        (["{bag}", "--out", "{bag}"], "is the source itself"),
        (
            ["{bag}", "--set", "speed=3"],
            "there is no 'speed'; choose one of window, select, accept",
        ),
        (["{bag}", "--set", "accept=high"], "'high' is not a number"),
        (["{bag}", "--set", "accept=7"], "accept is 7"),
    ],
)
def test_a_mistake_is_reported_in_one_line(
    bag: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    status = replay(*(one.format(bag=bag) for one in arguments))

    (line,) = [one for one in capsys.readouterr().err.splitlines() if "error:" in one]
    assert status == 1 and said in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [["--command", "a", "--command-topic", "/b"], ["--means", "a"], ["--means", "a=x"]],
)
def test_arguments_that_contradict_are_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        replay("somewhere", *arguments)

    assert caught.value.code == 2


@pytest.mark.slow
def test_after_ctrl_c_the_same_command_goes_on_to_equal_bytes(tmp_path: Path) -> None:
    samples = [image(scene_images(6)[n % 6], n * PERIOD) for n in range(30)]
    bag = write_bag(tmp_path / "long", samples)
    command = [sys.executable, "-m", "referdino_core.cli", "replay", str(bag), "--command", BALL]
    command += ["--no-report", "--out"]
    stopped = subprocess.Popen([*command, str(tmp_path / "stopped")], stderr=subprocess.PIPE)
    journal = temporary_path(tmp_path / "stopped" / "frames.jsonl")
    deadline = time.monotonic() + 120
    while not journal.exists():
        assert stopped.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    stopped.send_signal(signal.SIGINT)
    _, complaints = stopped.communicate()

    assert stopped.returncode == 130
    assert b"the same command resumes from there" in complaints
    assert journal.stat().st_size > 0
    subprocess.run([*command, str(tmp_path / "stopped")], check=True, capture_output=True)
    assert replay(bag, "--command", BALL, "--out", tmp_path / "whole") == 0
    for name in DETERMINISTIC:
        whole, resumed = tmp_path / "whole" / name, tmp_path / "stopped" / name
        assert whole.read_bytes() == resumed.read_bytes()


def test_ctrl_c_while_the_program_is_loaded_is_one_line() -> None:
    command = [sys.executable, "-c", INTERRUPTED_WHILE_LOADING]
    ended = subprocess.run(command, capture_output=True, text=True)

    assert (ended.returncode, ended.stderr) == (130, "referdino: stopped\n")


def test_a_log_file_has_no_empty_progress(bag: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "referdino_core.cli", "replay", str(bag), "--command", "zorb"]
    command += ["--topic", "/camera/image_raw", "--no-report", "--out", str(tmp_path / "run")]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)

    assert "zorb" in ended.stderr
    assert " 0frame" not in ended.stderr and " 0/" not in ended.stderr
    assert all(
        line.startswith("referdino:") for line in ended.stderr.splitlines() if "zorb" in line
    )


def test_a_page_of_a_run_that_is_being_replaced_says_so(
    bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert replay(bag, "--topic", "/camera/image_raw", "--command", BALL, "--out", run) == 0
    assert main(["report", str(run)]) == 0
    assert "unfinished" not in capsys.readouterr().err
    temporary_path(run / "frames.jsonl").touch()

    assert main(["report", str(run)]) == 0

    assert "a later one there is unfinished" in capsys.readouterr().err
