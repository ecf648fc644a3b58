# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The ground truth that predictions are matched to and trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from referdino_core.boxes import boxes_of_masks

MASK_STRIDE = 4


@dataclass(frozen=True)
class ClipTruth:
    """The one object that a sentence refers to, over T frames.

    Attributes:
        boxes: (T, 4) centre x, centre y, width, height, 0 to 1; zeros where it is not in view.
        masks: (T, H, W) bool at image resolution; empty where it is not in view.
        valid: (T,) bool, True where it is in view.
    """

    boxes: Tensor
    masks: Tensor
    valid: Tensor

    def __post_init__(self) -> None:
        frames = self.masks.shape[0]
        if self.boxes.shape != (frames, 4) or self.valid.shape != (frames,):
            raise ValueError(
                f"Truth of {frames} masks needs boxes ({frames}, 4) and valid ({frames},), "
                f"not {tuple(self.boxes.shape)} and {tuple(self.valid.shape)}."
            )

    @classmethod
    def from_masks(cls, masks: Tensor) -> ClipTruth:
        """Ground truth of (T, H, W) bool masks: tight boxes; valid where a mask has pixels."""
        return cls(boxes_of_masks(masks), masks, masks.flatten(1).any(dim=1))

    @property
    def present(self) -> bool:
        """Whether any frame shows the object."""
        return bool(self.valid.any())


@dataclass(frozen=True)
class FrameTruth:
    """The K objects of one frame that a query may stand for, all of them in view.

    Attributes:
        boxes: (K, 4) centre x, centre y, width, height, 0 to 1.
        masks: (K, H, W) bool at image resolution.
    """

    boxes: Tensor
    masks: Tensor

    def __post_init__(self) -> None:
        if self.boxes.shape != (self.masks.shape[0], 4):
            raise ValueError(
                f"Truth of {self.masks.shape[0]} masks needs as many boxes of 4 values, "
                f"not {tuple(self.boxes.shape)}."
            )

    @classmethod
    def from_masks(cls, masks: Tensor) -> FrameTruth:
        """Ground truth with the tight boxes of (K, H, W) bool masks."""
        return cls(boxes_of_masks(masks), masks)


def sample_masks(masks: Tensor, height: int, width: int) -> Tensor:
    """Ground truth masks on the grid of the predicted ones: every fourth pixel, from the third.

    Sampling at stride 4 from offset 2 follows the network's specification, section Training. An
    image that does not fill the grid counts as background below and to the right, which is where
    batches are padded.

    Args:
        masks: (..., H, W) bool at image resolution.
        height, width: size of the predicted masks, at least H / 4 and W / 4.

    Returns:
        (..., height, width) float32, 0 or 1.

    Raises:
        ValueError: the image is larger than the predicted masks cover.
    """
    missing_rows = height * MASK_STRIDE - masks.shape[-2]
    missing_columns = width * MASK_STRIDE - masks.shape[-1]
    if missing_rows < 0 or missing_columns < 0:
        raise ValueError(
            f"Truth masks of {tuple(masks.shape[-2:])} pixels do not fit predicted masks of "
            f"{(height, width)} cells of {MASK_STRIDE} pixels."
        )
    padded = functional.pad(masks, (0, missing_columns, 0, missing_rows))
    offset = MASK_STRIDE // 2
    return padded[..., offset::MASK_STRIDE, offset::MASK_STRIDE].to(torch.float32)
