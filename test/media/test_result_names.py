# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What results are called: no source's results are put in the place of another's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from referdino_core.media.result_names import LONGEST_NAME, result_names, results_folder


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"street.mp4", "street"),
        (b"speed_0.5.mp4", "speed_0.5"),
        (b"speed_0.8", "speed_0.8"),
        (b"2024-05-01T12:30:00.mp4", "2024-05-01T12:30:00"),
        (b"drive.db3.zstd", "drive"),
        (b"v1.2.final.m2ts", "v1.2.final"),
        (b".mp4", ".mp4"),
        (b"caf\xe9.mp4", "caf%E9"),
        (b"two\nlines.mp4", "two%0Alines"),
        ("grün.mp4".encode(), "grün"),
    ],
)
def test_a_name_is_the_source_s_own(name: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(name)
    path.touch()
    assert result_names(path)[0] == expected


def test_names_of_folders_stay_whole(tmp_path: Path) -> None:
    (tmp_path / "speed_0.5").mkdir()
    (tmp_path / "run.v2").mkdir()
    assert result_names(tmp_path / "speed_0.5")[0] == "speed_0.5"
    assert result_names(tmp_path / "run.v2")[0] == "run.v2"
    assert result_names(tmp_path / "run.v2" / "..")[0] == tmp_path.name


def test_longer_names_tell_more_and_the_last_is_unique(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a/cam.mp4", "a/cam.avi", "b/cam.mp4")]
    names = [result_names(path) for path in paths]
    assert names[0][:4] == ("cam", "cam.mp4", "a_cam", "a_cam.mp4")
    assert len({given[-1] for given in names}) == 3
    assert result_names(paths[0], tmp_path)[:2] == ("a_cam", "a_cam.mp4")


def test_very_long_names_fit_into_a_file_system(tmp_path: Path) -> None:
    for name in result_names(tmp_path / ("ä" * 120 + ".mp4")):
        assert len(name.encode()) <= LONGEST_NAME
        (tmp_path / name).touch()


class TestResultsFolder:
    @pytest.fixture(autouse=True)
    def _in_a_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        self.owners: dict[str, str] = {}

    def folder(self, source: str) -> str:
        """Choose a folder and take it, as a run does."""
        chosen = results_folder(source, "replay", lambda path: self.owners.get(str(path)))
        self.owners[str(chosen)] = source
        return str(chosen)

    def test_sources_that_differ_in_suffix_or_folder_do_not_share_one(self) -> None:
        assert self.folder("day/cam.mp4") == "cam_replay"
        assert self.folder("day/cam.avi") == "cam.avi_replay"
        assert self.folder("night/cam.mp4") == "cam.mp4_replay"
        assert self.folder("dusk/cam.mp4") == "dusk_cam_replay"
        assert self.folder("day/cam.avi") == "cam.avi_replay"

    def test_the_same_source_has_the_same_one(self, tmp_path: Path) -> None:
        assert self.folder("cam.mp4") == "cam_replay"
        assert self.folder("./cam.mp4") == "cam_replay"
        assert self.folder(str(tmp_path / "cam.mp4")) == "cam_replay"

    def test_names_without_utf8_that_read_alike_do_not_share_one(self) -> None:
        assert self.folder(os.fsdecode(b"\xe9.mp4")) == "%E9_replay"
        assert self.folder("%E9.mp4") == "%E9.mp4_replay"

    def test_a_camera_has_its_index(self, tmp_path: Path) -> None:
        assert self.folder("0") == "camera_0_replay"
        (tmp_path / "1").mkdir()
        assert self.folder("1") == "1_replay"
