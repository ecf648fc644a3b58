# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Detection of recordings by content: which files they are, and of which format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePath

from referdino_core.media.image_files import IMAGE_SUFFIXES
from referdino_core.replay import mcap_records, sqlite_file
from referdino_core.replay.compression import first_bytes, is_zstd
from referdino_core.user_files import read_text, visible_entries

METADATA_NAME = "metadata.yaml"
STORAGE_SUFFIXES = (".mcap", ".db3")
COMPRESSED_SUFFIXES = (".zstd", ".zst")

_METADATA_KEY = b"rosbag2_bagfile_information"
_ROS_1_START = b"#ROSBAG"
_LONGEST_START = 16
_LONGEST_COMMENT = 4096


class FileKind(Enum):
    """Format of a file, by its content."""

    MCAP = "an MCAP file"
    SQLITE = "an SQLite database"
    ROS_1 = "a ROS 1 bag"
    METADATA = "the metadata of a rosbag2 recording"
    OTHER = "something else"


@dataclass(frozen=True)
class Metadata:
    """Content of metadata.yaml: the files of a recording in order, and messages per topic."""

    files: tuple[str, ...]
    counts: dict[str, int]


def is_bag(path: Path) -> bool:
    """Whether `Bag` handles a path, if only to say what it is instead of a recording.

    That is a folder of storage files or one of them under any name, the metadata of a rosbag2
    recording, and bags of ROS 1.
    """
    if path.is_dir():
        if kind_of(path / METADATA_NAME) is FileKind.METADATA:
            return True
        return bool(storage_files_in(path) or ros_1_bags_in(path))
    return _storage_suffix(path) in STORAGE_SUFFIXES or kind_of(path) is not FileKind.OTHER


def kind_of(path: Path) -> FileKind:
    """The format of a file; `FileKind.OTHER` if it cannot be read."""
    start = start_of(path)
    if start.startswith(mcap_records.MAGIC):
        return FileKind.MCAP
    if start.startswith(_ROS_1_START):
        return FileKind.ROS_1
    if start == sqlite_file.MAGIC:
        # Other programs have databases as well; a compressed one is found by its name.
        return FileKind.SQLITE if sqlite_file.holds_messages(path) else FileKind.OTHER
    if path.name == METADATA_NAME and _is_metadata(path):
        return FileKind.METADATA
    return FileKind.OTHER


def start_of(path: Path) -> bytes:
    """The first bytes of a file's decompressed content; none if it cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(_LONGEST_START)
        return first_bytes(path, _LONGEST_START) if is_zstd(start) else start
    except OSError:
        return b""


def storage_files_in(folder: Path) -> list[Path]:
    """The storage files of a folder, by suffix, else by content; drive_2 before drive_10."""
    try:
        files = [entry for entry in visible_entries(folder) if entry.is_file()]
    except OSError:
        return []
    files.sort(key=_natural_order)
    named = [file for file in files if _storage_suffix(file) in STORAGE_SUFFIXES]
    return named or [
        file
        for file in files
        if file.suffix.lower() not in IMAGE_SUFFIXES
        and kind_of(file) in (FileKind.MCAP, FileKind.SQLITE)
    ]


def ros_1_bags_in(folder: Path) -> list[Path]:
    """The bags of ROS 1 in a folder that holds no images."""
    try:
        files = [entry for entry in visible_entries(folder) if entry.is_file()]
    except OSError:
        return []
    if any(file.suffix.lower() in IMAGE_SUFFIXES for file in files):
        return []
    return [file for file in files if kind_of(file) is FileKind.ROS_1]


def read_metadata(folder: Path) -> Metadata:
    """Read the metadata of a recording.

    Raises:
        Exception: there is none, or whatever YAML makes of a damaged file.
    """
    import yaml

    information = yaml.safe_load(read_text(folder / METADATA_NAME))["rosbag2_bagfile_information"]
    return Metadata(
        files=tuple(PurePath(name).name for name in information["relative_file_paths"]),
        counts={
            topic["topic_metadata"]["name"]: int(topic["message_count"])
            for topic in information.get("topics_with_message_count", ())
        },
    )


def _is_metadata(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _METADATA_KEY in file.read(_LONGEST_COMMENT)
    except OSError:
        return False


def _storage_suffix(path: Path) -> str:
    compressed = path.suffix.lower() in COMPRESSED_SUFFIXES
    return (Path(path.stem) if compressed else path).suffix.lower()


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """Orders bag_2 before bag_10."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
