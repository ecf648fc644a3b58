# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A folder with a label image per frame, the ground truth of DAVIS and YouTube-VOS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from referdino_core.errors import SourceError
from referdino_core.evaluation.ground_truth import FrameTruth
from referdino_core.evaluation.ground_truth.label_images import VOID, read_labels


def read_label_frame(folder: Path, frames: Sequence[str], index: int) -> FrameTruth | None:
    """Masks of the objects in a frame; None where the frame has no label image.

    Raises:
        ImageError: the label image cannot be read.
    """
    path = folder / f"{frames[index]}.png"
    return _read(path) if path.exists() else None


def read_every_label_frame(folder: Path, frames: Sequence[str], index: int) -> FrameTruth:
    """Masks of the objects in a frame, all of which must have a label image.

    Raises:
        ImageError: the label image is missing or cannot be read.
    """
    return _read(folder / f"{frames[index]}.png")


def object_ids(written: Any) -> tuple[int, ...]:
    """The object id that an expression names; () where it names none.

    Raises:
        SourceError: this is no id.
    """
    try:
        return () if written is None else (int(written),)
    except (TypeError, ValueError) as error:
        raise SourceError(f'meta_expressions.json has an "obj_id" {written!r}.') from error


def _read(path: Path) -> FrameTruth:
    labels = read_labels(path)
    numbers = [int(number) for number in np.unique(labels) if number not in (0, VOID)]
    height, width = labels.shape
    return FrameTruth(
        {number: labels == number for number in numbers}, (height, width), labels == VOID
    )
