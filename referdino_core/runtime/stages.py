# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The interface between a session and whatever computes the network."""

from __future__ import annotations

import abc
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from referdino_core.network.image_geometry import Shape
from referdino_core.network.object_memory import Window
from referdino_core.network.readout import SlotReadings
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures

MAX_SIZES = 4
"""Image sizes that stages stay ready for, so that cameras may differ; then the oldest goes."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The precisions of the tensor stages, by name."""


def nothing(fraction: float, phase: str) -> None:
    """Hear of progress and do nothing about it."""


@dataclass(frozen=True)
class Watch:
    """Whoever waits for a runtime to get ready.

    Attributes:
        on_progress: told, from any thread, how much is done (0 to 1) and of what.
        cancelled: set to give up; what was under way then raises.
    """

    on_progress: Callable[[float, str], None] = nothing
    cancelled: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class EncodedImage:
    """B images as the image encoder leaves them, in the runtime's precision and on its device.

    B is 1 unless the stages take batches.

    Attributes:
        tokens: (B, S, d). finest: (B, C, h, w) backbone map at stride 4.
        rows: (N,) int64, the image that each of N sentences is grounded in; None where all share
            the only image, or where each of B sentences has its own.
    """

    tokens: Tensor
    finest: Tensor
    rows: Tensor | None = None


@dataclass(frozen=True)
class FrameGrounding:
    """What one frame says about N commands; float32 but for the mask features.

    Attributes:
        queries: (N, Q, d) surviving queries. references: (N, Q, 4) their boxes, in [0, 1].
        text: (N, L, d) fused text; where L is padded, rows beyond a sentence mean nothing.
        mask_features: (N, d, h, w) at stride 4, in the runtime's precision.
    """

    queries: Tensor
    references: Tensor
    text: Tensor
    mask_features: Tensor


@dataclass(frozen=True)
class Preparation:
    """Getting ready for longer sentences or another image size, beside what runs.

    Attributes:
        fraction: how much is done, 0 to 1.
        error: why it failed; None while it goes on.
    """

    fraction: float = 0.0
    error: str | None = None


class Stages(abc.ABC):
    """The text encoder and the three tensor stages of one model on one runtime.

    The text encoder, which runs once per command, is PyTorch's in float32 everywhere.

    Attributes:
        name: of the runtime. precision: of the tensor stages, a key of `DTYPES`.
        device: where the stages' tensors live.
        takes_batches: whether several images are encoded at once; else there is one per call.
    """

    name: str
    takes_batches: bool = True

    def __init__(self, model: ReferDINO, precision: str) -> None:
        self.model = model
        self.precision = precision
        self.device = model.device

    def encode_text(self, sentences: Sequence[Tensor]) -> TextFeatures:
        """Encode sentences of (L_i,) int64 token ids each, special tokens included.

        Raises:
            CommandError: a sentence is longer than the runtime takes.
        """
        return self.model.text_encoder(sentences)

    def preparation(self, tokens: int, size: Shape | None) -> Preparation | None:
        """Get ready beside what runs; returns at once.

        Args:
            tokens: length of a sentence.
            size: (height, width) of the images that it is grounded in; None while there are none.

        Returns:
            How far that is; None where it can be grounded now, or once `fit` returns: what is not
            running yet is not kept from it.
        """
        return None

    def try_again(self) -> None:
        """Let what failed in `preparation` be tried again, because a command asks for it anew."""
        return None

    def allow_window(self, frames: int) -> None:
        """Read windows of up to so many frames from now on.

        Raises:
            RuntimeUnavailable: the runtime is set up for less.
        """
        return None

    @abc.abstractmethod
    def prepare(self, size: Shape) -> None:
        """Get ready for images of (height, width) pixels; may take long, and then says so.

        Raises:
            ReferDINOError: the runtime cannot be had, or not for this size.
        """

    @abc.abstractmethod
    def encode_image(self, pixels: Tensor) -> EncodedImage:
        """Encode (B, 3, H, W) float32 pixels of the size that was fitted."""

    @abc.abstractmethod
    def ground(self, image: EncodedImage, text: TextFeatures) -> FrameGrounding:
        """Ground N sentences, each in the image that `EncodedImage.rows` says."""

    @abc.abstractmethod
    def read(self, window: Window, mask_features: Tensor) -> SlotReadings:
        """Read N windows; `mask_features` (N, d, h, w) are those of the newest frame."""
