# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Overlays, contact sheets and video files: what is drawn and written can be read again."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from media_samples import HEIGHT, WIDTH, flat_image, noisy_image, target

from referdino_core.errors import ImageError
from referdino_core.files import OutputError
from referdino_core.media.overlay import LONGEST_ENLARGED_SIDE, draw, enlarge
from referdino_core.media.sources import open_source
from referdino_core.media.writers import VideoWriter, contact_sheet, fit, write_image
from referdino_core.target import TargetState


class TestVideoWriter:
    @pytest.mark.parametrize("size", [(64, 48), (65, 49), (33, 48)])
    def test_a_written_video_can_be_read_again(self, size: tuple[int, int], tmp_path: Path) -> None:
        width, height = size
        path = tmp_path / "new folder" / "video.mp4"
        with VideoWriter(path, 12.5, size) as video:
            for index in range(8):
                video.write(flat_image(25 * index, height, width))
            assert not path.exists()
        with open_source(str(path)) as source:
            assert source.frame_rate == pytest.approx(12.5)
            frames = list(source)
        assert len(frames) == 8
        assert frames[0].image.shape == (height + height % 2, width + width % 2, 3)
        for frame in frames:
            difference = (
                frame.image[height // 2, width // 2].astype(int)
                - flat_image(25 * frame.index)[0, 0]
            )
            assert np.abs(difference).max() < 16
        assert [entry.name for entry in path.parent.iterdir()] == ["video.mp4"]

    def test_an_error_leaves_the_earlier_video_as_it_was(self, tmp_path: Path) -> None:
        path = tmp_path / "video.mp4"
        path.write_bytes(b"earlier")
        with pytest.raises(ImageError), VideoWriter(path, 10.0, (WIDTH, HEIGHT)) as video:
            video.write(flat_image(0))
            video.write(flat_image(0).astype(np.float32))
        assert path.read_bytes() == b"earlier"
        assert list(tmp_path.iterdir()) == [path]

    def test_images_of_another_size_are_fitted(self, tmp_path: Path) -> None:
        path = tmp_path / "video.mp4"
        with VideoWriter(path, 10.0, (WIDTH, HEIGHT)) as video:
            video.write(np.full((HEIGHT, 2 * WIDTH, 3), 255, np.uint8))
        with open_source(str(path)) as source:
            image = next(iter(source)).image
        assert image[HEIGHT // 2].min() > 200
        assert image[2].max() < 50

    def test_impossible_places_and_names_are_reported(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="cannot be written"):
            VideoWriter(tmp_path / "file" / "video.mp4", 10.0, (WIDTH, HEIGHT))
        with pytest.raises(OutputError, match=r"must end in \.mp4"):
            VideoWriter(tmp_path / "video.xyz", 10.0, (WIDTH, HEIGHT))
        with pytest.raises(OutputError, match="impossible"):
            VideoWriter(tmp_path / "video.mp4", 10.0, (0, HEIGHT))
        with pytest.raises(OutputError, match=r"\.png or \.jpg"):
            write_image(tmp_path / "image.xyz", flat_image(0))


class TestContactSheet:
    def test_every_image_has_its_cell(self) -> None:
        sheet = contact_sheet([flat_image(40 * place) for place in range(5)], columns=3)
        found = {tuple(colour) for colour in sheet.reshape(-1, 3).tolist()}
        assert {tuple(flat_image(40 * place)[0, 0].tolist()) for place in range(5)} <= found
        assert sheet.shape[0] > 2 * HEIGHT
        assert sheet.shape[1] > 3 * WIDTH

    def test_captions_are_written_below_without_touching_the_images(self) -> None:
        pictures = [flat_image(0), flat_image(200)]
        plain = contact_sheet(pictures, columns=2)
        titled = contact_sheet(pictures, columns=2, captions=["first", "a very long caption " * 9])
        assert titled.shape[0] > plain.shape[0]
        rows = slice(0, plain.shape[0] - (plain.shape[0] - HEIGHT) // 2)
        assert np.array_equal(titled[rows], plain[rows])
        assert titled[plain.shape[0] - 8 :].max() > 150

    def test_what_does_not_fit_is_refused(self) -> None:
        with pytest.raises(ValueError, match="captions"):
            contact_sheet([flat_image(0)], columns=1, captions=["one", "two"])
        with pytest.raises(ValueError, match="at least one image"):
            contact_sheet([], columns=1)
        with pytest.raises(ImageError):
            contact_sheet([np.zeros((4, 4), np.uint8)], columns=1)

    def test_fitting_keeps_proportions(self) -> None:
        fitted = fit(np.full((10, 10, 3), 255, np.uint8), width=40, height=20)
        lit = np.flatnonzero(fitted[10, :, 0])
        assert (lit[0], lit[-1] + 1) == (10, 30)


class TestOverlay:
    def test_the_mask_is_tinted_and_the_rest_of_the_image_untouched(self) -> None:
        image = flat_image(100, 240, 320)
        found = target(box=(100.0, 100.0, 200.0, 180.0), size=(240, 320))
        drawn = draw(image, [found])
        assert drawn.shape == image.shape
        assert not np.array_equal(drawn[140, 150], image[140, 150])
        outside = np.ones((240, 320), np.bool_)
        outside[60:190, 90:320] = False
        assert np.array_equal(drawn[outside], image[outside])
        assert np.array_equal(image, flat_image(100, 240, 320)), (
            "the given image must stay as it is"
        )

    def test_a_target_without_a_place_changes_nothing_but_the_corner(self) -> None:
        image = flat_image(100, 240, 320)
        drawn = draw(image, [target(box=None, state=TargetState.LOST, size=(240, 320))])
        assert np.array_equal(drawn[:180], image[:180])
        assert not np.array_equal(drawn[180:], image[180:])

    def test_no_targets_leave_the_image(self) -> None:
        assert np.array_equal(draw(flat_image(9), []), flat_image(9))

    def test_commands_have_distinct_colours_that_depend_on_their_ids_only(self) -> None:
        image = np.zeros((240, 320, 3), np.uint8)
        boxes = {"a": (20.0, 60.0, 60.0, 100.0), "b": (220.0, 150.0, 280.0, 190.0)}
        both = {key: target(key, box, size=(240, 320)) for key, box in boxes.items()}
        forward = draw(image, [both["a"], both["b"]])
        backward = draw(image, [both["b"], both["a"]])
        assert np.array_equal(forward[80, 40], backward[80, 40])
        assert not np.array_equal(forward[80, 40], forward[170, 250])

    def test_twenty_commands_have_twenty_colours(self) -> None:
        image = np.zeros((20, 20 * 40, 3), np.uint8)
        targets = [
            target(f"{place:02}", (40.0 * place, 0.0, 40.0 * place + 40, 20.0), size=(20, 800))
            for place in range(20)
        ]
        drawn = draw(image, targets)
        # The plate covers the image's upper part, so that the lowest row shows the outlines.
        assert len({tuple(drawn[19, 40 * place + 20].tolist()) for place in range(20)}) == 20

    @pytest.mark.parametrize("size", [(1, 1), (7, 5), (120, 160), (720, 1280)])
    @pytest.mark.parametrize(
        "command", ["", "x", "a long sentence " * 30, "der grüne Würfel", "左边的红球"]
    )
    def test_any_size_and_text_can_be_drawn(self, size: tuple[int, int], command: str) -> None:
        height, width = size
        image = flat_image(50, height, width)
        targets = [
            target("a", (0.0, 0.0, float(width), float(height)), size=size, command=command),
            target("b", (-5.0, -5.0, width + 9.0, height + 9.0), size=size, command=command),
            target("c", None, TargetState.SEARCHING, size, command),
        ]
        assert draw(image, targets).shape == image.shape

    def test_a_mask_of_another_size_is_refused(self) -> None:
        with pytest.raises(ImageError, match="the red ball"):
            draw(flat_image(0, 100, 100), [target()])
        with pytest.raises(ImageError, match="uint8"):
            draw(flat_image(0).astype(np.float32), [])

    def test_small_images_are_enlarged_with_their_targets(self) -> None:
        image, targets = enlarge(noisy_image(0, 120, 160), [target(size=(120, 160))])
        assert image.shape == (360, 480, 3)
        assert targets[0].mask.shape == (360, 480)
        assert targets[0].box == (30.0, 36.0, 90.0, 96.0)
        rows, columns = np.nonzero(targets[0].mask)
        assert abs(rows.min() - 36) <= 2 and abs(rows.max() - 95) <= 2
        assert abs(columns.min() - 30) <= 2 and abs(columns.max() - 89) <= 2

    def test_large_images_stay_as_they_are(self) -> None:
        image = noisy_image(0, 360, 480)
        assert enlarge(image, [])[0] is image

    @pytest.mark.parametrize(
        ("height", "width"), [(100, 1), (300, 3), (3000, 30), (1200, 120), (1, 1), (1, 100)]
    )
    def test_narrow_images_are_enlarged_less_and_drawn_on(self, height: int, width: int) -> None:
        """A line of 1x100 pixels once became 480x48000, and took minutes to blur."""
        begun = time.process_time()
        image, (only,) = enlarge(noisy_image(0, height, width), [target(size=(height, width))])
        assert draw(image, [only]).shape == image.shape
        assert time.process_time() - begun < 5
        assert only.mask.shape == image.shape[:2]
        assert max(image.shape) <= max(LONGEST_ENLARGED_SIDE, height)
        assert image.shape[0] / image.shape[1] == pytest.approx(height / width, rel=0.05)
