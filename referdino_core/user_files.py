# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Files as people and their systems hand them over: text with byte order marks, names of any bytes,
and what operating systems leave beside them.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

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
_FIRST_ESCAPED_BYTE = 0xDC00
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_text(path: Path, errors: Literal["strict", "surrogateescape"] = "strict") -> str:
    """The text of a file: UTF-8, or what its byte order mark says; the mark is left out.

    Args:
        errors: as `bytes.decode` takes it; "surrogateescape" for a file that holds names of files.

    Raises:
        OSError: the file cannot be read.
        UnicodeDecodeError: it is no such text.
    """
    data = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    return data.decode(encoding, errors)


def legible(text: str) -> str:
    r"""The text with bytes of names that are no UTF-8 written as \xe9, so that it can be shown."""
    return _SURROGATE.sub(_escape, text)


def is_left_by_system(name: str) -> bool:
    """Whether an operating system or file manager leaves files or folders of this name unasked.

    True of all hidden names, such as .DS_Store and the ._x.png that macOS puts beside x.png on
    foreign disks.
    """
    return name.startswith(".") or name.casefold() in _SYSTEM_NAMES


def visible_entries(folder: Path) -> list[Path]:
    """Files and folders in a folder in the order of their names, without what systems leave there.

    Raises:
        OSError: the folder cannot be read.
    """
    return sorted(visible(folder.iterdir()))


def visible(paths: Iterable[Path]) -> Iterator[Path]:
    """The files and folders among some that no operating system left."""
    return (path for path in paths if not is_left_by_system(path.name))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    byte = code - _FIRST_ESCAPED_BYTE
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else f"\\u{code:04x}"
