# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Frame sources, images, run lengths and frame records, on real files."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from media_samples import HEIGHT, WIDTH, flat_image, noisy_image, target, write_video

from referdino_core.errors import ImageError, SourceError
from referdino_core.media import image_files
from referdino_core.media.frame_records import FrameRecordWriter
from referdino_core.media.sources import Frame, open_source
from referdino_core.media.writers import write_image
from referdino_core.messages import run_lengths
from referdino_core.target import TargetState


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
        difference = image_files.read_image(path).astype(int) - flat_image(200)
        assert np.abs(difference).max() <= (0 if suffix in (".png", ".bmp") else 6)

    @pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".jpg"])
    @pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
    def test_cut_off_images_are_refused(self, suffix: str, share: float, tmp_path: Path) -> None:
        write_image(tmp_path / f"image{suffix}", noisy_image(0))
        data = (tmp_path / f"image{suffix}").read_bytes()
        with pytest.raises(ImageError):
            image_files.decode(data[: int(share * len(data))])

    def test_a_cut_off_jpeg_with_a_whole_thumbnail_is_refused(self) -> None:
        # Decoders that report success on cut-off JPEGs make this check ours.
        picture = cv2.imencode(".jpg", noisy_image(0))[1].tobytes()
        thumbnail = cv2.imencode(".jpg", noisy_image(1, 8, 8))[1].tobytes()
        segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
        with_thumbnail = picture[:2] + segment + picture[2:]
        assert image_files.decode(with_thumbnail).shape == (HEIGHT, WIDTH, 3)
        with pytest.raises(ImageError, match="cut off"):
            image_files.decode(with_thumbnail[: len(with_thumbnail) - 400])

    @pytest.mark.parametrize(
        "data", [b"", b"no image at all", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\nIEND"]
    )
    def test_what_is_no_image_is_refused(self, data: bytes) -> None:
        with pytest.raises(ImageError):
            image_files.decode(data)

    def test_grey_and_transparent_images_become_rgb(self) -> None:
        grey = cv2.imencode(".png", np.full((5, 6), 77, np.uint8))[1].tobytes()
        assert (image_files.decode(grey) == 77).all()
        assert image_files.decode(grey).shape == (5, 6, 3)
        transparent = cv2.imencode(".png", np.full((5, 6, 4), 99, np.uint8))[1].tobytes()
        assert image_files.decode(transparent).shape == (5, 6, 3)


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
        with pytest.raises(SourceError, match=r"empty\.mp4 is empty"):
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

    def test_a_broken_image_is_reported_and_skipped_and_keeps_its_place_in_time(
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
            pytest.raises(SourceError, match="None of the images"),
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
