# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""From a name of the catalogue to files that are there and unchanged."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from referdino_core.download import checksums
from referdino_core.download.catalogue import RemoteFile
from referdino_core.download.errors import DownloadError
from referdino_core.download.transfer import Progress, partial_path, transfer

_logger = logging.getLogger("referdino.download")


class Outcome(str, Enum):
    """How a file came to be there: new, or found with the recorded checksum or without any."""

    DOWNLOADED = "downloaded"
    UNCHANGED = "unchanged"
    RECORDED = "recorded"


@dataclass(frozen=True)
class Fetched:
    """A file that is there now, with its SHA-256 sum."""

    path: Path
    checksum: str
    outcome: Outcome


def fetch(file: RemoteFile, directory: Path, progress: Progress) -> Fetched:
    """Make sure that a file is in a directory, downloading what is missing of it.

    The checksum is recorded beside the file the first time, and compared every time after, also
    when the file is downloaded again. A download that differs stays as `….mismatch`.

    Args:
        file: what to fetch.
        directory: where the cache is.
        progress: called with the bytes here and the bytes in all, if known.

    Raises:
        DownloadError: the file is not to be had, or is not the one that was recorded.
    """
    path = directory / file.place
    expected = checksums.recorded(path)
    if os.path.isfile(path):
        return _check_present(path, expected, file.url)
    _logger.info("Downloading %s", file.url)
    announcement = transfer(file.url, path, progress)
    part = partial_path(path)
    found = checksums.compute(part)
    for source, checksum in (("recorded", expected), ("announced", announcement.checksum)):
        if checksum is not None and checksum != found:
            _refuse(path, part, source, checksum, found)
    part.replace(path)
    if expected is None:
        checksums.record(path, found, file.url)
    return Fetched(path, found, Outcome.DOWNLOADED)


def _check_present(path: Path, expected: str | None, url: str) -> Fetched:
    _logger.info("Checking %s", path)
    found = checksums.compute(path)
    if expected is None:
        checksums.record(path, found, url)
        return Fetched(path, found, Outcome.RECORDED)
    if expected != found:
        raise DownloadError(
            f"{path} has changed: its SHA-256 is {found}, recorded was {expected}; "
            "delete the file and run the same command again."
        )
    return Fetched(path, found, Outcome.UNCHANGED)


def _refuse(path: Path, part: Path, source: str, checksum: str, found: str) -> None:
    kept = path.with_name(f"{path.name}.mismatch")
    part.replace(kept)
    advice = "run the same command again"
    if source == "recorded":
        advice = (
            f"if its publisher has replaced it, delete {checksums.record_path(path)} and {advice}"
        )
    raise DownloadError(
        f"{path.name} is not the expected file: its SHA-256 is {found}, {source} was "
        f"{checksum}; it is kept as {kept}; {advice}."
    )
