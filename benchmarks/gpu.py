# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""All there is to say about a machine with an NVIDIA GPU: build, correctness, figures.

    python benchmarks/gpu.py

Needs nvcc and referdino's Python dependencies, but neither ROS nor TensorRT. Builds the fused CUDA
kernel, compares it with the portable version, compares sessions on the GPU with those on the CPU,
and prints the tables. Takes less than ten minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from performance import images_of, model_of

import referdino_core as rd
from referdino_core.kernels.build import build_cuda

FOLDER = Path(__file__).parent
MASK_OVERLAP, BOX_ERROR = 0.98, 1.0
PRECISIONS = ("fp32", "fp16", "bf16")


def say(message: str) -> None:
    """Tell what is going on, and when."""
    print(f"[{time.strftime('%H:%M:%S')}] {message}", flush=True)


def answers_of(device: str, precision: str, images: list[np.ndarray]) -> list[rd.Target]:
    """What `nano` finds for one command, image by image."""
    settings = rd.SessionSettings(accept=0.0, keep=0.0)
    model = model_of("nano", device)
    session = rd.Session(
        model, settings=settings, device=device, runtime="torch", precision=precision
    )
    session.command("the red ball")
    return [session.step(image)[0] for image in images]


def compare_sessions() -> bool:
    """Whether the GPU answers as the CPU does, in every precision; prints a line for each."""
    images = images_of(model_of("nano", "cpu"))
    expected = answers_of("cpu", "fp32", images)
    good = True
    for precision in PRECISIONS:
        found = answers_of("cuda", precision, images)
        overlaps, distances = [], []
        for target, reference in zip(found, expected, strict=True):
            union = (target.mask | reference.mask).sum()
            overlaps.append((target.mask & reference.mask).sum() / union if union else 1.0)
            if target.box and reference.box:
                distances.append(np.abs(np.subtract(target.box, reference.box)).max())
        overlap, distance = float(np.median(overlaps)), float(np.median(distances))
        fits = overlap >= MASK_OVERLAP and distance <= BOX_ERROR
        good = good and fits
        print(
            f"nano on the GPU in {precision} against the CPU in fp32: median mask overlap "
            f"{overlap:.4f}, box error {distance:.2f} px: {'as it should be' if fits else 'WRONG'}"
        )
    return good


def main() -> int:
    """Build, compare, measure; the exit status is 1 where something is wrong."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None).parse_args()
    if not torch.cuda.is_available():
        print("PyTorch finds no NVIDIA GPU here.", file=sys.stderr)
        return 1
    say("building the fused CUDA kernel ...")
    library, flags = build_cuda()
    say(f"built {library} ({flags})")
    kernel = subprocess.run([sys.executable, FOLDER / "gpu_kernel.py"], check=False)
    say("comparing sessions ...")
    good = compare_sessions() and kernel.returncode == 0
    say("measuring ...")
    table = [sys.executable, FOLDER / "performance.py", "--device", "cuda", "--frames", "50"]
    rows = ["portable", "torch-fp32", "torch-fp16", "torch-bf16"]
    measured = subprocess.run([*table, "--runtimes", *rows], check=False)
    return 0 if good and measured.returncode == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
