# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of short recordings for the tests of batches."""

from __future__ import annotations

from pathlib import Path

from bag_samples import PERIOD, TRUTH_TOPIC, image, scene, scene_images, text, write_bag

from referdino_core.batch.batch import Batch
from referdino_core.batch.recordings import find_recordings
from referdino_core.replay.opening import ReplayJob

BALL, SPHERE = "the small purple ball", "the purple sphere left of the orange cylinder"
DETERMINISTIC = ("frames.jsonl", "results.mcap", "summary.json", "overlay.mp4")


def write_recordings(folder: Path) -> Path:
    """Two scored recordings of 8 and 4 frames, and a file that is no bag."""
    folder.mkdir()
    (folder / "broken.mcap").write_bytes(b"no bag")
    for name, count, sentences in (("b_first", 8, [BALL, SPHERE]), ("c_second", 4, [BALL])):
        commands = [
            text(sentence, place * 4 * PERIOD - 1) for place, sentence in enumerate(sentences)
        ]
        write_bag(folder / name, [*scene(count, with_truth=True), *commands])
    return folder


def write_long_recording(path: Path, count: int) -> Path:
    """A few images over and over."""
    images = scene_images(6)
    return write_bag(path, [image(images[n % 6], n * PERIOD) for n in range(count)])


def scored_batch(folder: Path, out: Path, with_report: bool = False) -> Batch:
    """The recordings of `write_recordings`."""
    common = ReplayJob(
        Path(),
        Path(),
        topic="/camera/image_raw",
        truth=f"topic:{TRUTH_TOPIC}",
        meanings=((BALL, (2,)), (SPHERE, (5,))),
    )
    return Batch(tuple(find_recordings([folder], out)), common, out, with_report)


def assert_equal_batches(one: Path, other: Path) -> None:
    """Whether two folders hold the same runs and the same summary, byte by byte."""
    runs = sorted(path.name for path in one.iterdir() if path.is_dir())
    assert runs == sorted(path.name for path in other.iterdir() if path.is_dir())
    for name in ["summary.json", *(f"{run}/{file}" for run in runs for file in DETERMINISTIC)]:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
