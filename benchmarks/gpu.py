# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""All there is to say about a machine with an NVIDIA GPU: build, correctness, figures.

    python benchmarks/gpu.py

Needs nvcc and referdino's Python dependencies, but neither ROS nor TensorRT. Builds the fused CUDA
kernel, compares it with the portable version, compares sessions on the GPU, alone and as cameras in
one batch, with those on the CPU, and prints the tables. Takes less than ten minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from performance import images_of, model_of

import referdino_core as rd
from referdino_core.kernels.build import build_cuda

FOLDER = Path(__file__).parent
MASK_OVERLAP, BOX_ERROR = 0.98, 1.0
BFLOAT16_SLACK = 0.03
"""How much less bf16 may overlap with fp32 than it does on the CPU, in the same run."""

PRECISIONS = {"cuda": ("fp32", "fp16", "bf16"), "cpu": ("fp32", "bf16")}
CAMERAS = 8


def say(message: str) -> None:
    """Tell what is going on, and when."""
    print(f"[{time.strftime('%H:%M:%S')}] {message}", flush=True)


def answers_of(
    device: str, precision: str, streams: Sequence[Sequence[np.ndarray]]
) -> list[rd.Target]:
    """What `nano` finds for one command in streams of one camera each, image by image."""
    settings = rd.SessionSettings(accept=0.0, keep=0.0)
    model = model_of("nano", device)
    session = rd.Session(
        model, settings=settings, device=device, runtime="torch", precision=precision
    )
    group = rd.CameraGroup(session, len(streams))
    for camera in group.sessions:
        camera.command("the red ball")
    steps = [group.step(frame) for frame in zip(*streams, strict=True)]
    return [target for step in steps for (target,) in step]


def agreement(found: Sequence[rd.Target], expected: Sequence[rd.Target]) -> tuple[float, float]:
    """Median overlap of masks, and median box error in pixels."""
    overlaps, distances = [], []
    for target, reference in zip(found, expected, strict=True):
        union = (target.mask | reference.mask).sum()
        overlaps.append((target.mask & reference.mask).sum() / union if union else 1.0)
        if target.box and reference.box:
            distances.append(np.abs(np.subtract(target.box, reference.box)).max())
    return float(np.median(overlaps)), float(np.median(distances))


def compare_sessions(device: str, cameras: int) -> bool:
    """Whether a device answers as the CPU does, in every precision; prints a line for each."""
    images = images_of(model_of("nano", "cpu"))
    streams = [images[camera:] + images[:camera] for camera in range(cameras)]

    def one_by_one(precision: str) -> list[rd.Target]:
        alone = [answers_of("cpu", precision, [stream]) for stream in streams]
        return [target for step in zip(*alone, strict=True) for target in step]

    expected = one_by_one("fp32")
    good = True
    for precision in PRECISIONS[device]:
        least = MASK_OVERLAP
        if precision == "bf16":
            least = agreement(one_by_one("bf16"), expected)[0] - BFLOAT16_SLACK
        overlap, distance = agreement(answers_of(device, precision, streams), expected)
        fits = overlap >= least and distance <= BOX_ERROR
        good = good and fits
        print(
            f"nano, cameras in one batch: {cameras}, on {device} in {precision} against the CPU in "
            f"fp32: median mask overlap {overlap:.4f} (at least {least:.4f}), box error "
            f"{distance:.2f} px: {'as it should be' if fits else 'WRONG'}"
        )
    return good


def measure(*options: str) -> bool:
    """Whether a table could be measured and printed."""
    table = [sys.executable, str(FOLDER / "performance.py"), *options]
    return subprocess.run(table, check=False).returncode == 0


def main() -> int:
    """Build, compare, measure; the exit status is 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--rehearse", action="store_true", help="on a CPU, with nano alone and without the kernel"
    )
    rehearse = parser.parse_args().rehearse
    device = "cpu" if rehearse else "cuda"
    good = True
    if not rehearse:
        if not torch.cuda.is_available():
            print("PyTorch finds no NVIDIA GPU here.", file=sys.stderr)
            return 1
        say("building the fused CUDA kernel ...")
        library, flags = build_cuda()
        say(f"built {library} ({flags})")
        kernel = subprocess.run([sys.executable, FOLDER / "gpu_kernel.py"], check=False)
        good = kernel.returncode == 0
    say("comparing sessions ...")
    good = all([good, *(compare_sessions(device, cameras) for cameras in (1, CAMERAS))])
    say("measuring ...")
    rows = [f"torch-{precision}" for precision in PRECISIONS[device]]
    options = ["--device", device, "--frames", "2" if rehearse else "50"]
    options += ["--models", "nano"] if rehearse else []
    good = measure(*options, "--runtimes", "portable", *rows) and good
    say(f"measuring {CAMERAS} cameras ...")
    options += [] if rehearse else ["--models", "nano", "swint"]
    options += ["--cameras", "1", str(CAMERAS), "--commands", "1", "--runtimes", *rows]
    return 0 if measure(*options) and good else 1


if __name__ == "__main__":
    sys.exit(main())
