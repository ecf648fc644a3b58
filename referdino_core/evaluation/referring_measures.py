# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics of referring segmentation in single frames, as in papers on A2D- and JHMDB-Sentences.

Definitions: Gavrilyuk et al., "Actor and Action Video Segmentation from a Sentence", CVPR 2018.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from referdino_core.errors import ImageError
from referdino_core.evaluation.davis import without_ignored

PRECISION_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
_CATEGORY = 1
_MAX_CANDIDATES = 100
"""Maximum per sample, as in COCO."""


@dataclass(frozen=True)
class Candidate:
    """A candidate object.

    Attributes:
        score: confidence. mask: (H, W) bool.
    """

    score: float
    mask: np.ndarray


@dataclass(frozen=True)
class ReferringScores:
    """Metrics over samples, each a sentence in an annotated frame; all from 0 to 1.

    Attributes:
        samples: number of samples.
        overall_iou: sum of the intersections of all samples over the sum of their unions.
        mean_iou: mean of the samples' intersection over union.
        precision: fraction of the samples above 0.5, 0.6, 0.7, 0.8 and 0.9, by threshold.
        mean_average_precision: of all candidates, averaged over thresholds 0.5, 0.55 … 0.95 (COCO).
    """

    samples: int
    overall_iou: float
    mean_iou: float
    precision: dict[float, float]
    mean_average_precision: float


class ReferringMeasures:
    """Accumulator of samples; masks are kept as run lengths."""

    def __init__(self) -> None:
        self._images: list[dict[str, Any]] = []
        self._truths: list[dict[str, Any]] = []
        self._candidates: list[dict[str, Any]] = []
        self._overlaps: list[float] = []
        self._intersection = self._union = 0

    def add(self, truth: np.ndarray, candidates: Sequence[Candidate]) -> None:
        """Add one sample.

        IoU is that of the candidate with the highest score; without candidates, the prediction is
        empty. IoU is 1 if prediction and ground truth are both empty.

        Args:
            truth: (H, W) bool. candidates: any number, in any order.

        Raises:
            ImageError: sizes differ, or a mask is not boolean.
        """
        empty = Candidate(0.0, np.zeros(truth.shape, dtype=bool))
        best = max(candidates, key=lambda candidate: candidate.score, default=empty)
        for candidate in (empty, *candidates):
            without_ignored(candidate.mask, truth, None)
            if not np.isfinite(candidate.score):
                raise ImageError(f"A candidate's score is {candidate.score}; it must be finite.")
        intersection = int(np.count_nonzero(best.mask & truth))
        union = int(np.count_nonzero(best.mask | truth))
        self._intersection += intersection
        self._union += union
        self._overlaps.append(intersection / union if union else 1.0)
        image = len(self._images) + 1
        height, width = truth.shape
        self._images.append({"id": image, "height": height, "width": width})
        self._truths.append(_annotation(image, len(self._truths) + 1, truth) | {"iscrowd": 0})
        for candidate in candidates:
            number = len(self._candidates) + 1
            annotation = _annotation(image, number, candidate.mask)
            self._candidates.append(annotation | {"score": float(candidate.score)})

    def result(self) -> ReferringScores:
        """The metrics of all samples.

        Raises:
            ValueError: there are no samples.
        """
        if not self._overlaps:
            raise ValueError("There are no metrics without samples.")
        overlaps = np.asarray(self._overlaps)
        return ReferringScores(
            samples=len(overlaps),
            overall_iou=self._intersection / self._union if self._union else 1.0,
            mean_iou=float(overlaps.mean()),
            precision={
                threshold: float(np.mean(overlaps > threshold))
                for threshold in PRECISION_THRESHOLDS
            },
            mean_average_precision=self._mean_average_precision(),
        )

    def _mean_average_precision(self) -> float:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports its progress there
            evaluation = COCOeval(self._data(self._truths), self._data(self._candidates), "segm")
            evaluation.params.useCats = 0
            evaluation.params.areaRng = [[0, 1e10]]
            evaluation.params.areaRngLbl = ["all"]
            evaluation.params.maxDets = [_MAX_CANDIDATES]
            evaluation.evaluate()
            evaluation.accumulate()
        precision = evaluation.eval["precision"]
        return float(np.mean(precision[precision > -1])) if (precision > -1).any() else 0.0

    def _data(self, annotations: list[dict[str, Any]]) -> COCO:
        data = COCO()
        # A copy of each, since the evaluation writes into them.
        data.dataset = {
            "images": self._images,
            "annotations": [dict(annotation) for annotation in annotations],
            "categories": [{"id": _CATEGORY}],
        }
        data.createIndex()
        return data


def _annotation(image: int, number: int, mask: np.ndarray) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image,
        "category_id": _CATEGORY,
        "area": int(np.count_nonzero(mask)),
        "segmentation": coco_mask.encode(np.asfortranarray(mask.view(np.uint8))),
    }
