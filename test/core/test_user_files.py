# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Text, names and folders as people and operating systems leave them."""

from __future__ import annotations

import codecs
import json
import os
from pathlib import Path

import pytest
from label_files import write_labels
from media_samples import flat_image

from referdino_core.batch.recordings import read_list
from referdino_core.evaluation.ground_truth import open_ground_truth
from referdino_core.evaluation.ground_truth.mevis import read_json
from referdino_core.media.sources import open_source
from referdino_core.media.writers import write_image
from referdino_core.replay.clocks import read_clock
from referdino_core.user_files import is_left_by_system, legible, read_text

MARKED = {
    "none": lambda text: text.encode(),
    "utf-8": lambda text: codecs.BOM_UTF8 + text.encode(),
    "utf-16 little": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "utf-16 big": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "utf-32": lambda text: codecs.BOM_UTF32_LE + text.encode("utf-32-le"),
}


@pytest.mark.parametrize("mark", MARKED)
def test_byte_order_marks_are_understood_wherever_people_write_text(
    mark: str, tmp_path: Path
) -> None:
    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_bytes(MARKED[mark](text))
        return path

    assert read_text(written("text", "grün\r\n")) == "grün\r\n"
    assert read_list(written("list.txt", "/data/grün.mcap\r\n")) == [Path("/data/grün.mcap")]
    assert read_json(written("meta.json", '{"videos": {"grün": {}}}')) == {"videos": {"grün": {}}}
    for name, text in (("t.csv", "seconds\n0.1\n"), ("t.json", "[0.1]"), ("t.jsonl", "0.1\n")):
        assert read_clock(str(written(name, text))).summary()


def test_a_list_names_files_in_any_bytes(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"caf\xe9.mp4\n  b\x85 c.mp4\n")
    assert [os.fsencode(path) for path in read_list(tmp_path / "list.txt")] == [
        b"caf\xe9.mp4",
        b"b\x85 c.mp4",
    ]


def test_names_that_are_no_utf8_can_be_shown() -> None:
    assert legible(os.fsdecode(b"caf\xe9/gr\xc3\xbcn")) == r"caf\xe9/grün"
    legible(json.loads(r'"\ud800"')).encode()


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "._x.png", "Thumbs.db", "desktop.ini", "__MACOSX", "lost+found", "@eaDir"],
)
def test_what_systems_leave_is_known(name: str) -> None:
    assert is_left_by_system(name)


def test_what_systems_leave_beside_images_changes_nothing(tmp_path: Path) -> None:
    for folder in ("frames", "labels"):
        (tmp_path / folder).mkdir()
        for name in ("._00000.png", "._00001.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
            (tmp_path / folder / name).write_bytes(b"\x00\x05\x16\x07" + bytes(100))
    for number in range(2):
        write_image(tmp_path / f"frames/{number:05}.png", flat_image(number))
        write_labels(tmp_path / f"labels/{number:05}.png", flat_image(number)[..., 0] * 0 + 1)

    with open_source(str(tmp_path / "frames")) as source:
        assert [(frame.index, int(frame.image[0, 0, 0])) for frame in source] == [(0, 0), (1, 1)]
    with open_ground_truth(str(tmp_path / "labels"), tmp_path / "frames") as truth:
        assert truth.objects == (1,)
        assert truth.problems == []
