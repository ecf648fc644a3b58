# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Random access to frames gives what sequential reading gives, and decodes little else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from media_samples import flat_image, noisy_image
from video_samples import damaged, turned, write_frames

from referdino_core.errors import ImageError, SourceError
from referdino_core.media import frame_access
from referdino_core.media.frame_access import frame_count, read_frames, video_index
from referdino_core.media.image_files import read_image
from referdino_core.media.sources import open_source
from referdino_core.media.video_file import EncodedVideo

FRAMES = 40
KEY_FRAMES_EVERY = {"g": "8"}


def in_order(path: Path) -> list[np.ndarray]:
    with open_source(str(path)) as source:
        return [frame.image for frame in source]


def written(path: Path, codec: str = "libx264", **options: str) -> Path:
    """A video of frames that all differ, at uneven times."""
    images = [flat_image(6 * index) for index in range(FRAMES)]
    times = np.cumsum(np.random.default_rng(0).integers(20, 60, FRAMES)).tolist()
    containers = {".mkv": "matroska", ".ts": "mpegts"}
    container = containers.get(path.suffix)
    return write_frames(path, images, times, codec, container, **KEY_FRAMES_EVERY, **options)


@pytest.mark.parametrize(
    ("name", "codec", "options", "seeks"),
    [
        ("b_frames.mp4", "libx264", {"bf": "3"}, True),
        ("no_b_frames.mp4", "libx264", {"bf": "0"}, True),
        ("open_groups.mp4", "libx264", {"x264-params": "open-gop=1:bframes=3"}, True),
        ("intra_refresh.mp4", "libx264", {"x264-params": "intra-refresh=1"}, False),
        ("b_frames.mkv", "libx264", {"bf": "3"}, True),
        ("mpeg4.mov", "mpeg4", {}, True),
        ("packed.avi", "mpeg4", {"bf": "2"}, False),
        ("vp8.webm", "libvpx", {}, True),
        ("stream.ts", "libx264", {}, False),
        ("lossless.mkv", "ffv1", {}, True),
    ],
)
def test_frames_are_those_of_sequential_reading(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], seeks: bool
) -> None:
    path = written(tmp_path / name, codec, **options)
    expected = in_order(path)
    assert frame_count(path) == len(expected) == FRAMES
    generator = np.random.default_rng(1)
    for _ in range(8):
        indices = sorted(generator.choice(FRAMES, 6, replace=False).tolist())
        found = list(read_frames(path, indices))
        for index, image in zip(indices, found, strict=True):
            assert isinstance(image, np.ndarray)
            assert np.array_equal(image, expected[index]), index
    assert (frame_access._sought(path, [FRAMES - 2]) is not None) == seeks
    assert all(map(np.array_equal, read_frames(path), expected))


def test_only_the_group_of_a_frame_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "video.mp4", **{"bf": "0", "sc_threshold": "0"})
    index = video_index(path)
    assert index is not None
    decoded = []
    frames = EncodedVideo.frames

    def counted(video: EncodedVideo) -> object:
        for frame in frames(video):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(EncodedVideo, "frames", counted)
    wanted = [8, 17, 33]
    assert all(isinstance(image, np.ndarray) for image in read_frames(path, wanted))
    assert decoded == [index.times[number] for number in (8, 16, 17, 32, 33)]


def test_a_frame_beyond_the_end_is_an_error_of_its_own(tmp_path: Path) -> None:
    path = written(tmp_path / "video.mp4")
    images = list(read_frames(path, [0, FRAMES]))
    assert isinstance(images[0], np.ndarray)
    assert isinstance(images[1], ImageError) and f"no frame {FRAMES}" in str(images[1])


def test_turned_videos_are_upright(tmp_path: Path) -> None:
    path = turned(written(tmp_path / "video.mp4"), 90)
    (image,) = read_frames(path, [20])
    assert isinstance(image, np.ndarray) and np.array_equal(image, in_order(path)[20])


@pytest.mark.parametrize("seed", range(4))
def test_what_a_damaged_video_gives_is_what_sequential_reading_gives(
    tmp_path: Path, seed: int
) -> None:
    images = [noisy_image(index) for index in range(FRAMES)]
    path = tmp_path / "video.mp4"
    write_frames(path, images, [40 * index for index in range(FRAMES)], g="8")
    damaged(path, seed)
    expected = in_order(path)
    for index in range(len(expected)):
        if frame_access._sought(path, [index]) is None:
            (image,) = read_frames(path, [index])
            assert isinstance(image, np.ndarray) and np.array_equal(image, expected[index])


def test_a_file_that_was_replaced_is_indexed_again(tmp_path: Path) -> None:
    path = written(tmp_path / "video.mp4")
    assert frame_count(path) == FRAMES
    write_frames(path, [flat_image(9)] * 3, [0, 40, 80])
    os.utime(path, ns=(1, 1))
    assert frame_count(path) == 3


def test_images_of_a_folder_are_read_alone(tmp_path: Path) -> None:
    import cv2

    for index in range(12):
        cv2.imwrite(str(tmp_path / f"frame{index}.png"), noisy_image(index)[..., ::-1])
    (tmp_path / "frame3.png").write_bytes(b"no image")
    assert frame_count(tmp_path) == 12
    damaged_image, image = read_frames(tmp_path, [3, 10])
    assert isinstance(damaged_image, ImageError) and "frame3.png" in str(damaged_image)
    assert np.array_equal(image, noisy_image(10))
    (single,) = read_frames(tmp_path / "frame10.png", [0])
    assert np.array_equal(single, read_image(tmp_path / "frame10.png"))


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(SourceError, match=r"video\.mp4 holds no video"):
        list(read_frames(path, [0]))
    with pytest.raises(SourceError, match="cannot be read"):
        frame_count(tmp_path / "missing.mp4")
