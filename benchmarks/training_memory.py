# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Peak memory and time of a training step of Swin-T and Swin-B.

    python benchmarks/training_memory.py                                   # on a GPU
    python benchmarks/training_memory.py --device cpu --models swint --frames 1 --steps 1
    python benchmarks/training_memory.py --device cpu --steps 1 --checkpointing with

A step is the forward and backward pass of one clip with LoRA under autocast to bfloat16, with and
without activation checkpointing, and the optimiser's step. Weights are random, which changes
neither. On a GPU the peak is PyTorch's, of memory in tensors; on the CPU it is how far the
process's resident memory rose above what it was with the model loaded, and every case is a process
of its own. Time is that of the fastest step: as it passes, and of all processors together, which
other work on the machine hardly changes. The paper's table 5 states 26.8, 20.4, 17.0 and 16.2 GB
for drop rates of 0, 20, 50 and 65 % without activation checkpointing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from referdino_core.training.clip_samples import TrainingClip
from referdino_core.training.learnt_parts import parameter_groups
from referdino_core.training.targets import ClipGroundTruth
from referdino_core.training.video_recipes import RECIPES
from referdino_core.training.video_training import TrainingStep, build_model

TOKENS = 12
MODELS = {"swint": "ytvos_swint", "swinb": "ytvos_swinb"}
GIGABYTE = 1e9
FORGET_PEAK = Path("/proc/self/clear_refs")
"""Linux's file that "5" is written to, so that the highest resident memory is that from now on."""


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        size: height and width of the frames. checkpointing: of activations.
    """

    model: str
    frames: int
    size: tuple[int, int]
    steps: int
    device: str
    checkpointing: bool


def clip_of(case: Case) -> TrainingClip:
    """A clip of noise with a rectangle as its object."""
    torch.manual_seed(0)
    height, width = case.size
    masks = torch.zeros(case.frames, height, width, dtype=torch.bool)
    masks[:, height // 4 : height // 2, width // 4 : width // 2] = True
    ids = torch.tensor([101, *range(2000, 2000 + TOKENS - 3), 1012, 102])
    pixels = torch.randn(case.frames, 3, height, width)
    return TrainingClip("noise", pixels, ids, ClipGroundTruth.from_masks(masks), ())


@dataclass(frozen=True)
class Result:
    """Peak memory above the model's, in units of 1e9 bytes; seconds of the fastest step."""

    peak: float
    seconds: float
    processor_seconds: float


def measure(case: Case) -> Result:
    """Take a case's steps."""
    recipe = replace(
        RECIPES[MODELS[case.model]], precision="bf16", checkpointing=case.checkpointing
    )
    model = build_model(recipe, None, 0).to(case.device).train()
    step, clip = TrainingStep(model, recipe), clip_of(case)
    optimiser = torch.optim.AdamW(parameter_groups(model, recipe), lr=1e-5)
    on_gpu = case.device != "cpu"
    before = resident("VmRSS") if not on_gpu else 0
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    else:
        FORGET_PEAK.write_text("5")
    spans, busy = [], []
    for _ in range(case.steps):
        began, began_busy = time.perf_counter(), time.process_time()
        with torch.autocast(case.device, torch.bfloat16):
            losses = step([clip])
        losses.total.backward()
        optimiser.step()
        optimiser.zero_grad()
        if on_gpu:
            torch.cuda.synchronize()
        spans.append(time.perf_counter() - began)
        busy.append(time.process_time() - began_busy)
    peak = torch.cuda.max_memory_allocated() if on_gpu else resident("VmHWM") - before
    return Result(peak / GIGABYTE, min(spans), min(busy))


def resident(entry: str) -> int:
    """Resident memory of this process in bytes: now ("VmRSS"), or the most of it ("VmHWM")."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == entry:
            return int(value.split()[0]) * 1024
    raise RuntimeError(f"Linux does not tell {entry}.")


def main() -> None:
    """Parse the command line, measure every case in a process of its own, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=tuple(MODELS), default=list(MODELS))
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--size", type=int, nargs=2, default=(360, 640), metavar=("H", "W"))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--checkpointing",
        nargs="+",
        choices=("without", "with"),
        default=("without", "with"),
        help="of activations",
    )
    options = parser.parse_args()
    if options.device != "cpu" and not torch.cuda.is_available():
        parser.error("there is no GPU that PyTorch can use; --device cpu takes minutes per step")
    print(f"PyTorch {torch.__version__}, {options.device}, {torch.get_num_threads()} threads")
    print(f"{options.frames} frames of {options.size[0]}x{options.size[1]}, bf16, LoRA")
    print("| model | activation checkpointing | peak, GB | s per step | processor s per step |")
    print("|---|---|---|---|---|")
    size = (int(options.size[0]), int(options.size[1]))
    for model in options.models:
        for checkpointing in options.checkpointing:
            case = Case(
                model, options.frames, size, options.steps, options.device, checkpointing == "with"
            )
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found = pool.apply(measure, (case,))
            cells = f"{found.peak:.1f} | {found.seconds:.2f} | {found.processor_seconds:.2f}"
            print(f"| {model} | {checkpointing} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
