# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Frame sources, run lengths, overlays and writers, on real files."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from referdino_core.errors import ImageError, SourceError
from referdino_core.media import images, run_lengths
from referdino_core.media.frame_records import FrameRecordWriter
from referdino_core.media.overlay import draw, enlarge
from referdino_core.media.partial_file import OutputError
from referdino_core.media.sources import Frame, open_source
from referdino_core.media.writers import VideoWriter, contact_sheet, fit, write_image
from referdino_core.session import Target, TargetState

HEIGHT, WIDTH = 48, 64


def flat_image(level: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = level, 255 - level, 64
    return image


def noisy_image(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_video(
    path: Path, frame_count: int = 12, frame_rate: float = 10.0, codec: str = "mp4v"
) -> Path:
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), frame_rate, (WIDTH, HEIGHT))
    assert video.isOpened()
    for index in range(frame_count):
        video.write(cv2.cvtColor(flat_image(20 * index % 256), cv2.COLOR_RGB2BGR))
    video.release()
    return path


def target(
    command_id: str = "a",
    box: tuple[float, float, float, float] | None = (10.0, 12.0, 30.0, 32.0),
    state: TargetState = TargetState.TRACKING,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    command: str = "the red ball",
) -> Target:
    mask = np.zeros(size, np.bool_)
    if box is not None:
        left, top, right, bottom = (int(coordinate) for coordinate in box)
        mask[top:bottom, left:right] = True
    return Target(
        command_id=command_id,
        command=command,
        track_id=0 if box is None else 3,
        state=state,
        score=0.875,
        frame_score=0.9,
        box=box,
        mask=mask,
    )


class TestRunLengths:
    @pytest.mark.parametrize("seed", range(5))
    def test_any_mask_survives_the_round_trip(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        height, width = generator.integers(1, 90, 2)
        mask = generator.random((height, width)) < generator.random()
        assert np.array_equal(run_lengths.decode(run_lengths.encode(mask), height, width), mask)

    @pytest.mark.parametrize("fill", [False, True])
    def test_uniform_masks_survive_the_round_trip(self, fill: bool) -> None:
        mask = np.full((720, 1280), fill)
        assert np.array_equal(run_lengths.decode(run_lengths.encode(mask), 720, 1280), mask)

    def test_masks_that_are_views_of_others_are_written_as_they_look(self) -> None:
        mask = (noisy_image(1)[..., 0] > 100)[::2, ::-3]
        decoded = run_lengths.decode(run_lengths.encode(mask), *mask.shape)
        assert np.array_equal(decoded, mask)

    def test_the_text_is_cocos(self) -> None:
        mask = np.zeros((10, 12), np.bool_)
        mask[2:5, 3:7] = True
        # 32 pixels outside, then columns of 3 inside and 7 outside, as COCO's own tools write them.
        assert run_lengths.encode(mask) == "P13700000`1"

    @pytest.mark.parametrize(
        "mask",
        [
            np.zeros((4, 4), np.uint8),
            np.zeros((4, 4, 1), np.bool_),
            np.zeros((0, 4), np.bool_),
            [[True, False]],
        ],
    )
    def test_what_is_no_mask_is_refused(self, mask: np.ndarray) -> None:
        with pytest.raises(ImageError, match="mask"):
            run_lengths.encode(mask)

    @pytest.mark.parametrize(
        "counts", ["", "P13700000`", "P13700000`1zz", "ü", "\x00", "oooooo", "1111"]
    )
    def test_damaged_text_is_refused(self, counts: str) -> None:
        with pytest.raises(ImageError):
            run_lengths.decode(counts, 10, 12)

    @pytest.mark.parametrize("size", [(11, 12), (0, 12), (-1, 12)])
    def test_a_size_that_does_not_fit_is_refused(self, size: tuple[int, int]) -> None:
        with pytest.raises(ImageError):
            run_lengths.decode("P13700000`1", *size)


class TestImages:
    @pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".jpg"])
    def test_formats_are_read_as_rgb(self, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / f"image{suffix}"
        write_image(path, flat_image(200))
        difference = images.read_image(path).astype(int) - flat_image(200)
        assert np.abs(difference).max() <= (0 if suffix in (".png", ".bmp") else 6)

    @pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".jpg"])
    @pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
    def test_cut_off_images_are_refused(self, suffix: str, share: float, tmp_path: Path) -> None:
        write_image(tmp_path / f"image{suffix}", noisy_image(0))
        data = (tmp_path / f"image{suffix}").read_bytes()
        with pytest.raises(ImageError):
            images.decode(data[: int(share * len(data))])

    def test_a_cut_off_jpeg_with_a_whole_thumbnail_is_refused(self) -> None:
        # Decoders that report success on cut-off JPEGs make this check ours.
        picture = cv2.imencode(".jpg", noisy_image(0))[1].tobytes()
        thumbnail = cv2.imencode(".jpg", noisy_image(1, 8, 8))[1].tobytes()
        segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
        with_thumbnail = picture[:2] + segment + picture[2:]
        assert images.decode(with_thumbnail).shape == (HEIGHT, WIDTH, 3)
        with pytest.raises(ImageError, match="cut off"):
            images.decode(with_thumbnail[: len(with_thumbnail) - 400])

    @pytest.mark.parametrize(
        "data", [b"", b"no image at all", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\nIEND"]
    )
    def test_what_is_no_image_is_refused(self, data: bytes) -> None:
        with pytest.raises(ImageError):
            images.decode(data)

    def test_grey_and_transparent_images_become_rgb(self) -> None:
        grey = cv2.imencode(".png", np.full((5, 6), 77, np.uint8))[1].tobytes()
        assert (images.decode(grey) == 77).all()
        assert images.decode(grey).shape == (5, 6, 3)
        transparent = cv2.imencode(".png", np.full((5, 6, 4), 99, np.uint8))[1].tobytes()
        assert images.decode(transparent).shape == (5, 6, 3)


class TestVideoFiles:
    @pytest.mark.parametrize(
        ("name", "codec"), [("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.mkv", "MJPG")]
    )
    def test_frames_come_in_order_as_rgb_with_the_containers_times(
        self, name: str, codec: str, tmp_path: Path
    ) -> None:
        with open_source(str(write_video(tmp_path / name, codec=codec))) as source:
            assert source.frame_rate == pytest.approx(10.0)
            assert source.frame_count == 12
            assert name in source.description
            frames = list(source)
        assert [frame.index for frame in frames] == list(range(12))
        assert np.allclose([frame.stamp for frame in frames], np.arange(12) / 10, atol=2e-3)
        for frame in frames:
            assert frame.image.shape == (HEIGHT, WIDTH, 3)
            difference = frame.image.reshape(-1, 3).mean(0) - flat_image(20 * frame.index)[0, 0]
            assert np.abs(difference).max() < 12

    def test_a_given_frame_rate_replaces_the_containers_times(self, tmp_path: Path) -> None:
        with open_source(str(write_video(tmp_path / "a.mp4")), frame_rate=2.0) as source:
            assert source.frame_rate == 2.0
            assert [frame.stamp for frame in source] == pytest.approx(np.arange(12) / 2.0)

    def test_a_stream_without_container_counts_with_its_frame_rate(self, tmp_path: Path) -> None:
        pictures = [
            cv2.imencode(".jpg", flat_image(20 * index))[1].tobytes() for index in range(12)
        ]
        (tmp_path / "raw.mjpeg").write_bytes(b"".join(pictures))
        with open_source(str(tmp_path / "raw.mjpeg")) as source:
            assert source.frame_count is None
            stamps = [frame.stamp for frame in source]
        assert np.allclose(stamps, np.arange(12) / source.frame_rate)

    def test_fractional_frame_rates_do_not_drift(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.avi", codec="MJPG", frame_rate=7.3)
        with open_source(str(path)) as source:
            stamps = [frame.stamp for frame in source]
        assert np.allclose(np.diff(stamps), 1 / 7.3, atol=2e-3)

    @pytest.mark.parametrize("name", ["text.mp4", "text.avi", "text.txt"])
    def test_text_is_no_video(self, name: str, tmp_path: Path) -> None:
        (tmp_path / name).write_text("This is not a video.\n" * 200)
        with pytest.raises(SourceError, match=f"{name} holds no video"):
            open_source(str(tmp_path / name))

    def test_an_empty_file_is_no_video(self, tmp_path: Path) -> None:
        (tmp_path / "empty.mp4").touch()
        with pytest.raises(SourceError, match="holds no video"):
            open_source(str(tmp_path / "empty.mp4"))

    def test_a_cut_off_video_gives_what_is_there_and_names_the_frame(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        data = write_video(tmp_path / "whole.avi", 40, codec="MJPG").read_bytes()
        (tmp_path / "cut.avi").write_bytes(data[: int(0.6 * len(data))])
        with (
            caplog.at_level(logging.WARNING, "referdino"),
            open_source(str(tmp_path / "cut.avi")) as source,
        ):
            frames = list(source)
        assert 5 < len(frames) < 35
        warnings = [record.getMessage() for record in caplog.records]
        assert len(warnings) == 1
        assert f"beyond frame {len(frames)} of the 40 it announces" in warnings[0]

    def test_a_cut_off_mp4_that_cannot_be_read_at_all_is_an_error(self, tmp_path: Path) -> None:
        data = write_video(tmp_path / "whole.mp4").read_bytes()
        (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
        with pytest.raises(SourceError, match="complete video file"):
            open_source(str(tmp_path / "cut.mp4"))


class TestImageFolders:
    def test_images_come_in_natural_order_at_the_given_rate(self, tmp_path: Path) -> None:
        for number in (10, 2, 1, 33):
            write_image(tmp_path / f"frame{number}.png", flat_image(number))
        (tmp_path / "notes.txt").write_text("no image")
        with open_source(str(tmp_path), frame_rate=4.0) as source:
            assert (source.frame_count, source.frame_rate) == (4, 4.0)
            frames = list(source)
        assert [int(frame.image[0, 0, 0]) for frame in frames] == [1, 2, 10, 33]
        assert [frame.stamp for frame in frames] == [0.0, 0.25, 0.5, 0.75]

    def test_a_broken_image_is_named_and_passed_over_and_keeps_its_place_in_time(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        for number in range(3):
            write_image(tmp_path / f"{number}.jpg", noisy_image(number))
        whole = (tmp_path / "1.jpg").read_bytes()
        (tmp_path / "1.jpg").write_bytes(whole[: len(whole) // 2])
        with (
            caplog.at_level(logging.WARNING, "referdino"),
            open_source(str(tmp_path), frame_rate=10.0) as source,
        ):
            frames = list(source)
        assert [frame.index for frame in frames] == [0, 2]
        assert [frame.stamp for frame in frames] == [0.0, 0.2]
        assert [record.getMessage().count("1.jpg") for record in caplog.records] == [1]

    def test_a_folder_of_broken_images_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(b"broken")
        with (
            open_source(str(tmp_path)) as source,
            pytest.raises(SourceError, match="none of the images"),
        ):
            list(source)

    def test_an_empty_folder_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("no image")
        with pytest.raises(SourceError, match="contains no images"):
            open_source(str(tmp_path))

    def test_one_image_is_a_source_of_one_frame(self, tmp_path: Path) -> None:
        write_image(tmp_path / "photo.PNG", flat_image(5))
        with open_source(str(tmp_path / "photo.PNG")) as source:
            assert [frame.image.shape for frame in source] == [(HEIGHT, WIDTH, 3)]


class TestSourcesThatCannotBeOpened:
    def test_what_does_not_exist(self) -> None:
        with pytest.raises(SourceError, match="does not exist; give a video file"):
            open_source("/nowhere/video.mp4")

    def test_a_camera_that_is_not_there(self) -> None:
        with pytest.raises(SourceError, match="camera 97 cannot be opened"):
            open_source("97")

    @pytest.mark.parametrize("frame_rate", [0.0, -1.0, float("nan"), 1e9])
    def test_an_impossible_frame_rate(self, frame_rate: float, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="frame rate"):
            open_source(str(write_video(tmp_path / "a.mp4")), frame_rate)


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

    def test_impossible_places_and_names_are_told(self, tmp_path: Path) -> None:
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


class TestFrameRecords:
    def test_the_document_holds_what_was_written(self, tmp_path: Path) -> None:
        path = tmp_path / "out" / "frames.json"
        found, missing = target(), target("b", None, TargetState.SEARCHING, command="ein Würfel")
        with FrameRecordWriter(path, {"source": {"frame_rate": 10}}) as records:
            records.write(Frame(flat_image(0), 0.0, 0), [found, missing])
            records.write(Frame(flat_image(0), 0.1, 1), [])
            assert not path.exists()
        document = json.loads(path.read_text(encoding="utf-8"))
        assert document["source"] == {"frame_rate": 10}
        assert document["complete"] is True
        assert [frame["stamp"] for frame in document["frames"]] == [0.0, 0.1]
        first, second = document["frames"][0]["targets"]
        assert first["box"] == [10.0, 12.0, 30.0, 32.0]
        assert (first["state"], first["track_id"], first["score"]) == ("tracking", 3, 0.875)
        height, width = first["mask"]["size"]
        assert np.array_equal(
            run_lengths.decode(first["mask"]["counts"], height, width), found.mask
        )
        assert second["box"] is None
        assert not run_lengths.decode(second["mask"]["counts"], HEIGHT, WIDTH).any()

    def test_a_document_without_frames_is_valid(self, tmp_path: Path) -> None:
        with FrameRecordWriter(tmp_path / "frames.json", {}) as records:
            records.complete = False
        document = json.loads((tmp_path / "frames.json").read_text())
        assert document == {"frames": [], "complete": False}

    def test_an_error_leaves_the_earlier_document_as_it_was(self, tmp_path: Path) -> None:
        path = tmp_path / "frames.json"
        path.write_text("earlier")
        with pytest.raises(RuntimeError), FrameRecordWriter(path, {}) as records:
            records.write(Frame(flat_image(0), 0.0, 0), [target()])
            raise RuntimeError
        assert path.read_text() == "earlier"
        assert list(tmp_path.iterdir()) == [path]
