# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""oIoU, mIoU, precision and mAP on cases small enough to do by hand."""

from __future__ import annotations

import numpy as np
import pytest

from referdino_core.errors import ImageError
from referdino_core.evaluation.referring_measures import Candidate, ReferringMeasures


def stripe(columns: int, first: int = 0) -> np.ndarray:
    """A (10, 100) mask of whole columns."""
    mask = np.zeros((10, 100), bool)
    mask[:, first : first + columns] = True
    return mask


def test_iou_and_precision_are_those_of_the_surest_candidates() -> None:
    measures = ReferringMeasures()
    measures.add(stripe(20), [Candidate(0.2, stripe(20)), Candidate(0.9, stripe(10))])  # 1/2
    measures.add(stripe(40), [Candidate(0.1, stripe(30))])  # 3/4
    measures.add(stripe(10), [Candidate(0.8, stripe(10))])  # 1
    scores = measures.result()
    assert scores.samples == 3
    assert scores.overall_iou == pytest.approx((100 + 300 + 100) / (200 + 400 + 100))
    assert scores.mean_iou == pytest.approx((1 / 2 + 3 / 4 + 1) / 3)
    two, one = pytest.approx(2 / 3), pytest.approx(1 / 3)
    assert scores.precision == {0.5: two, 0.6: two, 0.7: two, 0.8: one, 0.9: one}


def test_average_precision_of_one_candidate_counts_the_thresholds_it_meets() -> None:
    measures = ReferringMeasures()
    measures.add(stripe(100), [Candidate(0.5, stripe(72))])  # meets 0.50 to 0.70: five of ten
    assert measures.result().mean_average_precision == pytest.approx(0.5)


def test_a_false_candidate_costs_precision_only_where_it_was_surer() -> None:
    right, wrong = stripe(20), stripe(20, first=60)
    for sureness, expected in ((0.1, 1.0), (0.9, 0.5)):
        measures = ReferringMeasures()
        measures.add(right, [Candidate(0.5, right), Candidate(sureness, wrong)])
        assert measures.result().mean_average_precision == pytest.approx(expected)


def test_candidates_rank_across_samples() -> None:
    measures = ReferringMeasures()
    measures.add(stripe(20), [Candidate(0.9, stripe(20))])
    measures.add(stripe(20), [Candidate(0.5, stripe(20, first=60))])
    # Recall up to one half at full precision: 51 of COCO's 101 points of recall.
    assert measures.result().mean_average_precision == pytest.approx(51 / 101)


def test_a_sample_without_candidates_is_an_empty_prediction() -> None:
    measures = ReferringMeasures()
    measures.add(stripe(20), [])
    scores = measures.result()
    assert (scores.overall_iou, scores.mean_iou, scores.mean_average_precision) == (0, 0, 0)
    assert set(scores.precision.values()) == {0.0}


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    measures = ReferringMeasures()
    measures.add(stripe(20), [Candidate(0.9, stripe(20))])
    first, again = measures.result(), measures.result()
    assert first == again
    assert capfd.readouterr() == ("", "")


def test_samples_that_cannot_be_scored_are_refused() -> None:
    measures = ReferringMeasures()
    with pytest.raises(ValueError, match="no metrics"):
        measures.result()
    with pytest.raises(ImageError):
        measures.add(stripe(3), [Candidate(0.5, np.zeros((4, 4), bool))])
    with pytest.raises(ImageError, match="finite"):
        measures.add(stripe(3), [Candidate(float("nan"), stripe(3))])
    with pytest.raises(ValueError, match="no metrics"):
        measures.result()
