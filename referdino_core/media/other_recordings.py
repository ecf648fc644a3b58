# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Detection of ROS recordings, archives and empty files given in place of videos or images."""

from __future__ import annotations

from pathlib import Path

from referdino_core.user_files import visible_entries

_METADATA_NAME = "metadata.yaml"
_METADATA_KEY = b"rosbag2_bagfile_information"
_COMPRESSED_SUFFIXES = (".mcap.zstd", ".mcap.zst", ".db3.zstd", ".db3.zst")
_LONGEST_START = 4096  # bytes to inspect

_TAR_MARK = slice(257, 262)
_ARCHIVES = (
    (b"PK\x03\x04", "a ZIP archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ\x00", "compressed with xz"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
)

_REPLAY = "give it to referdino replay"
_CONVERT = "convert {} with rosbags-convert, and give the result to referdino replay"


def what_is_no_video(path: Path) -> str:
    """Advice for a file that is a ROS recording, an archive or empty; "" for other files.

    Returns:
        As `recording_of_ros`; "" for all other files, videos among them.
    """
    what = recording_of_ros(path)
    if what or not path.is_file():
        return what
    start = _start_of(path)
    if not start:
        return "is empty" if path.stat().st_size == 0 else ""
    kinds = [kind for mark, kind in _ARCHIVES if start.startswith(mark)]
    if start[_TAR_MARK] == b"ustar":
        kinds.append("a tar archive")
    return f"is {kinds[0]}; unpack it, and give what it holds" if kinds else ""


def recording_of_ros(path: Path) -> str:
    """Advice for a file or folder that is a ROS recording; "" for others.

    Returns:
        The rest of a sentence that begins with the path: "is a ROS 1 bag; convert it …"; "" if it
        is not such a recording.
    """
    if path.is_dir():
        return _folder(path)
    start = _start_of(path)
    if start.startswith(b"#ROSBAG"):
        return f"is a ROS 1 bag; {_CONVERT.format('it')}"
    if start.startswith(b"\x89MCAP"):
        return f"is an MCAP recording; {_REPLAY}"
    if start.startswith(b"SQLite format 3\x00"):
        return f"is an SQLite database, such as rosbag2 records into; {_REPLAY}"
    if path.name == _METADATA_NAME and _METADATA_KEY in start:
        return "is the metadata of a rosbag2 recording; give its folder to referdino replay"
    if path.name.lower().endswith(_COMPRESSED_SUFFIXES):
        return f"is a compressed rosbag2 recording; {_REPLAY}"
    return ""


def _folder(path: Path) -> str:
    try:
        files = [entry for entry in visible_entries(path) if entry.is_file()]
    except OSError:
        return ""
    found = [what for what in map(recording_of_ros, files) if what]
    if not found:
        return ""
    if all("ROS 1" in what for what in found):
        return f"holds ROS 1 bags; {_CONVERT.format('them')}"
    return f"is a rosbag2 recording; {_REPLAY}"


def _start_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST_START)
    except OSError:
        return b""
