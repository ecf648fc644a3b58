# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""J, F and their statistics against recorded values of the DAVIS evaluation, and against facts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import golden
import numpy as np
import pytest

from referdino_core.errors import ImageError
from referdino_core.evaluation import boundary_accuracy, region_similarity, sequence_statistics
from referdino_core.evaluation.davis import boundary, fraction_within

FRAMES = 12
TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Recorded:
    prediction: np.ndarray
    truth: np.ndarray
    ignored: np.ndarray
    values: dict[str, np.ndarray]


@lru_cache(maxsize=1)
def recorded() -> Recorded:
    with np.load(golden.DIRECTORY / "davis_j_f.npz") as archive:
        shape = tuple(int(side) for side in archive["shape"])
        count = int(np.prod(shape))
        masks = {
            name: np.unpackbits(archive[name], count=count).reshape(shape).astype(bool)
            for name in ("prediction", "ground_truth", "void")
        }
        values = {name: archive[name] for name in ("J", "F", "J_void", "F_void")}
    return Recorded(masks["prediction"], masks["ground_truth"], masks["void"], values)


def measured(frame: int, with_void: bool) -> tuple[float, float]:
    case = recorded()
    ignored = case.ignored[frame] if with_void else None
    masks = case.prediction[frame], case.truth[frame], ignored
    return region_similarity(*masks), boundary_accuracy(*masks)


@pytest.mark.parametrize("with_void", [False, True])
@pytest.mark.parametrize("frame", range(FRAMES))
def test_every_recorded_value_is_reproduced(frame: int, with_void: bool) -> None:
    ending = "_void" if with_void else ""
    region, boundaries = measured(frame, with_void)
    assert region == pytest.approx(recorded().values[f"J{ending}"][frame], abs=TOLERANCE)
    assert boundaries == pytest.approx(recorded().values[f"F{ending}"][frame], abs=TOLERANCE)


def test_the_recorded_corner_cases_are_what_they_are_taken_for() -> None:
    case, whole = recorded(), recorded().truth[0].size
    predicted = np.count_nonzero(case.prediction, axis=(1, 2))
    meant = np.count_nonzero(case.truth, axis=(1, 2))
    assert len(predicted) == FRAMES
    assert predicted[6] == 0 and meant[6] > 0 and measured(6, False) == (0, 0)
    assert predicted[7] > 0 and meant[7] == 0 and measured(7, False) == (0, 0)
    assert predicted[8] == meant[8] == 0 and measured(8, False) == (1, 1)
    assert meant[9] == whole and not boundary(case.truth[9]).any() and measured(9, False)[1] == 0
    assert predicted[10] == meant[10] and 0 < measured(10, False)[0] < measured(10, False)[1] < 1
    assert (case.prediction[11] == case.truth[11]).all() and measured(11, False) == (1, 1)
    # Void pixels draw boundaries of their own: a mask of all pixels gets one by them.
    assert predicted[5] == whole and measured(5, False)[1] == 0 and measured(5, True)[1] > 0


def test_ignored_pixels_count_for_neither_mask() -> None:
    truth = np.zeros((20, 20), bool)
    truth[:, :5] = True
    prediction = truth.copy()
    prediction[:, 15:] = True
    ignored = np.zeros_like(truth)
    ignored[:, 15:] = True
    assert region_similarity(prediction, truth) == pytest.approx(0.5)
    assert region_similarity(prediction, truth, ignored) == 1
    assert boundary_accuracy(prediction, truth, ignored) == 1


def test_two_masks_that_fill_the_image_agree() -> None:
    everything = np.ones((9, 16), bool)
    assert region_similarity(everything, everything) == 1
    assert boundary_accuracy(everything, everything) == 1


def test_boundaries_match_up_to_a_share_of_the_diagonal() -> None:
    truth = np.zeros((300, 400), bool)  # a diagonal of 500: four pixels
    truth[:, :100] = True
    within, beyond = np.roll(truth, 4, axis=1), np.roll(truth, 5, axis=1)
    within[:, :4] = beyond[:, :5] = True
    assert boundary_accuracy(within, truth) == 1
    assert boundary_accuracy(beyond, truth) == 0


@pytest.mark.parametrize("radius", [1, 2, 7])
def test_matching_by_distance_is_dilation_by_a_disk(radius: int) -> None:
    generator = np.random.default_rng(radius)
    points, others = (generator.random((90, 70)) < share for share in (0.1, 0.01))
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (rows**2 + columns**2 <= radius**2).astype(np.uint8)
    reached = cv2.dilate(others.astype(np.uint8), disk) > 0
    assert fraction_within(points, others, radius) == (points & reached).sum() / points.sum()


@pytest.mark.parametrize("measure", [region_similarity, boundary_accuracy])
def test_masks_that_cannot_be_compared_are_refused(measure: object) -> None:
    mask = np.zeros((4, 6), bool)
    assert callable(measure)
    for wrong in (np.zeros((6, 4), bool), np.zeros((4, 6), np.uint8), np.zeros((1, 4, 6), bool)):
        with pytest.raises(ImageError):
            measure(wrong, mask)
        with pytest.raises(ImageError):
            measure(mask, mask, wrong)


def test_statistics_of_a_sequence_are_mean_recall_and_decay() -> None:
    # Bounds of the quarters among nine frames: 0, 2, 4, 6, 8; ends are shared.
    values = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]
    statistics = sequence_statistics(values)
    assert statistics.mean == pytest.approx(0.6)
    assert statistics.recall == pytest.approx(5 / 9)  # 0.5 itself does not count
    assert statistics.decay == pytest.approx(0.9 - 0.3)


def test_quarters_that_do_not_come_out_even_are_rounded_half_up() -> None:
    # Bounds among seven frames: 0, 1.5, 3, 4.5, 6, so 0 to 2 and 5 to 6.
    assert sequence_statistics([0, 0, 3, 0, 0, 0, 0]).decay == pytest.approx(1)
    assert sequence_statistics([0, 0, 0, 0, 1, 0, 0]).decay == pytest.approx(0)


def test_a_sequence_longer_than_a_byte_counts_has_its_decay() -> None:
    assert sequence_statistics([1.0] * 500 + [0.0] * 500).decay == pytest.approx(1)


def test_one_frame_is_a_sequence_and_none_is_not() -> None:
    statistics = sequence_statistics([0.7])
    assert (statistics.mean, statistics.recall, statistics.decay) == (0.7, 1, 0)
    with pytest.raises(ValueError, match="without frames"):
        sequence_statistics([])
