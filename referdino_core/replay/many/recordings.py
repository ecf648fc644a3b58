# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Finds recordings in folders and lists, and gives each a name of its own."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from referdino_core.errors import SourceError
from referdino_core.media.partial_file import growing_path
from referdino_core.media.sources import IMAGE_SUFFIXES
from referdino_core.replay.bag import METADATA_NAME, STORAGE_SUFFIXES, is_bag
from referdino_core.replay.run_folder import FRAMES_NAME

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
"""Files that count as videos where a folder is searched; one that is named may be called anything."""

_LONGEST_NAME = 200  # bytes, of the 255 that a file system takes
_PART_OF_A_BAG = re.compile(r"(?P<series>.+)_(?P<number>\d+)")


@dataclass(frozen=True)
class FoundRecording:
    """A recording that is to be replayed.

    Attributes:
        name: of its run's folder; no other recording of the batch has it.
        path: absolute.
    """

    name: str
    path: Path


@dataclass(frozen=True)
class _Place:
    """A recording, and the folder in which it was found; None where it was named itself."""

    path: Path
    root: Path | None


def holds_recordings(path: Path) -> bool:
    """Whether this is a folder to be searched: neither a bag nor a folder of images itself."""
    return path.is_dir() and not _is_recording(path) and any(_search(path, None, set()))


def find_recordings(sources: Sequence[Path], out: Path) -> list[FoundRecording]:
    """The recordings that sources mean, each once, in a stable order.

    A folder that is no recording itself is searched for bags, videos and folders of images, in the
    order of their names; hidden files, folders of runs, and `out` are passed over. A source that
    does not exist is kept, so that it is listed as one that failed.

    Raises:
        SourceError: there is none.
    """
    places: dict[Path, _Place] = {}
    for source in sources:
        if source.is_dir() and not _is_recording(source):
            found = [_Place(one, source) for one in _search(source, out.resolve(), set())]
        else:
            found = [_Place(source, None)]
        for place in found:
            places.setdefault(place.path.resolve(), place)
    if not places:
        raise SourceError(
            f"There is no bag, video or folder of images in {', '.join(map(str, sources))}."
        )
    names = _names(list(places.values()))
    return [
        FoundRecording(name, place.path.absolute())
        for name, place in zip(names, places.values(), strict=True)
    ]


def read_list(path: Path) -> list[Path]:
    """The sources of a file, one per line; empty lines and those that begin with # do not count.

    Raises:
        SourceError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"The list {path} cannot be read: {error}.") from error
    stripped = (line.strip() for line in lines)
    return [Path(line).expanduser() for line in stripped if line and not line.startswith("#")]


def _search(folder: Path, out: Path | None, seen: set[Path]) -> Iterator[Path]:
    """Recordings below a folder; `seen` guards against links that lead back."""
    resolved = folder.resolve()
    if resolved in seen:
        return
    seen.add(resolved)
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise SourceError(f"{folder} cannot be read: {error.strerror}.") from error
    for entry in entries:
        if entry.name.startswith(".") or entry.resolve() == out or _is_run(entry):
            continue
        if not entry.is_dir():
            if is_bag(entry) or entry.suffix.lower() in VIDEO_SUFFIXES:
                yield entry
        elif _is_recording(entry):
            yield entry
        else:
            yield from _search(entry, out, seen)


def _is_recording(folder: Path) -> bool:
    """Whether a folder is one bag, or one series of images."""
    if (folder / METADATA_NAME).is_file():
        return True
    names = [path.name for path in folder.iterdir() if path.is_file()]
    parts = [_bare(name) for name in names if is_bag(folder / name)]
    if parts:
        return len(parts) == 1 or _are_one_series(parts)
    has_images = any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in names)
    has_videos = any(Path(name).suffix.lower() in VIDEO_SUFFIXES for name in names)
    return has_images and not has_videos


def _are_one_series(names: Sequence[str]) -> bool:
    """Whether these are drive_0, drive_1 … as rosbag2 calls the files of one recording."""
    matches = [_PART_OF_A_BAG.fullmatch(name) for name in names]
    found = [match for match in matches if match is not None]
    numbers = sorted(int(match["number"]) for match in found)
    return numbers == list(range(len(names))) and len({match["series"] for match in found}) == 1


def _is_run(folder: Path) -> bool:
    """Whether this is the folder of a run, whose results are no recording."""
    lines = folder / FRAMES_NAME
    return lines.is_file() or growing_path(lines).is_file()


def _names(places: Sequence[_Place]) -> list[str]:
    """A name for each: its path below the searched folder, and more only where names clash."""
    candidates = [_candidates(place) for place in places]
    names: dict[int, str] = {}
    for level in range(3):
        left = [number for number in range(len(places)) if number not in names]
        # File systems may not tell upper from lower case.
        wanted = Counter(candidates[number][level].casefold() for number in left)
        taken = {name.casefold() for name in names.values()}
        for number in left:
            name = candidates[number][level]
            if wanted[name.casefold()] == 1 and name.casefold() not in taken:
                names[number] = name
    return [names[number] for number in range(len(places))]


def _candidates(place: _Place) -> tuple[str, str, str]:
    """Names, from the shortest to one that no other recording has."""
    path = place.path.resolve()
    parts = [path.name] if place.root is None else list(place.path.relative_to(place.root).parts)
    if not path.is_dir():
        parts[-1] = _bare(parts[-1])
    short = "_".join(parts)
    digest = hashlib.sha256(str(place.path.absolute()).encode()).hexdigest()[:12]
    unique = f"{short.encode()[:100].decode(errors='ignore')}_{digest}"
    if len(short.encode()) > _LONGEST_NAME:
        return unique, unique, unique
    above = path.parent.name if place.root is None else place.root.resolve().name
    longer = f"{above}_{short}"
    return short, longer if len(longer.encode()) <= _LONGEST_NAME else unique, unique


def _bare(name: str) -> str:
    """The name of a file without its suffix, also where the file is compressed."""
    path = Path(name)
    stem = Path(path.stem)
    return stem.stem if stem.suffix in STORAGE_SUFFIXES else path.stem
