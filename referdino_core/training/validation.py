# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Validation during training: J of whole clips that were held back, and pictures of some."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from referdino_core.errors import ImageError, SourceError
from referdino_core.evaluation.davis import region_similarity
from referdino_core.evaluation.whole_clip import read_clip
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.tokenizer import Tokenizer
from referdino_core.training.data_sets import TrainingItem

logger = logging.getLogger("referdino.training")

PICTURES = 8
"""Sentences of which a picture is written."""
MOST_FRAMES = 12
"""Frames of a clip that are read."""
_TINT = np.array([40, 220, 40])
_TRUTH = (255, 255, 255)


def validate(
    model: ReferDINO, tokenizer: Tokenizer, items: Sequence[TrainingItem], folder: Path
) -> float:
    """Mean J over sentences, each the mean over its frames; 0 where there are none.

    The first sentences' middle frames are written as pictures: the prediction is tinted, the ground
    truth outlined.
    """
    model.eval()
    scores = []
    for item in items:
        try:
            images, truths = read_validation_clip(item)
        except (SourceError, ImageError) as error:
            logger.warning("Not validated: %s", error)
            continue
        predicted = read_clip(model, tokenizer, item.expression.sentence, images).answer()
        scores.append(
            np.mean([region_similarity(p, t) for p, t in zip(predicted, truths, strict=True)])
        )
        if len(scores) <= PICTURES:
            middle = len(images) // 2
            write_picture(
                folder / f"{len(scores):02d}.jpg", images[middle], predicted[middle], truths[middle]
            )
    return float(np.mean(scores)) if scores else 0.0


def read_pictures(folder: Path) -> dict[str, np.ndarray]:
    """The pictures of a validation, (H, W, 3) uint8 RGB, by the name that boards show."""
    read = {path.stem: cv2.imread(str(path)) for path in sorted(folder.glob("*.jpg"))}
    return {f"validation/{name}": one[:, :, ::-1] for name, one in read.items() if one is not None}


def read_validation_clip(item: TrainingItem) -> tuple[np.ndarray, np.ndarray]:
    """Annotated images (T, H, W, 3) and masks (T, H, W) of a clip, evenly spaced.

    Raises:
        ImageError, SourceError: an image or an annotation is damaged or missing.
    """
    clip = item.clip
    truths = {index: clip.truth_at(index) for index in clip.may_be_annotated}
    annotated = [index for index, truth in truths.items() if truth is not None]
    if not annotated:
        raise SourceError(f"No frame of {clip.name} is annotated.")
    places = np.linspace(0, len(annotated) - 1, min(MOST_FRAMES, len(annotated))).round()
    chosen = sorted({annotated[int(place)] for place in places})
    images, masks = [], []
    for index, image in zip(chosen, clip.open_images(chosen), strict=True):
        truth = truths[index]
        assert truth is not None
        if isinstance(image, ImageError):
            raise image
        images.append(image)
        masks.append(truth.of(item.expression.objects))
    return np.stack(images), np.stack(masks)


def write_picture(path: Path, image: np.ndarray, predicted: np.ndarray, truth: np.ndarray) -> None:
    """Write a JPEG with the prediction tinted green and the ground truth outlined in white."""
    drawn = image.copy()
    drawn[predicted] = (0.5 * drawn[predicted] + 0.5 * _TINT).astype(np.uint8)
    outlines, _ = cv2.findContours(truth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, outlines, -1, _TRUTH, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), drawn[:, :, ::-1])
