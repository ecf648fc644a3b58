# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""SHA-256 checksums of files, and their records beside files without a published checksum."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import datetime, timezone
from pathlib import Path

from referdino_core.errors import DownloadError
from referdino_core.files import AtomicFile
from referdino_core.user_files import cannot_be_written

_BLOCK = 1 << 20  # bytes


def compute(path: Path) -> str:
    """The SHA-256 checksum of a file as 64 hexadecimal digits.

    Raises:
        DownloadError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise DownloadError(f"{path} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()


def record_path(path: Path) -> Path:
    """The path of the record of a file's checksum."""
    return path.with_name(f"{path.name}.checksum.json")


def recorded(path: Path) -> str | None:
    """The recorded checksum of a file, or None.

    Raises:
        DownloadError: the record is damaged.
    """
    record = record_path(path)
    if not os.path.isfile(record):
        return None
    try:
        checksum = json.loads(record.read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DownloadError(
            f"{record} cannot be read; delete it to record the checksum anew."
        ) from error
    return str(checksum)


def record(path: Path, checksum: str, url: str) -> None:
    """Record the checksum, size and URL of a file and the time, beside it."""
    entry = {
        "sha256": checksum,
        "size": path.stat().st_size,
        "source": url,
        "recorded": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    file = AtomicFile(record_path(path))
    try:
        file.temporary_path.write_text(json.dumps(entry, indent=2) + "\n", encoding="utf-8")
        file.commit()
    except OSError as error:
        raise DownloadError(cannot_be_written(record_path(path), error)) from error
