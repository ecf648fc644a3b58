# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Search for recordings in folders and lists, with a unique name for each."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from referdino_core.errors import SourceError
from referdino_core.files import temporary_path
from referdino_core.media.image_files import is_image
from referdino_core.media.result_names import result_names, without_suffix
from referdino_core.replay.bag_files import METADATA_NAME, is_bag
from referdino_core.replay.run_folder import FRAMES_NAME
from referdino_core.user_files import read_text, user_path, visible_entries

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
"""Files that count as videos when a folder is searched."""

_PART_OF_A_BAG = re.compile(r"(?P<series>.+)_(?P<number>\d+)")


@dataclass(frozen=True)
class FoundRecording:
    """A recording to replay.

    Attributes:
        name: of its run's folder; unique in the batch.
        path: absolute.
    """

    name: str
    path: Path


@dataclass(frozen=True)
class _Place:
    """A recording and the folder that was searched; None if it was named itself."""

    path: Path
    root: Path | None


def holds_recordings(path: Path) -> bool:
    """Whether this is a folder that contains recordings and is not itself one.

    Raises:
        SourceError: a folder may not be read.
    """
    return path.is_dir() and _recordings_in(path, None, set()) not in ([], [path])


def find_recordings(sources: Sequence[Path], out: Path) -> list[FoundRecording]:
    """The recordings that sources refer to, each once, in a stable order.

    A folder that is not itself a recording stands for the bags, videos and folders of images below
    it, in order of their names; hidden files, folders of runs, and `out` are skipped. A source that
    is none of these is kept, so that it is listed as failed.

    Raises:
        SourceError: no source is given, or a folder may not be read.
    """
    places: dict[Path, _Place] = {}
    for source in sources:
        found = _recordings_in(source, _real(out), set()) if source.is_dir() else []
        if found in ([], [source]):
            places.setdefault(_real(source), _Place(source, None))
        for path in found:
            places.setdefault(_real(path), _Place(path, source))
    if not places:
        raise SourceError("The list names no recording.")
    names = _names(list(places.values()))
    return [
        FoundRecording(name, place.path.absolute())
        for name, place in zip(names, places.values(), strict=True)
    ]


def read_list(path: Path) -> list[Path]:
    """The sources listed in a file, one per line; empty lines and lines with # are skipped.

    The file is UTF-8, or UTF-16 with a byte order mark.

    Raises:
        SourceError: the file cannot be read.
    """
    try:
        lines = read_text(path, errors="surrogateescape").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"The list {path} cannot be read: {error}.") from error
    stripped = (line.strip(" \t\r") for line in lines)
    return [user_path(line) for line in stripped if line and not line.startswith("#")]


def _recordings_in(folder: Path, out: Path | None, seen: set[Path]) -> list[Path]:
    """The folder alone if it is a recording, else the recordings below it.

    Args:
        out: folder to skip. seen: resolved folders, to guard against circular links.
    """
    resolved = _real(folder)
    if resolved in seen or resolved == out or _is_run(folder):
        return []
    seen.add(resolved)
    if (folder / METADATA_NAME).is_file():
        return [folder]
    entries = _entries(folder)
    below = {entry: _recordings_in(entry, out, seen) for entry in entries if entry.is_dir()}
    files = [entry for entry in entries if entry.is_file()]
    if not any(below.values()) and _are_one_recording(files):
        return [folder]
    alone = {file: [file] for file in files if is_bag(file) or _is_video(file)}
    found = {**below, **alone}
    return [path for entry in entries for path in found.get(entry, ())]


def _entries(folder: Path) -> list[Path]:
    """The entries of a folder by name, without hidden files."""
    try:
        return visible_entries(folder)
    except OSError as error:
        raise SourceError(f"{folder} cannot be read: {error.strerror}.") from error


def _are_one_recording(files: Sequence[Path]) -> bool:
    """Whether the files of a folder are one bag without metadata, or one series of images."""
    if any(map(_is_video, files)):
        return False
    parts = [without_suffix(file.name) for file in files if is_bag(file)]
    if parts:
        return len(parts) == 1 or _are_one_series(parts)
    return any(is_image(file) for file in files)


def _is_video(file: Path) -> bool:
    return file.suffix.lower() in VIDEO_SUFFIXES


def _are_one_series(names: Sequence[str]) -> bool:
    """Whether these are drive_0, drive_1 …, as rosbag2 names the files of one recording."""
    matches = [_PART_OF_A_BAG.fullmatch(name) for name in names]
    found = [match for match in matches if match is not None]
    numbers = sorted(int(match["number"]) for match in found)
    return numbers == list(range(len(names))) and len({match["series"] for match in found}) == 1


def _is_run(folder: Path) -> bool:
    """Whether this is the folder of a run, whose results are not a recording."""
    lines = folder / FRAMES_NAME
    return lines.is_file() or temporary_path(lines).is_file()


def _names(places: Sequence[_Place]) -> list[str]:
    """Unique names: the path below the searched folder, longer only if names clash."""
    candidates = [result_names(place.path, place.root) for place in places]
    names: dict[int, str] = {}
    for level in range(len(candidates[0])):
        left = [number for number in range(len(places)) if number not in names]
        # File systems may be case-insensitive.
        wanted = Counter(candidates[number][level].casefold() for number in left)
        taken = {name.casefold() for name in names.values()}
        for number in left:
            name = candidates[number][level]
            if wanted[name.casefold()] == 1 and name.casefold() not in taken:
                names[number] = name
    return [names[number] for number in range(len(places))]


def _real(path: Path) -> Path:
    """The path with links resolved; circular links are tolerated."""
    return Path(os.path.realpath(path))
