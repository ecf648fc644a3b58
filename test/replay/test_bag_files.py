# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What files are, whatever their names say, and how they are compressed."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from bag_reading import assert_is_the_scene, frames_of, storage_file
from bag_samples import (
    scene,
    write_bag,
)
from mcap_samples import COMPRESSORS
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from referdino_core.errors import SourceError
from referdino_core.replay.bag_files import is_bag
from referdino_core.replay.bag_recording import BagRecording

COUNT = 8
MCAP, SQLITE = StoragePlugin.MCAP, StoragePlugin.SQLITE3


def test_a_compressed_file_that_the_disk_cannot_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = write_bag(tmp_path / "bag", scene(COUNT), SQLITE, CompressionMode.FILE)
    free = SimpleNamespace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)

    with pytest.raises(SourceError, match=r"more than the disk of .* has room for; unpack it"):
        BagRecording(bag)


@pytest.mark.parametrize("storage", [MCAP, SQLITE])
def test_a_file_compressed_in_several_parts_is_read(tmp_path: Path, storage: StoragePlugin) -> None:
    """As pzstd writes it."""
    file = storage_file(write_bag(tmp_path / "bag", scene(COUNT), storage))
    data = file.read_bytes()
    half = len(data) // 2
    note = bytes((0x50, 0x2A, 0x4D, 0x18, 2, 0, 0, 0, 1, 2))
    compressed = file.with_name(f"{file.name}.zst")
    compressed.write_bytes(
        note + COMPRESSORS["zstd"](data[:half]) + COMPRESSORS["zstd"](data[half:])
    )

    recording = BagRecording(compressed)

    assert_is_the_scene(frames_of(recording), COUNT)
    assert recording.problems == []


@pytest.mark.parametrize("storage", [MCAP, SQLITE])
@pytest.mark.parametrize("name", ["latest", "A.DB3", "drive.mcap.active", "what? #1 50%.bak"])
def test_a_renamed_storage_file_is_read(tmp_path: Path, storage: StoragePlugin, name: str) -> None:
    file = storage_file(write_bag(tmp_path / "bag", scene(COUNT), storage))
    renamed = tmp_path / "renamed" / name
    renamed.parent.mkdir()
    shutil.copy(file, renamed)
    link = tmp_path / "link"
    link.symlink_to(file)

    for path in (renamed, renamed.parent, link):
        assert is_bag(path)
        assert_is_the_scene(frames_of(BagRecording(path)), COUNT)


def test_what_is_no_recording_of_ros_2_is_called_what_it_is(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", scene(1))
    old = tmp_path / "old" / "drive.bag"
    old.parent.mkdir()
    old.write_bytes(b"#ROSBAG V2.0\n" + bytes(4096))

    for path, said in (
        (old, f"{old} is a ROS 1 bag; convert it with rosbags-convert"),
        (old.parent, f"{old.parent} holds ROS 1 bags; convert"),
        (bag / "metadata.yaml", "is the metadata of a rosbag2 recording; give its folder"),
    ):
        assert is_bag(path)
        with pytest.raises(SourceError) as caught:
            BagRecording(path)
        assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_recording_whose_only_file_is_missing_says_which(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", scene(1), SQLITE)
    file = storage_file(bag)
    file.unlink()

    with pytest.raises(SourceError) as caught:
        BagRecording(bag)

    assert f"{file.name} is missing, which metadata.yaml lists" in str(caught.value)
    assert "empty" not in str(caught.value) and "\n" not in str(caught.value)


def test_other_files_are_no_recordings(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "thumbnails.db") as database:
        database.execute("CREATE TABLE songs(name TEXT)")
    database.close()
    (tmp_path / "metadata.yaml").write_text("pixels: 12\n")
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((4, 4, 3), np.uint8))

    assert not any(map(is_bag, (tmp_path, *tmp_path.iterdir())))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.mcap", b"", "it is empty"),
        ("a.mcap", b"\x89MCAP0\r\n", "no image topic"),
        ("a.mcap", b"some text that is no bag at all", "neither"),
        ("a.db3", b"SQLite format 3\0" + bytes(200), "cannot be read"),
        ("a.db3", b"#ROSBAG V2.0\n" + bytes(99), "ROS 1 bag; convert it"),
    ],
)
def test_a_foreign_file_is_one_clear_line(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(SourceError) as caught:
        BagRecording(tmp_path / name)

    assert said in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
