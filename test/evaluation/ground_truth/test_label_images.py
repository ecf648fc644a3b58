# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Ground truth in folders of PNG files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from label_files import GREY, write_labels
from media_samples import flat_image

from referdino_core.errors import ImageError, SourceError
from referdino_core.evaluation.ground_truth import open_ground_truth
from referdino_core.evaluation.ground_truth.label_images import read_labels

SIZE = (48, 64)


def labels_with(**blocks: int) -> np.ndarray:
    """A (48, 64) label image with a column block for each number, from the left."""
    labels = np.zeros(SIZE, np.uint8)
    for place, number in enumerate(blocks.values()):
        labels[10:20, 12 * place : 12 * place + 10] = number
    return labels


@pytest.mark.parametrize(
    ("depth", "kind", "highest"),
    [(8, 3, 255), (4, 3, 15), (2, 3, 3), (1, 3, 1), (8, 0, 255), (4, 0, 15), (16, 0, 60_000)],
)
def test_numbers_are_read_whatever_the_form_of_the_file(
    tmp_path: Path, depth: int, kind: int, highest: int
) -> None:
    labels = np.random.default_rng(depth).integers(0, highest + 1, (21, 37)).astype(np.uint16)
    path = write_labels(tmp_path / "0.png", labels, depth, kind)
    assert (read_labels(path) == labels).all()
    assert cv2.imread(str(path)) is not None  # the test's own file is a valid image


def test_files_that_hold_no_numbers_are_refused(tmp_path: Path) -> None:
    good = write_labels(tmp_path / "good.png", labels_with(a=1)).read_bytes()
    half, damaged, none = (tmp_path / name for name in ("half.png", "damaged.png", "none.png"))
    half.write_bytes(good[: len(good) // 2])
    damaged.write_bytes(good[:-20] + bytes([good[-20] ^ 1]) + good[-19:])
    none.write_text("no image")
    colour = tmp_path / "colour.png"
    cv2.imwrite(str(colour), flat_image(9))
    for path, message in (
        (half, "cut off"),
        (damaged, "checksum"),
        (none, "no PNG"),
        (colour, "holds colours"),
        (tmp_path / "absent.png", "No such file"),
    ):
        with pytest.raises(ImageError, match=f"{path.name}.*{message}"):
            read_labels(path)


def test_every_object_has_a_mask_in_every_frame_and_255_is_ignored(tmp_path: Path) -> None:
    write_labels(tmp_path / "00000.png", labels_with(a=1, b=255))
    write_labels(tmp_path / "00001.png", labels_with(a=7))
    with open_ground_truth(str(tmp_path)) as truth:
        assert truth.objects == (1, 7)
        first, second = truth.at(0, 0), truth.at(1, 100)
        assert first is not None and second is not None
        assert sorted(first.masks) == sorted(second.masks) == [1, 7]
        assert not first.masks[7].any() and not second.masks[1].any()
        assert (first.of([1, 7]) == (labels_with(a=1) == 1)).all()
        assert (
            first.ignored is not None and (first.ignored == (labels_with(a=0, b=255) == 255)).all()
        )
        assert second.ignored is None and second.size == SIZE
        assert not first.of([]).any() and not first.of([99]).any()
        assert truth.at(2, 200) is None
    assert truth.problems == []


def test_running_numbers_with_gaps_are_places_in_the_source(tmp_path: Path) -> None:
    for number in (0, 5, 10):
        write_labels(tmp_path / f"{number:05}.png", labels_with(a=number + 1))
    with open_ground_truth(str(tmp_path), Path("clip.mp4")) as truth:
        scored = [index for index in range(11) if truth.at(index, index * 33_000_000) is not None]
        assert scored == [0, 5, 10]
        middle = truth.at(5, 0)
        assert middle is not None and middle.masks[6].any() and not middle.masks[1].any()


def test_names_are_matched_with_those_of_a_folder_of_images(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in (0, 5, 10, 15):
        cv2.imwrite(str(tmp_path / "images" / f"{number:05}.jpg"), flat_image(number))
    for number in (5, 15):
        write_labels(tmp_path / "truth" / f"{number:05}.png", labels_with(a=number))
    with open_ground_truth(str(tmp_path / "truth"), tmp_path / "images") as truth:
        found = [truth.at(index, 0) for index in range(5)]
        assert [frame is not None for frame in found] == [False, True, False, True, False]
        assert found[3] is not None and found[3].masks[15].any()
    assert truth.problems == []


def test_large_numbers_are_stamps_in_nanoseconds(tmp_path: Path) -> None:
    stamps = [1_700_000_000_000_000_000 + step * 33_000_000 for step in range(3)]
    for number, stamp in enumerate(stamps, start=1):
        write_labels(tmp_path / f"{stamp}.png", labels_with(a=number))
    with open_ground_truth(str(tmp_path)) as truth:
        for number, stamp in enumerate(stamps, start=1):
            frame = truth.at(99, stamp + 200)  # rounded on its way through seconds
            assert frame is not None and frame.masks[number].any()
        assert truth.at(0, stamps[0] + 10_000_000) is None
        assert truth.at(0, 0) is None and truth.at(0, 2 * stamps[0]) is None


def test_what_is_wrong_with_a_folder_is_named_and_counted(tmp_path: Path) -> None:
    for number in range(4):
        write_labels(tmp_path / f"{number}.png", labels_with(a=1))
    for number in (1, 2):
        (tmp_path / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    write_labels(tmp_path / "cover.png", labels_with(a=1))
    write_labels(tmp_path / "9.png", labels_with(a=1))
    write_labels(tmp_path / "3.png", np.zeros((10, 10), np.uint8))
    truth = open_ground_truth(str(tmp_path))
    scored = [truth.for_image(index, 0, SIZE) is not None for index in range(5)]
    assert scored == [True, False, False, False, False]
    truth.close()
    truth.close()
    lines = "\n".join(truth.problems)
    assert len(truth.problems) == 4
    assert "cannot be read, 2 times" in lines and "1.png" in lines
    assert "name matches no frame: cover.png" in lines
    assert "another size than the image: frame 3, 10x10 instead of 64x48" in lines
    assert "belongs to no frame that was read: 9.png" in lines
    assert not any("\n" in line for line in truth.problems)


def test_masks_of_0_and_255_are_called_what_they_are(tmp_path: Path) -> None:
    write_labels(tmp_path / "0.png", labels_with(a=255), kind=GREY)
    truth = open_ground_truth(str(tmp_path))
    assert truth.objects == ()
    assert truth.problems == ["a label image holds only 0 and 255, which means 'ignored': 0.png"]


def test_a_folder_named_like_the_recording_is_found_below(tmp_path: Path) -> None:
    write_labels(tmp_path / "bear" / "00000.png", labels_with(a=1))
    assert open_ground_truth(str(tmp_path), Path("/videos/bear.mp4")).objects == (1,)
    with pytest.raises(SourceError, match="no PNG files"):
        open_ground_truth(str(tmp_path), Path("/videos/goat.mp4"))


def test_names_that_mean_no_frame_are_refused(tmp_path: Path) -> None:
    write_labels(tmp_path / "mask_a.png", labels_with(a=1))
    with pytest.raises(SourceError, match=r"name them by the index of the frame"):
        open_ground_truth(str(tmp_path))


def test_the_only_object_is_meant_and_several_must_be_named(tmp_path: Path) -> None:
    write_labels(tmp_path / "0.png", labels_with(a=4))
    truth = open_ground_truth(str(tmp_path))
    assert truth.resolve("the red box") == (4,)
    assert truth.resolve("nothing in view", named=[]) == ()
    assert truth.resolve("the hidden box", named=[8]) == (8,)
    assert truth.resolve("the hidden box", named=[8]) == (8,)
    assert truth.problems == ["an object that a command names never appears: object 8"]
    write_labels(tmp_path / "1.png", labels_with(a=2))
    truth = open_ground_truth(str(tmp_path))
    assert truth.resolve("the red box", named=[4, 2]) == (2, 4)
    with pytest.raises(
        SourceError, match=r"--means .the red box=1., .*objects: \[1\].*there are: 2, 4"
    ):
        truth.resolve("the red box")
