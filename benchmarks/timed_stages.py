# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A runtime's stages with a stopwatch around each."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from referdino_core.network.image_geometry import Shape
from referdino_core.network.object_memory import Window
from referdino_core.network.readout import SlotReadings
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.runtime.stages import EncodedImage, FrameGrounding, Stages

STAGES = ("encode_image", "ground", "read")


class TimedStages(Stages):
    """Passes everything on to another runtime, and keeps the seconds of every call."""

    def __init__(self, stages: Stages) -> None:
        super().__init__(stages.model, stages.precision)
        self.name = stages.name
        self.takes_batches = stages.takes_batches
        self.stages = stages
        self.seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}

    def clear(self) -> None:
        """Forget what was measured."""
        for spans in self.seconds.values():
            spans.clear()

    def per_frame(self, stage: str, frames: int) -> float:
        """Median seconds of a stage's calls, times the calls there were in each of some frames."""
        seconds = self.seconds[stage]
        return statistics.median(seconds) * len(seconds) / frames

    def timed(self, stage: str, *inputs: Any) -> Any:
        """Call a stage and note how long it took, to the end of what it started on a GPU."""
        call: Callable[..., Any] = getattr(self.stages, stage)
        began = time.perf_counter()
        outputs = call(*inputs)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[stage].append(time.perf_counter() - began)
        return outputs

    def encode_text(self, sentences: Sequence[Tensor]) -> TextFeatures:
        """Once per command, and not timed."""
        return self.stages.encode_text(sentences)

    def prepare(self, size: Shape) -> None:
        """Once per image size, and not timed."""
        self.stages.prepare(size)

    def encode_image(self, pixels: Tensor) -> EncodedImage:
        """Timed."""
        return self.timed("encode_image", pixels)

    def ground(self, image: EncodedImage, text: TextFeatures) -> FrameGrounding:
        """Timed."""
        return self.timed("ground", image, text)

    def read(self, window: Window, mask_features: Tensor) -> SlotReadings:
        """Timed."""
        return self.timed("read", window, mask_features)
