# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The demo as a user runs it: a program that starts real processes on a ROS graph of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from builtin_interfaces.msg import Time
from referdino.msg import ReferredObject, ReferredObjectArray, RunLengthMask
from repository import REPOSITORY
from std_msgs.msg import Header

import referdino_core as rd
from demo.camera import recorded
from demo.graph import Publication
from demo.outcome import Outcome, command_runs, table
from demo.streaming import Result
from demo.visualization import OVERLAY, SHEET, report
from referdino_core.checkpoint import save_weights
from referdino_core.evaluation import recorded_scene as scenes
from referdino_core.media.sources import Frame, open_source
from referdino_core.messages import run_lengths
from referdino_core.world import WorldRenderer, WorldSettings
from referdino_core.world.observation import VISIBLE_AREA
from referdino_core.world.timed_commands import TimedCommand, choose_commands

pytestmark = [pytest.mark.slow, pytest.mark.ros]

PATIENCE = 280.0
SECOND = 1_000_000_000


@dataclass(frozen=True)
class Line:
    """A command's line of the table."""

    text: str
    verdict: str
    score: str
    frames: int
    processed: int
    median: str
    high: str


@pytest.fixture(scope="module")
def eager_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a network that has learned nothing, but is sure of what it says: it gives masks."""
    torch.manual_seed(1)
    model = rd.build("nano")
    with torch.no_grad():
        assert model.readout.similarity.offset is not None
        model.readout.similarity.offset.fill_(3.0)
    path = tmp_path_factory.mktemp("weights") / "eager.safetensors"
    save_weights(model, path)
    return path


def start_demo(*arguments: str | Path, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "demo", *map(str, arguments)],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_demo(*arguments: str | Path, **variables: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    process = start_demo(*arguments, **variables)
    try:
        output, errors = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        raise
    return process.returncode, output, errors


def table_lines(output: str) -> list[Line]:
    rows = [re.split(r"\s{2,}", line) for line in output.splitlines() if line.endswith(" ms")]
    return [Line(*row[:3], int(row[3]), int(row[4]), row[5], row[6]) for row in rows]


def video_frames(path: Path) -> list[np.ndarray]:
    with open_source(str(path)) as source:
        return [frame.image for frame in source]


def test_rendered_scene(eager_weights: Path, tmp_path: Path) -> None:
    status, output, errors = run_demo(
        *("--checkpoint", eager_weights, "--out", tmp_path),
        *("--seconds", "2.4", "--frame-rate", "4", "--seed", "508"),
    )

    assert status == 0, errors
    lines = table_lines(output)
    rendered = scenes.load(tmp_path)
    assert [line.text for line in lines] == [command.text for command in rendered.commands]
    assert sum(line.frames for line in lines) == 24
    for line in lines:
        assert 1 <= line.processed <= line.frames
        assert line.verdict == "right" or line.verdict.startswith("wrong: ")
        assert 0 <= float(line.score) <= 1
        assert 0 < int(line.median.split()[0]) <= int(line.high.split()[0])
    plain, overlay = video_frames(tmp_path / "scene.mp4"), video_frames(tmp_path / "overlay.mp4")
    assert len(plain) == len(overlay) == 24
    assert overlay[-1].shape == (480, 640, 3)
    changed = np.abs(overlay[-1].astype(int) - cv2.resize(plain[-1], (640, 480)).astype(int))
    assert (changed.max(axis=2) > 60).mean() > 0.01
    sheet = cv2.imread(str(tmp_path / "contact_sheet.png"))
    assert sheet.shape[1] > 3 * 640
    assert sheet.shape[0] > 4 * 480
    assert sheet.std() > 20
    log = (tmp_path / "log.txt").read_text()
    for command in rendered.commands:
        assert "[node] [INFO]" in log
        assert command.text in log
    assert str(tmp_path / "overlay.mp4") in output
    assert str(tmp_path / "contact_sheet.png") in output


def test_own_video_with_two_texts(eager_weights: Path, tmp_path: Path) -> None:
    source = tmp_path / "own.mp4"
    writer = cv2.VideoWriter(str(source), cv2.VideoWriter.fourcc(*"mp4v"), 4.0, (160, 120))
    for index in range(24):
        image = np.full((120, 160, 3), (120, 110, 100), np.uint8)
        cv2.circle(image, (20 + 5 * index, 70), 16, (30, 30, 200), -1)
        writer.write(image)
    writer.release()
    results = tmp_path / "results"

    status, output, errors = run_demo(
        *("--video", source, "--text", "the red ball; the green box", "--model", "nano"),
        *("--checkpoint", eager_weights, "--out", results),
    )

    assert status == 0, errors
    lines = table_lines(output)
    assert [line.text for line in lines] == ["the red ball", "the green box"]
    assert sum(line.frames for line in lines) == 24
    for line in lines:
        assert 1 <= line.processed <= line.frames
        tracked, processed = re.fullmatch(r"(\d+) of (\d+) frames", line.verdict).groups()
        assert int(tracked) <= int(processed) == line.processed
        assert 0 <= float(line.score) <= 1
    assert len(video_frames(results / "overlay.mp4")) == 24
    assert cv2.imread(str(results / "contact_sheet.png")) is not None
    assert not (results / "scene.mp4").exists()


def test_recording_is_played_without_opengl_and_ctrl_c_ends_every_process(
    eager_weights: Path, tmp_path: Path
) -> None:
    mark = uuid.uuid4().hex
    log = tmp_path / "log.txt"
    demo = start_demo(
        *("--checkpoint", eager_weights, "--out", tmp_path, "--frame-rate", "2"),
        MUJOCO_GL="disabled",
        REFERDINO_TEST_MARK=mark,
    )
    first_command = scenes.load(scenes.BUNDLED).commands[0].text
    deadline = time.monotonic() + PATIENCE
    while not log.exists() or f"Commands: '{first_command}'" not in log.read_text():
        assert demo.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(processes_with(mark)) == 4

    demo.send_signal(signal.SIGINT)
    _, errors = demo.communicate(timeout=60)

    assert demo.returncode == 130
    assert "playing the bundled recording instead" in errors
    assert errors.splitlines()[-1] == "demo: stopped"
    assert "Traceback" not in errors
    assert processes_with(mark) == []


def processes_with(mark: str) -> list[int]:
    """Processes that have the mark in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue  # it has ended, or is somebody else's
    return found


def test_checkpoint_that_is_none(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"these are no weights")

    status, output, errors = run_demo(
        *("--checkpoint", wrong, "--out", tmp_path, "--seconds", "0.5")
    )

    assert status == 1
    assert output == ""
    complaints = [line for line in errors.splitlines() if "wrong.safetensors is" in line]
    assert complaints == errors.splitlines()[-1:]
    assert complaints[0].startswith("demo: error: The node could not load its model: ")
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--video", "nowhere.mp4", "--text", "a dog"), "nowhere.mp4 does not exist"),
        (("--video", __file__, "--text", "a dog"), "holds no video"),
        (("--video", "nowhere.mp4"), "--text"),
        (("--text", " "), "A text is empty"),
        (("--checkpoint", "nowhere.pth"), "There is no checkpoint"),
    ],
)
def test_bad_arguments_give_one_line(
    arguments: tuple[str, ...], complaint: str, tmp_path: Path
) -> None:
    status, output, errors = run_demo(*arguments, "--out", tmp_path)

    assert status == 1
    assert output == ""
    (line,) = errors.splitlines()
    assert line.startswith("demo: error: ")
    assert complaint in line
    assert list(tmp_path.iterdir()) == []


def test_chosen_commands_are_about_visible_objects() -> None:
    settings = WorldSettings(frames=40)
    with WorldRenderer(settings) as renderer:
        clip = renderer.clip("test", 508)

    commands = choose_commands(clip, settings)

    assert len(commands) == 4
    assert commands[0].begins == 0
    assert len({command.text for command in commands}) == 4
    assert len({command.target for command in commands}) >= 2
    ends = [command.begins for command in commands[1:]] + [4.0]
    for command, end in zip(commands, ends, strict=True):
        first, last = int(np.ceil(command.begins * 10)), int(np.ceil(end * 10))
        assert command.target is not None
        shown = clip.segmentation[first:last] == command.target
        assert np.count_nonzero(shown, axis=(1, 2)).min() >= VISIBLE_AREA


def test_bundled_recording_fits_its_truth() -> None:
    bundled = scenes.load(scenes.BUNDLED)

    images = video_frames(bundled.video)

    assert len(images) == len(bundled.segmentation) == 84
    assert images[0].shape[:2] == bundled.segmentation.shape[1:]
    assert len(bundled.commands) == 4
    for command in bundled.commands:
        assert command.target is not None
        frame = int(np.ceil(command.begins * bundled.frame_rate))
        shown = bundled.segmentation[frame] == command.target
        assert np.count_nonzero(shown) >= bundled.visible_area
        # The outlines of the ground truth lie on edges of the image.
        grey = cv2.cvtColor(images[frame], cv2.COLOR_RGB2GRAY).astype(float)
        edges = np.hypot(cv2.Sobel(grey, cv2.CV_64F, 1, 0), cv2.Sobel(grey, cv2.CV_64F, 0, 1))
        outline = cv2.morphologyEx(
            shown.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)
        )
        assert edges[outline > 0].mean() > 2 * edges.mean()
    assert sum(path.stat().st_size for path in scenes.BUNDLED.iterdir()) < 1_500_000


def test_cut_keeps_the_commands_that_begin_before() -> None:
    bundled = scenes.load(scenes.BUNDLED)

    beginning = bundled.cut(3.0)

    assert len(beginning.segmentation) == 30
    assert beginning.commands == bundled.commands[:2]


def scene_of_two(folder: Path) -> scenes.Scene:
    """Eight frames with a left and a right square, and their video."""
    segmentation = np.zeros((8, 40, 60), np.uint8)
    segmentation[:, 10:30, 5:25] = 1
    segmentation[:, 10:30, 35:55] = 2
    video = folder / "scene.mp4"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), 4.0, (60, 40))
    for labels in segmentation:
        writer.write(np.repeat(100 * labels[..., None], 3, axis=2))
    writer.release()
    commands = (TimedCommand("the left square", 0.0, 1), TimedCommand("the right square", 1.0, 2))
    return scenes.Scene(video, 4.0, ("grey square", "white square"), segmentation, commands)


def result(text: str, mask: np.ndarray, stamp: int, latency: int) -> Result:
    height, width = mask.shape
    entry = ReferredObject(command_id="command", command=text, track_id=1, score=0.75)
    entry.state = ReferredObject.TRACKING if mask.any() else ReferredObject.SEARCHING
    entry.mask = RunLengthMask(height=height, width=width, counts=run_lengths.encode(mask))
    header = Header(stamp=Time(sec=stamp // SECOND, nanosec=stamp % SECOND))
    return Result(stamp, stamp + latency, ReferredObjectArray(header=header, objects=[entry]))


def outcome_of(scene: scenes.Scene, picked: tuple[int, int]) -> Outcome:
    """A camera from 100 s on at 4 Hz; the second command comes between the fourth frame and the
    fifth, which is still processed for the first; the last frame is not processed.
    """
    frames = tuple(
        Publication("frame", number, 100 * SECOND + number * SECOND // 4) for number in range(8)
    )
    sent = [Publication("command", 0, 99 * SECOND), Publication("command", 1, frames[4].stamp - 1)]
    results = {}
    for frame in frames[:7]:
        place = int(frame.number > 4)
        mask = scene.segmentation[frame.number] == picked[place]
        latency = (frame.number + 1) * 10_000_000
        results[frame.stamp] = result(scene.commands[place].text, mask, frame.stamp, latency)
    runs = command_runs(scene.commands, sent, frames, results)
    return Outcome(str(scene.video), 4.0, frames, results, runs, scene)


def test_frames_are_shared_out_by_command(tmp_path: Path) -> None:
    first, second = outcome_of(scene_of_two(tmp_path), picked=(1, 2)).runs

    assert [frame.number for frame in first.frames] == [0, 1, 2, 3]
    assert [frame.number for frame in second.frames] == [4, 5, 6, 7]
    assert list(first.results) == [0, 1, 2, 3]
    assert list(second.results) == [5, 6]
    assert first.latencies == pytest.approx([10, 20, 30, 40])


def test_table_tells_right_from_wrong(tmp_path: Path) -> None:
    scene = scene_of_two(tmp_path)

    assert table_lines(table(outcome_of(scene, picked=(1, 1)))) == [
        Line("the left square", "right", "1.00", 4, 4, "25 ms", "38 ms"),
        Line("the right square", "wrong: grey square", "0.00", 4, 2, "65 ms", "70 ms"),
    ]
    nothing = table_lines(table(outcome_of(scene, picked=(0, 9))))
    assert [line.verdict for line in nothing] == ["wrong: background", "wrong: nothing"]


def test_report_leaves_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = outcome_of(scene_of_two(tmp_path), picked=(1, 2))

    report(outcome, tmp_path)

    images = video_frames(tmp_path / OVERLAY)
    assert len(images) == 8
    # The frame without a result shows the one before it.
    assert np.abs(images[7].astype(int) - images[6].astype(int)).mean() < 1
    assert cv2.imread(str(tmp_path / SHEET)).shape[1] > 3 * 640
    assert "the left square" in capsys.readouterr().out


def test_recorded_keeps_what_passes(tmp_path: Path) -> None:
    levels = [30, 120, 210]
    frames = [
        Frame(np.full((48, 64, 3), level, np.uint8), 0.1 * index, index)
        for index, level in enumerate(levels)
    ]

    passed = list(recorded(frames, tmp_path / "camera.mp4", 10.0))

    assert passed == frames
    kept = video_frames(tmp_path / "camera.mp4")
    assert [image.mean() for image in kept] == pytest.approx(levels, abs=4)
