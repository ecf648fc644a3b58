# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Multiply-adds of the forward pass over one clip, at the drop rates of the paper's table 5.

    python benchmarks/multiply_adds.py                     # Swin-T and Swin-B, 6 frames of 368x640
    python benchmarks/multiply_adds.py --models swint --frames 1

"training" is the forward pass of a training step, in which every decoder layer and the proposals
are read out; "inference" is `ReferDINO.segment`. Counted by PyTorch's counter, two operations to a
multiply-add: matrix multiplications and convolutions; sampling and norms count nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import referdino_core as rd
from referdino_core.training.clip_outputs import clip_outputs

SIZE = (368, 640)
DROP_RATES = (0.0, 0.2, 0.5, 0.65)
PUBLISHED = {0.0: 1352, 0.2: 1068, 0.5: 896, 0.65: 857}
"""Of the paper's table 5, in units of 1e9; it does not name the backbone."""
TOKENS = 12


def count(run: Callable[[], object]) -> tuple[float, dict[str, float]]:
    """Multiply-adds of a call in units of 1e9: altogether, and of each part of the model."""
    # As matrix multiplications, since the counter does not know the CPU's fused attention.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, depth=3) as counter:
        run()
    parts = {
        name.split(".", 1)[1]: sum(found.values()) / 2e9
        for name, found in counter.get_flop_counts().items()
        if name.count(".") == 1
    }
    return counter.get_total_flops() / 2e9, parts


def line(name: str, rate: float, frames: int) -> str:
    """A line of the table: one model at one drop rate."""
    torch.manual_seed(0)
    model = rd.build(name, keep_ratio=1 - rate).requires_grad_(False)
    pixels = torch.randn(frames, 3, *SIZE)
    ids = torch.tensor([101, *range(2000, 2000 + TOKENS - 3), 1012, 102])
    training, parts = count(lambda: clip_outputs(model, pixels, ids))
    inference, _ = count(lambda: model.segment(pixels, ids))
    listed = ", ".join(f"{part} {value:.0f}" for part, value in parts.items())
    return (
        f"| {name} | {rate:.0%} | {training:.0f} | {inference:.0f} "
        f"| {PUBLISHED.get(rate, '')} | {listed} |"
    )


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["swint", "swinb"])
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--drop-rates", nargs="+", type=float, default=DROP_RATES)
    arguments = parser.parse_args()
    print(f"One clip of {arguments.frames} frames of {SIZE[0]}x{SIZE[1]}; 1e9 multiply-adds.\n")
    print("| model | drop rate | training | inference | published | parts of training |")
    print("|---|---|---|---|---|---|")
    for name in arguments.models:
        for rate in arguments.drop_rates:
            print(line(name, rate, arguments.frames), flush=True)


if __name__ == "__main__":
    main()
