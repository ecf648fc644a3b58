# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes: of masks, their corners and their generalised intersection over union."""

from __future__ import annotations

import pytest
import torch

from referdino_core.boxes import boxes_of_masks, centre_to_corners, generalised_iou


def test_box_of_a_mask_encloses_its_pixels() -> None:
    masks = torch.zeros(3, 5, 8, dtype=torch.bool)
    masks[0] = True
    masks[1, 2, 3] = masks[1, 4, 5] = True
    corners = centre_to_corners(boxes_of_masks(masks)) * torch.tensor([8, 5, 8, 5])
    assert corners.round(decimals=4).tolist() == [[0, 0, 8, 5], [3, 2, 6, 5], [0, 0, 0, 0]]


def test_generalised_iou_of_known_boxes() -> None:
    boxes = torch.tensor([[0.25, 0.5, 0.5, 1.0], [0.75, 0.5, 0.5, 1.0], [0.5, 0.5, 0.5, 1.0]])
    left, right, middle = centre_to_corners(boxes)
    assert generalised_iou(left, left).item() == pytest.approx(1, abs=1e-5)
    assert generalised_iou(left, right).item() == pytest.approx(0, abs=1e-5)
    assert generalised_iou(left, middle).item() == pytest.approx(1 / 3, abs=1e-5)
    apart = generalised_iou(torch.tensor([0, 0, 0.1, 0.1]), torch.tensor([0.9, 0.9, 1, 1]))
    assert apart.item() == pytest.approx(-0.98, abs=1e-5)
