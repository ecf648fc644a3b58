# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What large images cost: a step of a steady session by the size of the camera's images.

    OMP_NUM_THREADS=1 python benchmarks/image_sizes.py

All sizes show the same scene in turns, so that what else the machine does falls on all of them. The
mask's own cost is that of thresholding it at the image's size; "ratio" is the step without it,
against the smallest size.
"""

from __future__ import annotations

import argparse
import statistics
import time

import cv2
import numpy as np

import referdino_core as rd
from referdino_core.evaluation.recorded_scene import BUNDLED, load
from referdino_core.media.sources import open_source
from referdino_core.network.pixels import enlarged_mask

SIZES = ((160, 120), (640, 480), (1280, 960), (1440, 1080), (2880, 2160))
EVERYTHING = rd.SessionSettings(accept=0.0, keep=0.0)
WARM_UP = 10


def seconds_of_mask(size: tuple[int, int], logits: np.ndarray) -> float:
    """Median time to make a mask of (width, height) out of the network's logits."""
    times = []
    for _ in range(20):
        began = time.perf_counter()
        enlarged_mask(logits, size[::-1], 0.5)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=60, help="steps per size")
    options = parser.parse_args()
    scene = load(BUNDLED)
    with open_source(str(scene.video)) as source:
        pictures = [frame.pixels for frame in source]
    sessions = {size: rd.Session("nano", settings=EVERYTHING, runtime="torch") for size in SIZES}
    for session in sessions.values():
        session.command(scene.commands[0].text)
    times: dict[tuple[int, int], list[float]] = {size: [] for size in SIZES}
    for number in range(WARM_UP + options.frames):
        picture = pictures[number % len(pictures)]
        for size, session in sessions.items():
            image = cv2.resize(picture, size)
            began = time.perf_counter()
            session.step(image, 0.1 * number)
            times[size].append(time.perf_counter() - began)
    logits = np.random.default_rng(0).normal(size=(120, 160)).astype(np.float32)
    print("| image | step (ms) | of that the mask | ratio without it |\n|---|---|---|---|")
    smallest = None
    for size in SIZES:
        step, mask = statistics.median(times[size][WARM_UP:]), seconds_of_mask(size, logits)
        smallest = smallest or step - mask
        print(
            f"| {size[0]}x{size[1]} | {1000 * step:.2f} | {1000 * mask:.2f} | "
            f"{(step - mask) / smallest:.2f} |"
        )


if __name__ == "__main__":
    main()
