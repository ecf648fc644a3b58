# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Cost of large images: time per step of a steady session, by image size.

    OMP_NUM_THREADS=1 python benchmarks/image_sizes.py

All sizes show the same scene and alternate, so that other programs affect all of them alike. A mask
is decoded at every size. The network's input is 160x120 for images with an aspect ratio of 4:3, and
213x120 for 16:9, a third more pixels.
"""

from __future__ import annotations

import argparse
import statistics
import time

import cv2

import referdino_core as rd
from referdino_core.evaluation.recorded_scene import BUNDLED, load
from referdino_core.media.sources import open_source

SIZES = ((160, 120), (640, 480), (1440, 1080), (2880, 2160), (213, 120), (1920, 1080), (3840, 2160))
EVERYTHING = rd.SessionSettings(accept=0.0, keep=0.0)
WARM_UP = 10


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=60, help="steps per size")
    options = parser.parse_args()
    scene = load(BUNDLED)
    with open_source(str(scene.video)) as source:
        images = [frame.image for frame in source]
    sessions = {size: rd.Session("nano", settings=EVERYTHING, runtime="torch") for size in SIZES}
    for session in sessions.values():
        session.command(scene.commands[0].text)
    times: dict[tuple[int, int], list[float]] = {size: [] for size in SIZES}
    for number in range(WARM_UP + options.frames):
        image = images[number % len(images)]
        for size, session in sessions.items():
            resized = cv2.resize(image, size)
            began = time.perf_counter()
            session.step(resized, 0.1 * number)
            times[size].append(time.perf_counter() - began)
    smallest = statistics.median(times[SIZES[0]][WARM_UP:])
    print("| image | step (ms) | relative to 160x120 |\n|---|---|---|")
    for (width, height), own in times.items():
        step = statistics.median(own[WARM_UP:])
        print(f"| {width}x{height} | {1000 * step:.2f} | {step / smallest:.2f} |")


if __name__ == "__main__":
    main()
