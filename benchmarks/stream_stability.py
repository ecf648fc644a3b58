# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Time per frame and memory over a long stream, which should both stay constant.

    python benchmarks/stream_stability.py --frames 10000

Plays the demo's recording back and forth. Prints a row per tenth of the stream: median milliseconds
per frame, their ratio to the first tenth, the fraction of frames with a mask, and the resident
memory of the process.
"""

from __future__ import annotations

import argparse
import itertools
import time

import numpy as np
from tqdm import tqdm

import referdino_core as rd
from referdino_core.evaluation.recorded_scene import BUNDLED, load
from referdino_core.media.sources import open_source


def resident_megabytes() -> float:
    """Resident memory of this process (Linux)."""
    with open("/proc/self/statm", encoding="ascii") as status:
        return int(status.read().split()[1]) * 4096 / 2**20


def main() -> None:
    """Stream the recording and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--commands", type=int, default=1)
    arguments = parser.parse_args()
    scene = load(BUNDLED)
    with open_source(str(scene.video)) as source:
        images = [frame.image for frame in source]
    session = rd.Session(arguments.model)
    sentence = scene.commands[0].text
    session.commands = {str(number): sentence for number in range(arguments.commands)}
    part = max(1, arguments.frames // 10)
    milliseconds: list[float] = []
    with_mask, first = 0, 0.0
    print("| frames | ms per frame, median | ratio to the first | with a mask | resident MB |")
    print("|---|---|---|---|---|")
    forth_and_back = itertools.cycle(images + images[-2:0:-1])
    for frame in tqdm(range(1, arguments.frames + 1), unit="frame"):
        image = next(forth_and_back)
        began = time.perf_counter()
        targets = session.step(image)
        milliseconds.append(1000 * (time.perf_counter() - began))
        with_mask += bool(targets[0].mask.any())
        if frame % part == 0:
            median = float(np.median(milliseconds))
            first = first or median
            tqdm.write(
                f"| {frame} | {median:.1f} | {median / first:.2f} | {with_mask / part:.0%} "
                f"| {resident_megabytes():.0f} |"
            )
            with_mask = 0
            milliseconds = []


if __name__ == "__main__":
    main()
