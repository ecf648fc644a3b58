# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Which recordings are found in folders and lists, in what order, under what names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from referdino_core.batch.recordings import find_recordings, holds_recordings, read_list
from referdino_core.errors import SourceError


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def found(folder: Path, *sources: str) -> dict[str, str]:
    """Paths below a folder by the names of their runs."""
    recordings = find_recordings([folder / source for source in sources], folder / "out")
    return {one.name: one.path.relative_to(folder).as_posix() for one in recordings}


def test_a_folder_is_searched_in_a_stable_order(tmp_path: Path) -> None:
    make(
        tmp_path,
        "b/drive.mcap", "b/night.db3.zstd", "b/street.MP4", "b/notes.txt",
        "a/hall/metadata.yaml", "a/hall/hall_0.mcap",
        "a/open/open_0.db3", "a/open/open_1.db3",
        "a/images/1.png", "a/images/2.png",
    )  # fmt: skip

    assert list(found(tmp_path, ".").items()) == [
        ("a_hall", "a/hall"),
        ("a_images", "a/images"),
        ("a_open", "a/open"),
        ("b_drive", "b/drive.mcap"),
        ("b_night", "b/night.db3.zstd"),
        ("b_street", "b/street.MP4"),
    ]


def test_loose_files_are_recordings_of_their_own(tmp_path: Path) -> None:
    make(tmp_path, "monday.mcap", "tuesday.mcap", "thumbnail.jpg")

    assert holds_recordings(tmp_path)
    assert list(found(tmp_path, ".")) == ["monday", "tuesday"]


def test_one_file_beside_folders_of_bags_is_one_of_them(tmp_path: Path) -> None:
    make(tmp_path, "x.mcap", "bag/metadata.yaml")

    assert list(found(tmp_path, ".")) == ["bag", "x"]


@pytest.mark.parametrize(
    "files",
    [["metadata.yaml", "a.mcap", "b.mcap"], ["drive_0.mcap", "drive_1.mcap"], ["1.png", "2.png"]],
)
def test_a_bag_or_a_folder_of_images_is_one_recording(tmp_path: Path, files: list[str]) -> None:
    make(tmp_path / "drive", *files)

    assert not holds_recordings(tmp_path / "drive")
    assert found(tmp_path, "drive") == {"drive": "drive"}


def test_runs_and_hidden_files_are_no_recordings(tmp_path: Path) -> None:
    make(
        tmp_path,
        "drive.mcap", "night.mcap", "drive_replay/frames.jsonl", "drive_replay/results.mcap",
        "unfinished/.frames.partial.jsonl", "unfinished/overlay.mp4",
        ".trash/old.mcap", "out/drive/results.mcap",
    )  # fmt: skip
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)

    assert list(found(tmp_path, ".")) == ["drive", "night"]


def test_names_that_clash_are_distinguished(tmp_path: Path) -> None:
    make(tmp_path, "monday/cam.mcap", "tuesday/cam.mcap", "x/a_b.mcap", "x/a/b.mcap", "x/a/B.mp4")

    named = found(tmp_path, "monday/cam.mcap", "tuesday/cam.mcap")
    searched = found(tmp_path, "x")

    assert named == {"monday_cam": "monday/cam.mcap", "tuesday_cam": "tuesday/cam.mcap"}
    assert sorted(searched.values()) == ["x/a/B.mp4", "x/a/b.mcap", "x/a_b.mcap"]
    assert len({name.casefold() for name in searched}) == 3
    # What is added to the list changes no name that was unique, and a source counts once.
    assert found(tmp_path, "x", "x/a_b.mcap", "x/a") == searched


def test_a_very_long_path_gets_a_name_that_a_file_system_takes(tmp_path: Path) -> None:
    make(tmp_path, f"{'ä' * 60}/{'b' * 120}/{'c' * 120}.mcap")

    (name,) = found(tmp_path, ".")

    (tmp_path / name).mkdir()
    assert len(name.encode()) < 200


def test_a_list_names_sources_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text("# the night drives\n/data/a b.mcap\n\n  /data/c  \n")

    assert read_list(file) == [Path("/data/a b.mcap"), Path("/data/c")]
    with pytest.raises(SourceError, match="cannot be read"):
        read_list(tmp_path / "missing.txt")
    with pytest.raises(SourceError, match="names no recording"):
        find_recordings([], tmp_path)


def test_a_source_that_is_none_is_kept(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    assert not holds_recordings(tmp_path / "empty")
    assert list(found(tmp_path, "empty", "missing.mcap")) == ["empty", "missing"]


def test_recordings_that_differ_in_the_suffix_alone_are_distinguished_by_it(tmp_path: Path) -> None:
    make(tmp_path, "x/clip.mp4", "x/clip.avi", "x/other.mp4", "x/speed_0.5/1.png")
    make(tmp_path, "x/speed_0.8/1.png")

    assert found(tmp_path, "x") == {
        "clip.avi": "x/clip.avi",
        "clip.mp4": "x/clip.mp4",
        "other": "x/other.mp4",
        "speed_0.5": "x/speed_0.5",
        "speed_0.8": "x/speed_0.8",
    }


def test_what_operating_systems_leave_is_no_recording(tmp_path: Path) -> None:
    make(
        tmp_path,
        "drive/1.png", "drive/._1.png", "drive/Thumbs.db", "drive/.DS_Store", "drive/desktop.ini",
        "film.mp4", "._film.mp4", "__MACOSX/drive/2.png", "@eaDir/film.mp4/SYNOPHOTO_THUMB_M.jpg",
        "$RECYCLE.BIN/old.mp4", "System Volume Information/x.mp4", "lost+found/y.mp4",
    )  # fmt: skip

    assert found(tmp_path, ".") == {"drive": "drive", "film": "film.mp4"}


def test_links_are_followed_once_and_have_their_own_names(tmp_path: Path) -> None:
    make(tmp_path, "store/8f3a.mp4", "many/other.mp4")
    (tmp_path / "many/monday.mp4").symlink_to(tmp_path / "store/8f3a.mp4")
    (tmp_path / "many/monday_again.mp4").symlink_to(tmp_path / "store/8f3a.mp4")
    (tmp_path / "many/gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "many/loop.mp4").symlink_to(tmp_path / "many/loop.mp4")

    assert list(found(tmp_path, "many")) == ["monday", "other"]
    assert list(found(tmp_path, "many/monday.mp4", "many/loop.mp4")) == ["monday", "loop"]


def test_names_of_any_bytes_are_found(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    make(tmp_path, f"many/{name}", "many/12:30:00.mp4")

    assert found(tmp_path, "many") == {"12:30:00": "many/12:30:00.mp4", "caf%E9": f"many/{name}"}
