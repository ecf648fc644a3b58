# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Reading videos: their times, turns, names and damage; what is no video is called what it is."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sqlite3
from pathlib import Path

import cv2
import numpy as np
import pytest
from media_samples import flat_image, noisy_image, write_video
from video_samples import damaged, turned, write_frames

from referdino_core.errors import SourceError
from referdino_core.media.sources import Frame, open_source

LEVELS = tuple(range(0, 240, 20))


def flat_video(path: Path, times: list[int] | None = None, **settings: str) -> Path:
    images = [flat_image(level) for level in LEVELS]
    return write_frames(path, images, times or list(range(0, 40 * len(LEVELS), 40)), **settings)


def frames_of(path: Path) -> list[Frame]:
    with open_source(str(path)) as source:
        return list(source)


def scene_video(path: Path, count: int = 60) -> Path:
    """Something that moves, so that pictures depend on each other."""
    wide = cv2.resize(noisy_image(3, 12, 40), (960, 180), interpolation=cv2.INTER_CUBIC)
    images = [np.ascontiguousarray(wide[:, 4 * n : 4 * n + 320]) for n in range(count)]
    return write_frames(path, images, list(range(0, 40 * count, 40)))


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.mov"])
def test_stamps_are_the_times_of_the_frames_also_at_a_changing_rate(
    name: str, tmp_path: Path
) -> None:
    times = [0, 10, 45, 46, 500, 540, 580, 1500, 1533, 1566, 1600, 2000]
    path = flat_video(tmp_path / name, times, container="matroska" if "mkv" in name else None)
    frames = frames_of(path)
    assert [frame.stamp for frame in frames] == pytest.approx([time / 1e3 for time in times])
    for frame, level in zip(frames, LEVELS, strict=True):
        assert abs(int(frame.image[20, 30, 0]) - level) < 6


@pytest.mark.parametrize(
    ("name", "container", "codec"),
    [
        ("a.ts", "mpegts", "libx264"),
        ("a.webm", "webm", "libvpx"),
        ("a.flv", "flv", "libx264"),
        ("a.h264", "h264", "libx264"),
        ("a.mp4", "mp4", "mpeg4"),
    ],
)
def test_streams_that_begin_late_or_have_no_times_begin_at_zero(
    name: str, container: str, codec: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = frames_of(flat_video(tmp_path / name, container=container, codec=codec))
    assert len(frames) == len(LEVELS)
    assert [frame.stamp for frame in frames] == pytest.approx(np.arange(12) / 25, abs=1e-3)
    assert caplog.text == ""


@pytest.mark.parametrize(("degrees", "turns"), [(90, -1), (180, 2), (270, 1)])
def test_images_are_rotated_by_the_metadata_of_a_phone(
    degrees: int, turns: int, tmp_path: Path
) -> None:
    image = flat_image(50)
    image[:24, :32] = (250, 20, 20)
    plain = frames_of(write_frames(tmp_path / "a.mp4", [image], [0]))[0].image
    shown = frames_of(turned(tmp_path / "a.mp4", degrees))[0].image
    assert np.array_equal(shown, np.rot90(plain, turns))
    assert shown.flags.c_contiguous


@pytest.mark.parametrize(
    "name",
    [
        b"caf\xe9.mp4",
        b"2024-05-01T12:30:00.mp4",
        b"http:.mp4",
        b"frame_%03d.mp4",
        b"concat:a|b.mp4",
        b"a b'\"?#.mp4",
        b"-y.mp4",
        b"two\nlines.mp4",
    ],
)
def test_no_name_is_taken_for_anything_but_a_name(
    name: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    video = write_video(tmp_path / "plain.mp4")
    os.rename(os.fsencode(video), name)
    (tmp_path / "latest").symlink_to(os.fsdecode(name))
    for given in (name, b"./" + name, os.fsencode(tmp_path) + b"/" + name, b"latest"):
        assert len(frames_of(Path(os.fsdecode(given)))) == 12


def test_a_title_in_an_old_encoding_does_not_hinder(tmp_path: Path) -> None:
    data = flat_video(tmp_path / "a.mkv", container="matroska").read_bytes()
    assert b"Lavf" in data
    (tmp_path / "a.mkv").write_bytes(data.replace(b"Lavf", b"L\xe9vf"))
    assert len(frames_of(tmp_path / "a.mkv")) == len(LEVELS)


def test_a_codec_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", codec="MJPG")
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"ZQ7Z"))
    with pytest.raises(SourceError, match="holds no video that can be read"):
        open_source(str(path))


class TestDamage:
    def test_images_of_a_damaged_file_are_the_same_every_time(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = damaged(scene_video(tmp_path / "a.mp4"))
        digests = {
            hashlib.sha256(b"".join(frame.image.tobytes() for frame in frames_of(path))).digest()
            for _ in range(6)
        }
        assert len(digests) == 1
        with caplog.at_level(logging.WARNING), open_source(str(path)) as source:
            caplog.clear()
            list(source)
        (record,) = caplog.records
        assert source.problem == record.getMessage()
        assert "a.mp4 is damaged: " in source.problem

    def test_a_film_that_ends_early_is_reported_in_seconds(self, tmp_path: Path) -> None:
        path = write_frames(
            tmp_path / "a.mkv",
            [noisy_image(n) for n in range(60)],
            list(range(0, 2400, 40)),
            container="matroska",
        )
        data = path.read_bytes()
        path.write_bytes(data[: int(0.6 * len(data))])
        with open_source(str(path)) as source:
            stamps = [frame.stamp for frame in source]
        assert 20 < len(stamps) < 45
        assert f"beyond {stamps[-1] + 0.04:.1f} of the 2.4 seconds it announces" in source.problem

    @pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.ts", "a.flv"])
    def test_whole_files_have_no_problem(self, name: str, tmp_path: Path) -> None:
        containers = {".mkv": "matroska", ".ts": "mpegts"}
        codec = "libvpx" if "webm" in name else "libx264"
        path = flat_video(tmp_path / name, container=containers.get(Path(name).suffix), codec=codec)
        with open_source(str(path)) as source:
            assert len(list(source)) == len(LEVELS)
        assert source.problem == ""

    def test_numbers_of_frames_are_announced_and_kept(self, tmp_path: Path) -> None:
        path = scene_video(tmp_path / "a.mp4")  # with pictures that are shown in another order
        with open_source(str(path)) as source:
            assert source.frame_count == 60
            assert source.frame_rate == pytest.approx(25)
            assert len(list(source)) == 60


@pytest.mark.parametrize(
    ("name", "command", "said"),
    [
        ("clip.zip", "zip", "is a ZIP archive; unpack it, and give what it holds"),
        ("clip.mp4", "gztar", "is compressed with gzip; unpack it"),
        ("clip.tbz", "bztar", "is compressed with bzip2; unpack it"),
        ("clip.txz", "xztar", "is compressed with xz; unpack it"),
        ("clip.tar", "tar", "is a tar archive; unpack it"),
    ],
)
def test_archives_are_called_what_they_are(
    tmp_path: Path, name: str, command: str, said: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "clip.mp4").write_bytes(bytes(range(256)))
    archive = tmp_path / name
    shutil.move(shutil.make_archive(str(tmp_path / "made"), command, folder), archive)
    with pytest.raises(SourceError) as caught:
        open_source(str(archive))
    assert str(caught.value).startswith(f"{archive} {said}")


def test_an_empty_file_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(SourceError, match=r"clip\.mp4 is empty\."):
        open_source(str(tmp_path / "clip.mp4"))


class TestRecordingsOfRos:
    def refused(self, path: Path) -> str:
        with pytest.raises(SourceError) as caught:
            open_source(str(path))
        return str(caught.value)

    def test_they_are_called_what_they_are_with_what_to_do(self, tmp_path: Path) -> None:
        old = tmp_path / "old.bag"
        old.write_bytes(b"#ROSBAG V2.0\n" + bytes(100))
        new = tmp_path / "new.mp4"  # whatever the name says
        new.write_bytes(b"\x89MCAP0\r\n" + bytes(100))
        rows = tmp_path / "latest"
        with sqlite3.connect(rows) as database:
            database.execute("CREATE TABLE messages (id INTEGER)")
        assert "old.bag is a ROS 1 bag; convert it with rosbags-convert" in self.refused(old)
        assert "new.mp4 is an MCAP recording; give it to referdino replay" in self.refused(new)
        assert "is an SQLite database, such as rosbag2 records into" in self.refused(rows)

    def test_so_are_their_folders(self, tmp_path: Path) -> None:
        bag = tmp_path / "drive"
        bag.mkdir()
        metadata = bag / "metadata.yaml"
        metadata.write_text("rosbag2_bagfile_information:\n  version: 5\n")
        assert "drive is a rosbag2 recording; give it to referdino replay" in self.refused(bag)
        assert "metadata of a rosbag2 recording; give its folder to" in self.refused(metadata)
        metadata.unlink()
        (bag / "a.bag").write_bytes(b"#ROSBAG V2.0\n")
        assert "drive holds ROS 1 bags; convert them with rosbags-convert" in self.refused(bag)
        (bag / "a.bag").unlink()
        (bag / ".DS_Store").write_bytes(b"#ROSBAG")
        assert "drive contains no images" in self.refused(bag)
