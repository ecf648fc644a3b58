# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Handling of users' files: byte order marks, undecodable names, system files, cache folder."""

from __future__ import annotations

import codecs
import errno
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from referdino_core.errors import ReferDINOError

CACHE_VARIABLE = "REFERDINO_CACHE"

# UTF-32's little-endian mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SYSTEM_NAMES = frozenset(
    {
        "__macosx",
        "lost+found",
        "system volume information",
        "$recycle.bin",
        "@eadir",
        "#recycle",
        "#snapshot",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
    }
)
# Errors of home directories that are read-only, belong to another user, or do not exist.
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR)
_FIRST_ESCAPED_BYTE = 0xDC00
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_text(path: Path, errors: Literal["strict", "surrogateescape"] = "strict") -> str:
    """The text of a file in UTF-8, or in the encoding of its byte order mark, which is removed.

    Args:
        errors: see `bytes.decode`; "surrogateescape" for a file that contains file names.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it cannot be decoded.
    """
    data = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    return data.decode(encoding, errors)


def legible(text: str) -> str:
    r"""The text with undecodable bytes of file names written like \xe9, which can be printed."""
    return _SURROGATE.sub(_escape, text)


def user_path(path: str | Path) -> Path:
    """A user's path, with ~ and ~somebody replaced by home directories.

    Raises:
        ReferDINOError: the home directory is unknown.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ReferDINOError(
            f"There is no home directory for {str(path)!r}: write the path in full, or set HOME."
        ) from error


def cache_directory() -> Path:
    """The directory of downloads, exports and engines; it need not exist yet.

    The environment variable REFERDINO_CACHE, else `referdino` under XDG_CACHE_HOME, else
    ~/.cache/referdino.

    Raises:
        ReferDINOError: there is no home directory, and neither variable is set.
    """
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return user_path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    if shared:
        return user_path(shared) / "referdino"
    try:
        return Path.home() / ".cache" / "referdino"
    except RuntimeError as error:
        raise ReferDINOError(
            "There is no home directory to keep downloads and exports in: set "
            f"{CACHE_VARIABLE} to a writable folder."
        ) from error


def cannot_be_written(path: Path, error: OSError) -> str:
    """The message about a file or folder that could not be written, with advice for the cache."""
    if error.errno in _NOT_WRITABLE and path.is_relative_to(cache_directory()):
        advice = f"; set {CACHE_VARIABLE} to a writable folder"
    else:
        advice = ""
    return f"{path} cannot be written: {error.strerror}{advice}."


def is_left_by_system(name: str) -> bool:
    """Whether operating systems or file managers create files or folders with this name.

    True for all hidden names, such as .DS_Store, and the ._x.png that macOS puts next to x.png on
    foreign disks.
    """
    return name.startswith(".") or name.casefold() in _SYSTEM_NAMES


def visible_entries(folder: Path) -> list[Path]:
    """Files and folders in a folder, sorted by name, without those that systems create.

    Raises:
        OSError: the folder cannot be read.
    """
    return sorted(visible(folder.iterdir()))


def visible(paths: Iterable[Path]) -> Iterator[Path]:
    """The paths without those that operating systems create."""
    return (path for path in paths if not is_left_by_system(path.name))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    byte = code - _FIRST_ESCAPED_BYTE
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else f"\\u{code:04x}"
