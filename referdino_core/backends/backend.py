# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The interface of the backends, which run the network on PyTorch, ONNX Runtime or TensorRT."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from referdino_core.network.image_geometry import Shape
from referdino_core.network.object_memory import Window
from referdino_core.network.readout import SlotReadings
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures

MAX_SIZES = 4
"""Image sizes that a backend stays ready for, since cameras may differ; the oldest is dropped."""


@dataclass(frozen=True)
class EncodedImage:
    """Features of B images, in the backend's precision and on its device.

    B is 1 unless the backend takes batches.

    Attributes:
        tokens: (B, S, d). finest: (B, C, h, w) backbone features at stride 4.
        rows: (N,) int64, the image that each of N sentences is grounded in; None if all share
            the only image, or if each of B sentences has its own.
    """

    tokens: Tensor
    finest: Tensor
    rows: Tensor | None = None


@dataclass(frozen=True)
class FrameGrounding:
    """Grounding of N commands in one frame; float32 except for the mask features.

    Attributes:
        queries: (N, Q, d) surviving queries. references: (N, Q, 4) their boxes, in [0, 1].
        text: (N, L, d) fused text; rows beyond the end of a sentence are undefined.
        mask_features: (N, d, h, w) at stride 4, in the backend's precision.
    """

    queries: Tensor
    references: Tensor
    text: Tensor
    mask_features: Tensor


@dataclass(frozen=True)
class Preparation:
    """State of preparing for longer sentences or another image size in the background.

    Attributes:
        fraction: completed fraction, in [0, 1].
        error: why it failed; None while it is under way.
    """

    fraction: float = 0.0
    error: str | None = None


class Backend(abc.ABC):
    """The text encoder and the three tensor stages of one model on one runtime.

    The text encoder, which runs once per command, is PyTorch's in float32 in all backends.

    Attributes:
        name: of the runtime. precision: of the tensor stages, a key of `PRECISIONS`.
        device: of the stages' tensors.
        takes_batches: whether several images are encoded in one call; otherwise one per call.
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
            CommandError: a sentence is longer than the backend supports.
        """
        return self.model.text_encoder(sentences)

    def preparation(self, tokens: int, size: Shape | None) -> Preparation | None:
        """Prepare for a sentence in the background, if necessary; returns at once.

        Args:
            tokens: length of the sentence.
            size: (height, width) of the images that it is grounded in; None if unknown.

        Returns:
            The state of the preparation; None if the sentence can be grounded now, or as soon as
            `prepare` has returned.
        """
        return None

    def try_again(self) -> None:
        """Allow failed preparations to be retried, when a command is requested again."""
        return None

    def allow_window(self, frames: int) -> None:
        """Support windows of up to this many frames from now on.

        Raises:
            RuntimeUnavailable: the backend is set up for fewer.
        """
        return None

    @abc.abstractmethod
    def prepare(self, size: Shape) -> None:
        """Prepare for images of (height, width) pixels; reports its progress if that takes long.

        Raises:
            ReferDINOError: the runtime is unavailable, or does not support this size.
        """

    @abc.abstractmethod
    def encode_image(self, pixels: Tensor) -> EncodedImage:
        """Encode (B, 3, H, W) float32 pixels of the size that was prepared."""

    @abc.abstractmethod
    def ground(self, image: EncodedImage, text: TextFeatures) -> FrameGrounding:
        """Ground N sentences, each in the image that `EncodedImage.rows` assigns to it."""

    @abc.abstractmethod
    def read(self, window: Window, mask_features: Tensor) -> SlotReadings:
        """Read N windows; `mask_features` (N, d, h, w) are those of the newest frame."""
