# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Models and inputs for tests of the prepared stages, and the ways in which they are prepared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import golden
import pytest
import torch
from torch import Tensor

import referdino_core as rd
from referdino_core.building import load_model, tokenizer_of
from referdino_core.network.grounder import Grounding
from referdino_core.network.image_encoder import ImageFeatures
from referdino_core.network.mask_decoder import MaskFeatures
from referdino_core.network.object_memory import Window, stack_windows
from referdino_core.network.readout import SlotReadings
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.ops import BUILD_COMMAND, deformable_attention, library
from referdino_core.ops.cuda import check_attention_inputs
from referdino_core.ops.library import kernel_library
from referdino_core.optimize import optimization
from referdino_core.optimize.optimization import OptimizedStages, optimize

GOLDENS = ("swint_q32_128x160_f3", "swinb_q32_128x160_f1", "swint_q300_192x256_f1")
SENTENCES = (
    "the red ball",
    "the small red box in front of the big green cylinder",
    "the ball",
)
ANY_PROCESSOR = "CPU kernels that are built for any processor"
ROUTES = ("CPU kernels", "no kernels", "a simulated CUDA kernel", ANY_PROCESSOR)


@dataclass(frozen=True)
class Case:
    """A model, two frames (2, 3, H, W), three sentences, and what the plain network says."""

    model: rd.ReferDINO
    pixels: Tensor
    texts: tuple[TextFeatures, ...]
    images: tuple[ImageFeatures, ...]
    groundings: tuple[tuple[Grounding, ...], ...]
    window: Window
    masks: Tensor
    readings: SlotReadings

    @property
    def size(self) -> tuple[int, int]:
        return int(self.pixels.shape[2]), int(self.pixels.shape[3])


def case_of(name: str) -> Case:
    """The case of "nano" or of a golden; the last one is kept, since weights take seconds.

    Answers hold to the bit with as many threads as there are now.
    """
    return _case_of(name, torch.get_num_threads())


@lru_cache(maxsize=1)
def _case_of(name: str, threads: int) -> Case:
    # Whoever asks first, the weights are to be of use outside of inference mode.
    with torch.inference_mode(False), torch.no_grad():
        return answered(*model_and_inputs(name))


def model_and_inputs(name: str) -> tuple[rd.ReferDINO, Tensor, list[Tensor]]:
    if name == "nano":
        model, pixels = load_model("nano", "cpu"), golden.frames(2, 120, 160, seed=1)
        tokenizer = tokenizer_of(model.configuration)
        sentences = [tokenizer.encode(text) for text in SENTENCES]
    else:
        recorded = golden.load(name)
        model = recorded.model()
        pixels, ids = recorded.pixels[:2], recorded["input_ids"]
        sentences = [ids, torch.cat([ids[:-1], ids[1:]]), ids[[0, 2, 3, -1]]]
    return model, pixels, sentences


def answered(model: rd.ReferDINO, pixels: Tensor, sentences: list[Tensor]) -> Case:
    texts = tuple(model.text_encoder([sentence]) for sentence in sentences)
    images = tuple(model.image_encoder(frame[None]) for frame in pixels)
    groundings = tuple(tuple(model.grounder(image, text) for text in texts) for image in images)
    memories = [model.object_memory(None) for _ in texts]
    for number, frame in enumerate(groundings):
        for memory, one in zip(memories, frame, strict=True):
            memory.update(one.queries[0], one.references[0], one.text[0], 0.1 * number)
    window = stack_windows([memory.window for memory in memories])
    masks = torch.cat([one.masks.features for one in groundings[-1]])
    readings = model.readout(window, MaskFeatures(masks, None, torch.ones(1, 2)))
    return Case(model, pixels, texts, images, groundings, window, masks, readings)


def simulated_cuda_attention(
    value: Tensor, spatial_shapes: tuple[tuple[int, int], ...], locations: Tensor, logits: Tensor
) -> Tensor:
    """What the CUDA kernel computes, for tensors of the CPU, with its checks of the inputs."""
    check_attention_inputs(value, spatial_shapes, locations, logits)
    split = (len(spatial_shapes), -1)
    return deformable_attention.portable_deformable_attention(
        value, spatial_shapes, locations.unflatten(3, split), logits.softmax(-1).unflatten(3, split)
    )


def forget_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the CPU's library is not built."""
    for module in (library, optimization, deformable_attention):
        monkeypatch.setattr(module, "kernel_library", lambda: None)


def pretend(route: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one of `ROUTES` needs while stages are prepared and while they run."""
    if route in ("CPU kernels", ANY_PROCESSOR):
        assert kernel_library() is not None, f"build it with: {BUILD_COMMAND}"
    if route == ANY_PROCESSOR:
        monkeypatch.setattr(kernel_library(), "has_fast_matmul", False)
    elif route != "CPU kernels":
        forget_the_kernels(monkeypatch)
    if route == "a simulated CUDA kernel":
        monkeypatch.setattr(deformable_attention, "_fits_cuda_kernel", lambda value: True)
        monkeypatch.setattr(
            deformable_attention, "cuda_deformable_attention", simulated_cuda_attention
        )


def prepare_by(
    route: str,
    model: rd.ReferDINO,
    size: tuple[int, int],
    precision: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> OptimizedStages:
    """The stages as they are prepared on one of `ROUTES`."""
    pretend(route, monkeypatch)
    if route != "a simulated CUDA kernel":
        return optimize(model, size, precision)
    gpu = torch.device("cuda")
    with torch.no_grad():
        stages = optimization.copy_stages(model, size, precision)
        optimization.optimize_backbone(stages.image.encoder.backbone, size, gpu)
        for stage in (stages.image, stages.grounding, stages.readout):
            optimization.optimize_blocks(stage, precision, gpu)
    return stages


def ground(stages: OptimizedStages, encoded: tuple[Tensor, Tensor], text: TextFeatures):
    return stages.grounding(*encoded, text.tokens, text.padding, text.attention, text.positions)


def read(stages: OptimizedStages, window: Window, masks: Tensor):
    return stages.readout(
        window.queries,
        window.references,
        window.text,
        window.text_padding,
        window.ages,
        masks,
    )


def run_all(stages: OptimizedStages, case: Case) -> Callable[[], list[Tensor]]:
    """A call of all three stages on the case's last frame, first sentence and windows."""

    def run() -> list[Tensor]:
        encoded = stages.image(case.pixels[-1:])
        readings = read(stages, case.window, case.masks.to(encoded[0].dtype))
        return [*encoded, *ground(stages, encoded, case.texts[0]), *readings]

    return run


def count_calls(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> list[int]:
    """A list that grows by one with every call of a method."""
    calls: list[int] = []
    method = getattr(owner, name)

    def counted(self: Any, *inputs: Any) -> Any:
        calls.append(1)
        return method(self, *inputs)

    monkeypatch.setattr(owner, name, counted)
    return calls
