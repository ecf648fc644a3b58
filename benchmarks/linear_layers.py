# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Throughput of linear layers with the network's shapes in float32: PyTorch and the CPU kernel.

    python benchmarks/linear_layers.py --threads 1

Both alternate in one process; figures are the best of several rounds. GFLOP/s counts the matrix
multiplication alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import nn

from referdino_core.ops import BUILD_COMMAND
from referdino_core.ops.library import KernelLibrary, kernel_library
from referdino_core.ops.linear import KernelLinear

SHAPES = (
    (15, 128, 256),
    (20, 1024, 256),
    (60, 128, 128),
    (80, 512, 128),
    (256, 128, 128),
    (300, 64, 256),
    (406, 128, 384),
    (1200, 128, 32),
    (900, 256, 2048),
    (4820, 256, 2048),
    (4820, 2048, 256),
)
"""Rows, inputs and outputs: layers of `nano`, then of Swin-T at 360x640."""


def best_seconds(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The minimum time of each call over several rounds."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - began)
    return best


def rates(rows: int, inputs: int, outputs: int, kernel: KernelLibrary) -> tuple[float, float]:
    """GFLOP/s of PyTorch's layer and of the kernel's."""
    features = torch.randn(rows, inputs)
    plain = nn.Linear(inputs, outputs)
    packed = KernelLinear(plain.weight, plain.bias, kernel)
    multiplications = rows * inputs * outputs
    with torch.inference_mode():
        best = best_seconds(
            {"plain": lambda: plain(features), "packed": lambda: packed(features)},
            rounds=max(10, 500_000_000 // multiplications),
        )
    return 2e-9 * multiplications / best["plain"], 2e-9 * multiplications / best["packed"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    kernel = kernel_library()
    if kernel is None:
        raise SystemExit(f"The fused CPU kernel is not built; build it with: {BUILD_COMMAND}")
    print(f"{arguments.threads} threads, PyTorch {torch.__version__}; GFLOP/s", end="\n\n")
    print("| rows | inputs | outputs | PyTorch | kernel | ratio |\n|---|---|---|---|---|---|")
    for shape in SHAPES:
        plain, packed = rates(*shape, kernel)
        cells = [*shape, f"{plain:.0f}", f"{packed:.0f}", f"{packed / plain:.2f}"]
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
