# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Multiply-adds of the forward pass over one clip, at the drop rates of the paper's table 5.

    python benchmarks/multiply_adds.py                     # Swin-T, 6 frames of 368x640
    python benchmarks/multiply_adds.py --models swint swinb --tokens 20

"training" is the forward pass of a training step: with LoRA, all decoder layers and the proposals
read out. "inference" is `ReferDINO.segment`. Counted by PyTorch's counter, two operations to a
multiply-add: matrix multiplications and convolutions; sampling, norms and activations count
nothing. A table of blocks follows, and one of what would close the gap to the published figures:
work that this implementation saves without a change of its results, and what fvcore, a common
counter, counts besides.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx.experimental import _config as meta_settings
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import referdino_core as rd
from referdino_core.network import object_memory
from referdino_core.network.deformable_attention import DeformableAttention
from referdino_core.network.query_selection import Proposals
from referdino_core.network.uninitialised_weights import UninitialisedWeights
from referdino_core.training.clip_outputs import clip_outputs
from referdino_core.training.lora import LoRALinear, add_lora

SIZE = (368, 640)
DROP_RATES = (0.0, 0.2, 0.5, 0.65)
PUBLISHED = {0.0: 1352, 0.2: 1068, 0.5: 896, 0.65: 857}
"""Of the paper's table 5, in units of 1e9; it does not name the backbone, nor the counter."""
GIGA = 1e9
MORE_TOKENS = 8

MASK_VALUES = "mask decoder: values of the mask features"
MASK_QUERIES = "mask decoder: queries"
OUTSIDE = "masks, scores, alignment"
BLOCKS = {
    "Swin Transformer": r"ImageEncoder\.backbone",
    "projections to four levels": r"ImageEncoder\.input_projections\.\d",
    "BERT": r"TextEncoder",
    "encoder: fusion": r"Grounder\.fusion_encoder\.fusion_layers\.\d",
    "encoder: text": r"Grounder\.fusion_encoder\.text_layers\.\d",
    "encoder: image": r"Grounder\.fusion_encoder\.layers\.\d",
    "query selection": r"Grounder\.query_selection",
    "decoder layers": r"Grounder\.decoder\.layers\.\d",
    "heads of boxes and positions": r"Grounder\.decoder\.(box_head|reference_point_head)",
    "pixel decoder": r"Grounder\.pixel_decoder",
    "temporal decoder": r"TemporalDecoder",
    MASK_VALUES: r"MaskDecoder\.layers\.\d\.cross_attn\.value_proj",
    MASK_QUERIES: r"MaskDecoder",
}
"""Patterns of the names that PyTorch's counter gives to modules; no module contains another but
that of the last two, see `by_block`."""

LORA = "LoRA"
BERT_PER_FRAME = "BERT for every frame, not once"
EVERY_BOX = "a box for every token, not the selected ones"
EVERY_SENTENCE = "first sentence attention for every slot, not once"
NORMS = "norms, five per element (fvcore)"
SAMPLING = "bilinear samples, four each (fvcore)"
CAUSES = (EVERY_SENTENCE, BERT_PER_FRAME, EVERY_BOX, SAMPLING, NORMS)
TEMPORAL_PROPOSALS = "not subtracted: temporal decoder for the proposals, too"


@dataclass(frozen=True)
class Count:
    """Multiply-adds of a pass in units of 1e9.

    Attributes:
        blocks: by block. beside: what is part of the blocks (LoRA), or not counted in them.
    """

    blocks: dict[str, float]
    beside: dict[str, float]

    @property
    def total(self) -> float:
        """Of all blocks."""
        return sum(self.blocks.values())


class NormElements(TorchDispatchMode):
    """Counts the elements that go through layer norms and group norms."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Count and compute."""
        if func.overloadpacket.__name__ in ("native_layer_norm", "native_group_norm"):
            self.elements += args[0].numel()
        return func(*args, **(kwargs or {}))


@contextmanager
def counting_beside(model: rd.ReferDINO, beside: Counter[str]) -> Any:
    """Count what PyTorch's counter does not tell apart, or what is saved; see the constants."""
    width = model.configuration.width

    def lora(layer: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        assert isinstance(layer, LoRALinear)
        rows = inputs[0].numel() // layer.in_features
        beside[LORA] += rows * len(layer.lora_A) * (layer.in_features + layer.out_features)

    def sampling(layer: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        assert isinstance(layer, DeformableAttention)
        samples = inputs[0].numel() * layer.levels * layer.points
        beside[SAMPLING] += 4 * samples

    def boxes(_: nn.Module, inputs: tuple[Tensor, ...], proposals: Proposals) -> None:
        frames, queries, _ = proposals.boxes.shape
        others = inputs[0].shape[1] - queries
        beside[EVERY_BOX] += frames * others * (2 * width**2 + 4 * width)
        attention = 3 * (4 * width**2 + 2 * frames * width)
        feed_forward = 2 * width * model.configuration.temporal_feed_forward
        layers = model.configuration.temporal_layers
        beside[TEMPORAL_PROPOSALS] += frames * queries * layers * (attention + feed_forward)

    def sentences(_: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
        clips, frames, slots, _ = inputs[0].shape
        attention = 4 * frames * width**2 + 2 * frames**2 * width
        beside[EVERY_SENTENCE] += clips * (slots - 1) * attention

    with ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, LoRALinear):
                hooks.callback(module.register_forward_hook(lora).remove)
            if isinstance(module, DeformableAttention):
                hooks.callback(module.register_forward_hook(sampling).remove)
        selection, temporal = model.grounder.query_selection, model.readout.temporal_decoder
        hooks.callback(selection.register_forward_hook(boxes).remove)
        hooks.callback(temporal.register_forward_hook(sentences).remove)
        norms = hooks.enter_context(NormElements())
        yield
        beside[NORMS] += 5 * norms.elements


def count(model: rd.ReferDINO, run: Callable[[], object], frames: int) -> Count:
    """Multiply-adds of a call."""
    beside: Counter[str] = Counter()
    # As matrix multiplications, since the counter does not know the CPU's fused attention.
    with (
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
        counting_beside(model, beside),
    ):
        run()
    blocks = by_block({n: sum(f.values()) / 2 for n, f in counter.get_flop_counts().items()})
    beside[BERT_PER_FRAME] = (frames - 1) * round(blocks["BERT"])
    names = (LORA, *CAUSES, TEMPORAL_PROPOSALS)
    return Count(
        {name: value / GIGA for name, value in blocks.items()},
        {name: beside[name] / GIGA for name in names},
    )


def by_block(modules: dict[str, float]) -> dict[str, float]:
    """Multiply-adds of disjoint blocks from those of modules, which contain their children."""
    blocks = {
        block: sum(value for name, value in modules.items() if re.fullmatch(pattern, name))
        for block, pattern in BLOCKS.items()
    }
    blocks[MASK_QUERIES] -= blocks[MASK_VALUES]
    return {**blocks, OUTSIDE: modules["Global"] - sum(blocks.values())}


def no_costs(costs: Tensor) -> tuple[np.ndarray]:
    """Costs of assigning queries to slots: any will do, since their order changes no count."""
    return (np.zeros(costs.shape),)


def count_clip(name: str, rate: float, frames: int, tokens: int) -> tuple[Count, float]:
    """The training pass of a model over one clip, and the total of its inference.

    Nothing is computed: tensors on PyTorch's device "meta" have shapes and no values.
    """
    with UninitialisedWeights():
        model = rd.build(name, keep_ratio=1 - rate).requires_grad_(False).to("meta")
    pixels = torch.empty(frames, 3, *SIZE, device="meta")
    ids = torch.tensor([101, *range(2000, 2000 + tokens - 3), 1012, 102])
    # The only mask that selects tokens is that of a sentence without padding.
    with (
        mock.patch.object(object_memory, "download", no_costs),
        meta_settings.patch(meta_nonzero_assume_all_nonzero=True),
    ):
        inference = count(model, lambda: model.segment(pixels, ids), frames).total
        add_lora(model)
        training = count(model, lambda: clip_outputs(model, pixels, ids), frames)
    return training, inference


def tables(name: str, rates: list[float], frames: int, tokens: int) -> str:
    """The tables of a model, of which the columns are drop rates."""
    found = [count_clip(name, rate, frames, tokens) for rate in rates]
    counts = [one for one, _ in found]
    heads = [f"{rate:.0%}" for rate in rates]
    lines = [row(f"{name}, drop rate", heads, rule=True)]
    lines += [row(block, [one.blocks[block] for one in counts]) for block in counts[0].blocks]
    lines.append(row("training", [one.total for one in counts]))
    lines.append(row("of which LoRA", [one.beside[LORA] for one in counts]))
    lines.append(row("inference, without LoRA", [total for _, total in found]))
    longer, _ = count_clip(name, rates[-1], frames, tokens + MORE_TOKENS)
    per_token = (with_bert_per_frame(longer) - with_bert_per_frame(counts[-1])) / MORE_TOKENS
    gaps = [
        PUBLISHED.get(rate, float("nan")) - one.total
        for rate, one in zip(rates, counts, strict=True)
    ]
    lines += ["", row(f"{name}, drop rate", heads, rule=True)]
    lines.append(row("published", [PUBLISHED.get(rate, float("nan")) for rate in rates]))
    lines.append(row("published minus training", gaps))
    for cause in CAUSES:
        amounts = [one.beside[cause] for one in counts]
        gaps = [gap - amount for gap, amount in zip(gaps, amounts, strict=True)]
        lines.append(row(cause, amounts))
    lines.append(row("left", gaps))
    lines.append(row(f"left, in tokens beyond {tokens}", [gap / per_token for gap in gaps]))
    lines.append(row(TEMPORAL_PROPOSALS, [one.beside[TEMPORAL_PROPOSALS] for one in counts]))
    return "\n".join(lines)


def with_bert_per_frame(count: Count) -> float:
    """The total if BERT ran for every frame."""
    return count.total + count.beside[BERT_PER_FRAME]


def row(name: str, cells: Sequence[float | str], rule: bool = False) -> str:
    """A row of a table, figures with one decimal; with a rule below if it is the first."""
    shown = [cell if isinstance(cell, str) else f"{cell:.1f}" for cell in cells]
    line = f"| {name} | {' | '.join(shown)} |"
    return f"{line}\n{'|---' * (len(shown) + 1)}|" if rule else line


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["swint"], choices=("swint", "swinb"))
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=12, help="of the sentence")
    parser.add_argument("--drop-rates", nargs="+", type=float, default=list(DROP_RATES))
    arguments = parser.parse_args()
    print(
        f"One clip of {arguments.frames} frames of {SIZE[0]}x{SIZE[1]} and a sentence of "
        f"{arguments.tokens} tokens; 1e9 multiply-adds, by drop rate."
    )
    for name in arguments.models:
        found = tables(name, arguments.drop_rates, arguments.frames, arguments.tokens)
        print(f"\n{found}", flush=True)


if __name__ == "__main__":
    main()
