# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Time and peak memory of SOC on whole clips of 640x360 pixels, with random weights.

    python benchmarks/soc_clips.py --device cuda --frames 8 16 36 72

Memory is what a clip needs besides the weights: allocated memory of a GPU, resident memory of the
process on a CPU.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch

import referdino_core as rd
from referdino_core.peers import PEER_NAMES
from referdino_core.peers.soc.reading import clip_memory

HEIGHT, WIDTH = 360, 640
SENTENCE = torch.tensor([0, 100, 200, 300, 400, 500, 2])
SAMPLING = 0.005
"""Seconds between two readings of the resident memory."""


def resident_bytes() -> int:
    """Resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("/proc/self/status has no VmRSS")


def peak_on_cpu(run: Callable[[], object]) -> int:
    """Increase of the resident memory during a run."""
    before, readings, ended = resident_bytes(), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLING):
            readings.append(resident_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    ended.set()
    watcher.join()
    return max(readings) - before


def peak_on_gpu(run: Callable[[], object]) -> int:
    """Increase of the allocated memory during a run."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", default=PEER_NAMES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--frames", nargs="+", type=int, default=[8, 16])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    on_gpu = options.device.startswith("cuda")
    print("| model | frames | seconds | memory (GB) | estimate (GB) |\n|---|---|---|---|---|")
    for name in options.models:
        model = rd.build(name).to(options.device)
        for frames in options.frames:
            pixels = torch.randn(frames, 3, HEIGHT, WIDTH)

            def run(model: torch.nn.Module = model, pixels: torch.Tensor = pixels) -> None:
                model.segment(pixels, SENTENCE)
                if on_gpu:
                    torch.cuda.synchronize()

            peak = peak_on_gpu(run) if on_gpu else peak_on_cpu(run)
            times = []
            for _ in range(options.repeats):
                began = time.perf_counter()
                run()
                times.append(time.perf_counter() - began)
            estimate = clip_memory(model.configuration, frames, (HEIGHT, WIDTH))
            print(
                f"| {name} | {frames} | {statistics.median(times):.2f} | {peak / 1e9:.2f} "
                f"| {estimate / 1e9:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
