# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Ground truth for matching and losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from referdino_core.boxes import boxes_of_masks

MASK_STRIDE = 4


@dataclass(frozen=True)
class ClipGroundTruth:
    """Ground truth of the object that a sentence refers to, over T frames.

    Attributes:
        boxes: (T, 4) centre x, centre y, width, height, 0 to 1; zeros where it is not visible.
        masks: (T, H, W) bool at image resolution; empty where it is not visible.
        valid: (T,) bool, True where it is visible.
    """

    boxes: Tensor
    masks: Tensor
    valid: Tensor

    def __post_init__(self) -> None:
        frames = self.masks.shape[0]
        if self.boxes.shape != (frames, 4) or self.valid.shape != (frames,):
            raise ValueError(
                f"{frames} masks need boxes ({frames}, 4) and valid ({frames},), "
                f"not {tuple(self.boxes.shape)} and {tuple(self.valid.shape)}."
            )

    @classmethod
    def from_masks(cls, masks: Tensor) -> ClipGroundTruth:
        """Ground truth of (T, H, W) bool masks: tight boxes; valid where a mask has pixels."""
        return cls(boxes_of_masks(masks), masks, masks.flatten(1).any(dim=1))

    def to(self, device: torch.device) -> ClipGroundTruth:
        """The ground truth on a device."""
        return ClipGroundTruth(
            *(
                tensor.to(device, non_blocking=True)
                for tensor in (self.boxes, self.masks, self.valid)
            )
        )

    def pin_memory(self) -> ClipGroundTruth:
        """The ground truth in page-locked memory."""
        return ClipGroundTruth(
            self.boxes.pin_memory(), self.masks.pin_memory(), self.valid.pin_memory()
        )

    @property
    def present(self) -> bool:
        """Whether any frame shows the object."""
        return bool(self.valid.any())


@dataclass(frozen=True)
class FrameTargets:
    """Ground truth of the K objects of one frame that queries may match, all visible.

    Attributes:
        boxes: (K, 4) centre x, centre y, width, height, 0 to 1.
        masks: (K, H, W) bool at image resolution.
    """

    boxes: Tensor
    masks: Tensor

    def __post_init__(self) -> None:
        if self.boxes.shape != (self.masks.shape[0], 4):
            raise ValueError(
                f"{self.masks.shape[0]} masks need as many boxes with 4 values each, "
                f"not {tuple(self.boxes.shape)}."
            )

    @classmethod
    def from_masks(cls, masks: Tensor) -> FrameTargets:
        """Ground truth with the tight boxes of (K, H, W) bool masks."""
        return cls(boxes_of_masks(masks), masks)


def sample_masks(masks: Tensor, height: int, width: int) -> Tensor:
    """Ground truth masks sampled on the grid of predicted masks: every fourth pixel, from offset 2.

    This follows the network's specification, section Training. If an image does not fill the grid,
    the rest at the right and at the bottom, where batches are padded, is background.

    Args:
        masks: (..., H, W) bool at image resolution.
        height, width: size of the predicted masks, at least H / 4 and W / 4.

    Returns:
        (..., height, width) float32, 0 or 1.

    Raises:
        ValueError: the image is larger than the area of the predicted masks.
    """
    missing_rows = height * MASK_STRIDE - masks.shape[-2]
    missing_columns = width * MASK_STRIDE - masks.shape[-1]
    if missing_rows < 0 or missing_columns < 0:
        raise ValueError(
            f"Ground truth masks of {tuple(masks.shape[-2:])} pixels do not fit predicted masks of "
            f"{(height, width)} at stride {MASK_STRIDE}."
        )
    padded = functional.pad(masks, (0, missing_columns, 0, missing_rows))
    offset = MASK_STRIDE // 2
    return padded[..., offset::MASK_STRIDE, offset::MASK_STRIDE].to(torch.float32)
