# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Milliseconds per frame of reading and writing videos, with referdino and with OpenCV.

    python benchmarks/video_files.py

Both alternate in one process.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from referdino_core.media.sources import open_source
from referdino_core.media.writers import VideoWriter

SIZES = ((640, 480), (1920, 1080))
RATE = 25.0


def scene(width: int, height: int, count: int) -> list[np.ndarray]:
    """Images of a ball in front of a moving background."""
    coarse = np.random.default_rng(0).integers(0, 256, (height // 16, width // 8, 3), np.uint8)
    wide = cv2.resize(coarse, (2 * width, height), interpolation=cv2.INTER_CUBIC)
    images = []
    for index in range(count):
        image = np.ascontiguousarray(wide[:, 3 * index : 3 * index + width])
        cv2.circle(image, (width // 2 + index, height // 2), height // 8, (200, 30, 30), -1)
        cv2.putText(image, str(index), (20, 60), 0, 1.5, (255, 255, 255), 2)
        images.append(image)
    return images


def write_with_opencv(path: Path, images: list[np.ndarray]) -> None:
    """Write MPEG-4 part 2, the best format that OpenCV's wheels can write to .mp4."""
    height, width = images[0].shape[:2]
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (width, height))
    for image in images:
        video.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    video.release()


def write_here(path: Path, images: list[np.ndarray]) -> None:
    """Write a video as for overlays."""
    height, width = images[0].shape[:2]
    with VideoWriter(path, RATE, (width, height)) as video:
        for image in images:
            video.write(image)


def read_with_opencv(path: Path) -> None:
    """Read every frame, converted to RGB."""
    capture = cv2.VideoCapture(str(path))
    while (read := capture.read())[0]:
        cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)


def read_here(path: Path) -> None:
    """Read every frame as `segment` does."""
    with open_source(str(path)) as source:
        for _ in source:
            pass


def compare(name: str, count: int, ways: dict[str, Callable[[], None]], repeats: int) -> None:
    """Print the minimum wall-clock and CPU time of each way."""
    least = {way: [float("inf")] * 2 for way in ways}
    for _ in range(repeats):
        for way, work in ways.items():
            clock, processor = time.perf_counter(), time.process_time()
            work()
            taken = time.perf_counter() - clock, time.process_time() - processor
            least[way] = [min(pair) for pair in zip(least[way], taken, strict=True)]
    figures = [
        f"{way} {1e3 * clock / count:.2f} ms ({1e3 * processor / count:.2f} of processor)"
        for way, (clock, processor) in least.items()
    ]
    print(f"{name:28} {', '.join(figures)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = Path(folder, "opencv.mp4"), Path(folder, "here.mp4")
        for width, height in SIZES:
            images = scene(width, height, arguments.frames)
            writing = {
                "OpenCV": lambda images=images: write_with_opencv(theirs, images),
                "here": lambda images=images: write_here(ours, images),
            }
            compare(f"write {width}x{height}", len(images), writing, arguments.repeats)
            print(f"  bytes: {theirs.stat().st_size} and {ours.stat().st_size}")
            for path, codec in ((theirs, "MPEG-4 part 2"), (ours, "H.264")):
                reading = {
                    "OpenCV": lambda path=path: read_with_opencv(path),
                    "here": lambda path=path: read_here(path),
                }
                name = f"read {width}x{height} {codec}"
                compare(name, len(images), reading, arguments.repeats)


if __name__ == "__main__":
    main()
