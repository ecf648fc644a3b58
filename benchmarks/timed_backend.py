# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A backend that measures the time of every stage."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from referdino_core.backends.backend import Backend, EncodedImage, FrameGrounding
from referdino_core.network.image_geometry import Shape
from referdino_core.network.object_memory import Window
from referdino_core.network.readout import SlotReadings
from referdino_core.network.text_encoder import TextFeatures

STAGES = ("encode_image", "ground", "read")


class TimedBackend(Backend):
    """Delegates to another backend, and records the duration of every call."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend.model, backend.precision)
        self.name = backend.name
        self.takes_batches = backend.takes_batches
        self.backend = backend
        self.seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}

    def clear(self) -> None:
        """Discard the measurements."""
        for spans in self.seconds.values():
            spans.clear()

    def per_frame(self, stage: str, frames: int) -> float:
        """Median duration of a stage's calls in seconds, times its calls per frame."""
        seconds = self.seconds[stage]
        return statistics.median(seconds) * len(seconds) / frames

    def timed(self, stage: str, *inputs: Any) -> Any:
        """Call a stage and record its duration, including the work that it started on a GPU."""
        call: Callable[..., Any] = getattr(self.backend, stage)
        began = time.perf_counter()
        outputs = call(*inputs)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[stage].append(time.perf_counter() - began)
        return outputs

    def encode_text(self, sentences: Sequence[Tensor]) -> TextFeatures:
        """Once per command, not timed."""
        return self.backend.encode_text(sentences)

    def prepare(self, size: Shape) -> None:
        """Once per image size, not timed."""
        self.backend.prepare(size)

    def encode_image(self, pixels: Tensor) -> EncodedImage:
        """Timed."""
        return self.timed("encode_image", pixels)

    def ground(self, image: EncodedImage, text: TextFeatures) -> FrameGrounding:
        """Timed."""
        return self.timed("ground", image, text)

    def read(self, window: Window, mask_features: Tensor) -> SlotReadings:
        """Timed."""
        return self.timed("read", window, mask_features)
