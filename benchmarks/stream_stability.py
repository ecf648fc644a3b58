# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Time per frame and memory of a long stream: both should stay flat.

    python benchmarks/stream_stability.py --frames 10000

Prints a row per tenth of the stream: median milliseconds per frame, their ratio to the first
tenth, and the resident memory of the process.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from tqdm import tqdm

import referdino_core as rd


def resident_megabytes() -> float:
    """Resident memory of this process (Linux)."""
    with open("/proc/self/statm", encoding="ascii") as status:
        return int(status.read().split()[1]) * 4096 / 2**20


def main() -> None:
    """Stream noise that changes slowly and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--commands", type=int, default=1)
    arguments = parser.parse_args()
    session = rd.Session(arguments.model)
    session.commands = {str(n): "the red ball" for n in range(arguments.commands)}
    generator = np.random.default_rng(0)
    texture = generator.integers(0, 256, (120, 320, 3), dtype=np.uint8)
    part = max(1, arguments.frames // 10)
    milliseconds: list[float] = []
    first = 0.0
    print("| frames | ms per frame, median | ratio to the first | resident MB |")
    print("|---|---|---|---|")
    for frame in tqdm(range(1, arguments.frames + 1), unit="frame"):
        image = texture[:, frame % 160 : frame % 160 + 160]
        began = time.perf_counter()
        session.step(image)
        milliseconds.append(1000 * (time.perf_counter() - began))
        if frame % part == 0:
            median = float(np.median(milliseconds))
            first = first or median
            tqdm.write(
                f"| {frame} | {median:.1f} | {median / first:.2f} | {resident_megabytes():.0f} |"
            )
            milliseconds = []


if __name__ == "__main__":
    main()
