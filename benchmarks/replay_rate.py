# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Frames per second of `referdino replay` on the same recordings with one and more workers.

    python benchmarks/replay_rate.py --workers 1 2 --rounds 2

One worker is this process, several are Ray workers. They alternate, so that other programs affect
all of them alike. Prints medians over the rounds: frames per second while the workers replay, the
ratio to the first row, and the seconds of a whole call, including the start of Ray and the loading
of the model. Without RECORDINGS the demo's scene is replayed several times.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

from referdino_core.batch.batch import Batch, replay_batch, replay_in_process
from referdino_core.batch.one_run import IDENTITY_NAME
from referdino_core.batch.ray_workers import RayWorkers
from referdino_core.batch.recordings import find_recordings
from referdino_core.evaluation.recorded_scene import BUNDLED, load
from referdino_core.media.sources import quiet_opencv
from referdino_core.replay.opening import ReplayJob
from referdino_core.replay.run_folder import SUMMARY_NAME
from referdino_core.session.model_choice import ModelChoice


def copies_of_the_scene(folder: Path, count: int) -> Path:
    """Copy the demo's video under several names; returns the folder."""
    for number in range(count):
        shutil.copy(load(BUNDLED).video, folder / f"scene_{number}.mp4")
    return folder


def measure(sources: list[Path], common: ReplayJob, workers: int) -> tuple[float, float]:
    """Frames per second during the replay, and seconds of the whole call."""
    with tempfile.TemporaryDirectory(prefix="replay_rate_") as name:
        out = Path(name)
        batch = Batch(tuple(find_recordings(sources, out)), common, out, with_report=False)
        began = time.perf_counter()
        summary = replay_batch(batch, replay_in_process if workers == 1 else RayWorkers(workers))
        whole = time.perf_counter() - began
        # A run's identity is written just before it begins, and its summary at the very end.
        first = min(path.stat().st_mtime for path in out.glob(f"*/{IDENTITY_NAME}"))
        last = max(path.stat().st_mtime for path in out.glob(f"*/{SUMMARY_NAME}"))
        return summary["frames"]["read"] / (last - first), whole


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recordings", nargs="*", type=Path, metavar="RECORDINGS")
    parser.add_argument("--command", default=load(BUNDLED).commands[0].text)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--copies", type=int, default=4, help="of the demo's scene")
    arguments = parser.parse_args()
    quiet_opencv()
    common = ReplayJob(
        Path(), Path(), (arguments.command,), model=ModelChoice(model=arguments.model)
    )
    figures: dict[int, list[tuple[float, float]]] = {count: [] for count in arguments.workers}
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory(prefix="recordings_") as name:
        sources = arguments.recordings or [copies_of_the_scene(Path(name), arguments.copies)]
        for _ in range(arguments.rounds):
            for count in arguments.workers:
                figures[count].append(measure(sources, common, count))
                loads.append(os.getloadavg()[0])
    print(f"{os.cpu_count()} cores, load average before and after each run: {loads}")
    print("| workers | frames per second | ratio | s per call |")
    print("|---|---|---|---|")
    base = median(rate for rate, _ in figures[arguments.workers[0]])
    for count, rounds in figures.items():
        rate, whole = median(one for one, _ in rounds), median(one for _, one in rounds)
        print(f"| {count} | {rate:.1f} | {rate / base:.2f} | {whole:.1f} |")


if __name__ == "__main__":
    main()
