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
from referdino_core.download.transfer import Progress, partial_path, transfer
from referdino_core.errors import DownloadError
from referdino_core.user_files import cannot_be_written

_logger = logging.getLogger("referdino.download")


class Outcome(str, Enum):
    """How a file came to be there: new, or found with the expected checksum or without any."""

    DOWNLOADED = "downloaded"
    UNCHANGED = "unchanged"
    RECORDED = "recorded"


@dataclass(frozen=True)
class Fetched:
    """A file that is there now, with its SHA-256 sum."""

    path: Path
    checksum: str
    outcome: Outcome


@dataclass(frozen=True)
class _Expected:
    """A SHA-256 sum that a file must have, who says so, and what to do about another one."""

    checksum: str
    source: str
    advice: str


def fetch(file: RemoteFile, directory: Path, progress: Progress) -> Fetched:
    """Make sure that a file is in a directory, downloading what is missing of it.

    A file must have the checksum that the catalogue holds. Where it holds none, the checksum that
    the host announces must fit; it is recorded beside the file the first time, and compared every
    time after, also when the file is downloaded again. A download that differs stays as
    `….mismatch`.

    Args:
        file: what to fetch.
        directory: where the cache is.
        progress: called with the bytes here and the bytes in all, if known.

    Raises:
        DownloadError: the file is not to be had, or is not the one that was published or recorded.
    """
    path = directory / file.place
    expected = _expected(file, path)
    if os.path.isfile(path):
        return _check_present(path, expected, file.url)
    _logger.info("Downloading %s", file.url)
    announced = transfer(file.url, path, progress).checksum
    found = checksums.compute(partial_path(path))
    if expected is not None and found != expected.checksum:
        _refuse(path, expected, found)
    if announced is not None and found != announced:
        _refuse(path, _Expected(announced, "announced", "run the same command again"), found)
    _rename(partial_path(path), path)
    if expected is None:
        checksums.record(path, found, file.url)
    return Fetched(path, found, Outcome.DOWNLOADED)


def _expected(file: RemoteFile, path: Path) -> _Expected | None:
    """What is known of a file before its host is asked."""
    again = "run the same command again"
    if file.checksum is not None:
        advice = f"{again}, and check HF_ENDPOINT if you need a mirror"
        return _Expected(file.checksum, "published", advice)
    recorded = checksums.recorded(path)
    if recorded is None:
        return None
    record = checksums.record_path(path)
    advice = f"if its publisher has replaced it, delete {record} and {again}"
    return _Expected(recorded, "recorded", advice)


def _check_present(path: Path, expected: _Expected | None, url: str) -> Fetched:
    _logger.info("Checking %s", path)
    found = checksums.compute(path)
    if expected is None:
        checksums.record(path, found, url)
        return Fetched(path, found, Outcome.RECORDED)
    if expected.checksum != found:
        raise DownloadError(
            f"{path} has changed: its SHA-256 is {found}, {expected.source} was "
            f"{expected.checksum}; delete the file and run the same command again."
        )
    return Fetched(path, found, Outcome.UNCHANGED)


def _refuse(path: Path, expected: _Expected, found: str) -> None:
    kept = path.with_name(f"{path.name}.mismatch")
    _rename(partial_path(path), kept)
    raise DownloadError(
        f"{path.name} is not the expected file: its SHA-256 is {found}, {expected.source} was "
        f"{expected.checksum}; it is kept as {kept}; {expected.advice}."
    )


def _rename(part: Path, path: Path) -> None:
    try:
        part.replace(path)
    except OSError as error:
        raise DownloadError(cannot_be_written(path, error)) from error
