# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Time per frame that each CPU kernel saves: the optimized stages with and without it.

    python benchmarks/kernels.py nano
    python benchmarks/kernels.py swint --rounds 8

One command, float32, one thread, random weights. All variants alternate in one process, and CPU
time is measured, so that other programs have little effect.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch

from referdino_core.building import build
from referdino_core.network.attention import DecoderLayer
from referdino_core.network.deformable_attention import DeformableAttention
from referdino_core.network.fusion_encoder import FusionLayer, ImageLayer, TextLayer
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.temporal_decoder import TemporalLayer
from referdino_core.ops.linear import PlainLinear
from referdino_core.optimize import optimization, swin_stage, transformer_layers
from referdino_core.optimize.optimization import OptimizedStages, optimize, replace_modules
from referdino_core.optimize.swin_stage import CachedSwinStage, WindowTableSwinBlock

SIZES = {"nano": (120, 160), "swint": (360, 640), "swinb": (360, 640)}
TOKENS, FRAMES = 8, 5


@dataclass(frozen=True)
class Patch:
    """An attribute that is replaced while stages are optimized and run."""

    owner: Any
    name: str
    value: Any


def keeping(*kinds: type) -> tuple[Patch]:
    """A patch that leaves modules of these kinds unoptimized."""

    def some(block: Any, replacements: Any) -> None:
        chosen = {kind: make for kind, make in replacements.items() if kind not in kinds}
        replace_modules(block, chosen)

    return (Patch(optimization, "replace_modules", some),)


def plain_linear() -> tuple[Patch, ...]:
    """Patches that compute linear layers outside of blocks in PyTorch's operators."""
    owners = (optimization, swin_stage, transformer_layers)
    return tuple(Patch(owner, "fast_linear", PlainLinear) for owner in owners)


def plain_swin(backbone: Any, size: Any, device: torch.device) -> None:
    """Optimize a backbone without the CPU kernels; stands in for `optimize_backbone`."""
    optimization.replace_swin_stages(backbone, size, CachedSwinStage)


VARIANTS: dict[str, tuple[Patch, ...]] = {
    "all kernels": (),
    "deformable attention": keeping(DeformableAttention, DecoderLayer, ImageLayer),
    "image layers as blocks": keeping(ImageLayer),
    "decoder layers as blocks": keeping(DecoderLayer),
    "text and temporal layers as blocks": keeping(TextLayer, TemporalLayer),
    "fusion attention": keeping(FusionLayer),
    "window attention": (Patch(optimization, "optimize_backbone", plain_swin),),
    "Swin blocks in two calls": (Patch(swin_stage, "FusedSwinBlock", WindowTableSwinBlock),),
    "linear layers outside of blocks": plain_linear(),
    "3x3 and 1x1 convolutions": (Patch(optimization, "fast_convolution", lambda found: found),),
}


def frame_of(model: ReferDINO, size: tuple[int, int]) -> Callable[[OptimizedStages], None]:
    """A function that runs all stages on random pixels and a random sentence."""
    width = model.configuration.width
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(1, 3, *size, generator=generator)
    text = torch.randn(1, TOKENS, width, generator=generator)
    padding = torch.zeros(1, TOKENS, dtype=torch.bool)
    attention = torch.ones(1, TOKENS, TOKENS, dtype=torch.bool)
    positions = torch.arange(TOKENS)[None]
    ages = torch.linspace(0.1 * (FRAMES - 1), 0, FRAMES)[None]

    def run(stages: OptimizedStages) -> None:
        encoded = stages.image(pixels)
        queries, references, fused, masks = stages.grounding(
            *encoded, text, padding, attention, positions
        )
        window = queries[:, None].expand(-1, FRAMES, -1, -1).contiguous()
        texts = fused[:, None].expand(-1, FRAMES, -1, -1).contiguous()
        stages.readout(window, references, texts, padding, ages, masks)

    return run


class Variant:
    """The stages of a model without one kernel, and their measured times per frame."""

    def __init__(self, model: ReferDINO, size: tuple[int, int], patches: tuple[Patch, ...]) -> None:
        self.patches = patches
        self.seconds: list[float] = []
        with self.patched():
            self.stages = optimize(model, size, torch.float32)

    def patched(self) -> ExitStack:
        """A context in which the patches are applied."""
        stack = ExitStack()
        for one in self.patches:
            stack.enter_context(patch.object(one.owner, one.name, one.value))
        return stack

    def time(self, run: Callable[[OptimizedStages], None]) -> None:
        """Run one frame and record its time."""
        with self.patched():
            start = time.process_time()
            run(self.stages)
            self.seconds.append(time.process_time() - start)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="Time per frame that each CPU kernel saves.")
    parser.add_argument("model", choices=SIZES)
    parser.add_argument("--rounds", type=int, default=200, help="frames per variant")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, size = build(arguments.model).eval(), SIZES[arguments.model]
    run = frame_of(model, size)
    variants = {name: Variant(model, size, patches) for name, patches in VARIANTS.items()}
    with torch.inference_mode():
        for round_number in range(arguments.rounds + 1):
            for variant in variants.values():
                variant.time(run)
                if round_number == 0:
                    variant.seconds.clear()  # the first call warms up
    base = variants["all kernels"].seconds
    print(f"| {arguments.model} without | ms | of the frame |\n|---|---|---|")
    for name, variant in variants.items():
        median = 1000 * statistics.median(variant.seconds)
        ratio = statistics.median(b / a for a, b in zip(base, variant.seconds, strict=True))
        print(f"| {name} | {median:.1f} | {100 * (ratio - 1):+.1f} % |")


if __name__ == "__main__":
    main()
