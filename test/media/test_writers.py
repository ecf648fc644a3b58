# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Writing videos: any rate, any size, any name, and nothing partial where that fails."""

from __future__ import annotations

import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from full_disk import files_of_at_most
from media_samples import flat_image, noisy_image

from referdino_core.files import Output, OutputError, OutputGroup
from referdino_core.media import video_encoder
from referdino_core.media.sources import open_source
from referdino_core.media.video_encoder import MP4_ENCODERS, container_rate
from referdino_core.media.writers import OptionalVideo, VideoWriter

ENCODERS = tuple(MP4_ENCODERS)


@pytest.fixture(params=ENCODERS)
def encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """As if this FFmpeg had only one of the encoders."""
    has_it = video_encoder._is_there
    monkeypatch.setattr(
        video_encoder, "_is_there", lambda name: name == request.param and has_it(name)
    )
    return request.param


def write(path: Path, rate: float, size: tuple[int, int], count: int = 3) -> Path:
    width, height = size
    with VideoWriter(path, rate, size) as video:
        for index in range(count):
            video.write(flat_image(60 * index, height, width))
    return path


@pytest.mark.parametrize(
    "rate", [60.0, 66.667, 71.429, 83.333, 90.013, 142.857, 239.873, 29.97, 1000.0, 7.3, 0.01, 1e-7]
)
def test_any_frame_rate_is_written(rate: float, encoder: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", rate, (64, 48))
    with path.open("rb") as file, av.open(file) as video:
        times = [frame.time for frame in video.decode(video=0)]
    assert times == pytest.approx(np.arange(3) / max(rate, 1 / 65535), rel=1e-4)


def test_rates_are_rounded_to_what_containers_hold() -> None:
    for rate in (25, 30000 / 1001, 23.976, 66.667, 239.873, 999.999, 0.3333, 1.0005):
        held = container_rate(rate)
        assert held.numerator < 2**16 and held.denominator < 2**16
        assert float(held) == pytest.approx(rate, rel=2e-5)


@pytest.mark.parametrize(
    ("size", "written"),
    [
        ((8192, 64), (8190, 64)),
        ((480, 9600), (410, 8190)),
        ((16384, 4), (8190, 2)),
        ((1, 1), (2, 2)),
        ((101, 57), (102, 58)),
    ],
)
def test_any_size_is_written(
    size: tuple[int, int], written: tuple[int, int], encoder: str, tmp_path: Path
) -> None:
    with open_source(str(write(tmp_path / "a.mp4", 25.0, size))) as source:
        frames = list(source)
    assert [frame.image.shape[1::-1] for frame in frames] == [written] * 3
    for index, frame in enumerate(frames):
        assert abs(int(frame.image[0, 0, 0]) - 60 * index) < 8


def test_colours_are_kept_and_every_player_knows_which(tmp_path: Path) -> None:
    image = np.zeros((720, 1280, 3), np.uint8)
    image[:, :640], image[:, 640:] = (200, 30, 60), (20, 180, 90)
    with VideoWriter(tmp_path / "a.mp4", 10.0, (1280, 720)) as video:
        video.write(image)
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    seen = capture.read()[1][..., ::-1]
    assert np.abs(seen[300, [100, 1000]].astype(int) - image[300, [100, 1000]]).max() < 6
    with (tmp_path / "a.mp4").open("rb") as file, av.open(file) as opened:
        assert opened.streams.video[0].codec_context.colorspace == 6  # H.273: SMPTE 170M


@pytest.mark.parametrize("name", [b"caf\xe9:%03d.mp4", b"12:30:00.mp4", b"file:a.mp4"])
def test_any_name_is_written(name: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path(os.fsdecode(name)), 25.0, (64, 48))
    assert os.listdir(os.fsencode(tmp_path)) == [name]


def test_the_same_images_give_the_same_bytes(tmp_path: Path) -> None:
    contents = set()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        with VideoWriter(tmp_path / name, 29.97, (320, 240)) as video:
            for index in range(20):
                video.write(cv2.resize(noisy_image(index, 8, 8), (320, 240)))
        contents.add((tmp_path / name).read_bytes())
    assert len(contents) == 1


class TestFullDisk:
    def written(self, path: Path) -> Path:
        with VideoWriter(path, 25.0, (64, 48)) as video:
            for index in range(40):
                video.write(noisy_image(index))
        return path

    @pytest.mark.parametrize("share", [0.0, 0.0001, 0.3, 0.9, 0.999])
    def test_it_is_an_error_wherever_it_strikes_and_nothing_partial_stays(
        self, share: float, encoder: str, tmp_path: Path
    ) -> None:
        size = self.written(tmp_path / "whole.mp4").stat().st_size
        (tmp_path / "whole.mp4").unlink()
        earlier = tmp_path / "a.mp4"
        earlier.write_bytes(b"")
        with (
            files_of_at_most(int(share * size)),
            pytest.raises(OutputError, match=r"a\.mp4 cannot be written: File too large"),
        ):
            self.written(earlier)
        assert os.listdir(tmp_path) == ["a.mp4"]

    def test_an_optional_video_is_no_excuse(self, tmp_path: Path) -> None:
        with (
            files_of_at_most(5000),
            pytest.raises(OutputError),
            OptionalVideo(tmp_path / "a.mp4", 25.0, (64, 48)) as video,
        ):
            for index in range(40):
                video.write(noisy_image(index))
        assert os.listdir(tmp_path) == []


class TestWithoutAnEncoder:
    @pytest.fixture(autouse=True)
    def _no_encoder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(video_encoder, "_is_there", lambda name: False)

    def test_a_video_cannot_be_written(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match=r"a\.mp4 .*no encoder libx264 or mpeg4"):
            VideoWriter(tmp_path / "a.mp4", 25.0, (64, 48))
        assert os.listdir(tmp_path) == []

    def test_an_optional_one_is_left_out_with_a_line_that_says_why(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "a.mp4").write_bytes(b"of an earlier run")
        with OptionalVideo(tmp_path / "a.mp4", 25.0, (64, 48)) as video:
            for index in range(3):
                video.write(flat_image(index))
        assert [record.getMessage() for record in caplog.records] == [video.problem]
        assert "no encoder" in video.problem and "Everything else is kept." in video.problem
        assert os.listdir(tmp_path) == []


class _Recorded(Output):
    def __init__(self, done: list[str], name: str, fails: bool = False) -> None:
        self._done, self._name, self._fails = done, name, fails

    def finish(self) -> None:
        if self._fails:
            raise OutputError("full")
        self._done.append(f"finish {self._name}")

    def commit(self) -> None:
        self._done.append(f"commit {self._name}")

    def discard(self) -> None:
        self._done.append(f"discard {self._name}")


def test_outputs_of_a_group_get_their_names_together_or_not_at_all() -> None:
    done: list[str] = []
    with OutputGroup() as group:
        group.add(_Recorded(done, "a"))
        group.add(_Recorded(done, "b"))
    assert done == ["finish a", "finish b", "commit a", "commit b"]
    done.clear()
    with pytest.raises(OutputError), OutputGroup() as group:
        group.add(_Recorded(done, "a"))
        group.add(_Recorded(done, "b", fails=True))
    assert done == ["finish a", "discard a", "discard b"]
