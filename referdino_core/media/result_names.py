# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Names of results, derived from their source: the same for single sources and batches."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

LONGEST_NAME = 200  # bytes, of the 255 that file systems allow

_COMPRESSED_SUFFIX = ".zstd"
_SUFFIX = re.compile(r"\.(?=[0-9]*[A-Za-z])[A-Za-z0-9]{1,5}$")  # has a letter, unlike that of 0.5
_UNSAFE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def result_names(source: Path, root: Path | None = None) -> tuple[str, ...]:
    """Names for the results of a source, from the shortest to a unique one.

    In this order: the name without its suffix, the full name, both again with the parent folder's
    name in front, and the name with a digest of the absolute path. The name of a folder has no
    suffix, so `speed_0.5` stays whole, and the file `speed_0.5.mp4` gives the same. Links are not
    resolved. Control characters and bytes that are not UTF-8 become %0A and %E9; everything else,
    colons included, is kept.

    Args:
        source: file or folder.
        root: the folder in which the source was found; names then begin with the path from there.
    """
    place = Path(os.path.abspath(source))
    below = () if root is None else source.relative_to(root).parts
    parts = list(below) or [place.name or "root"]
    above = place.parent if root is None else Path(os.path.abspath(root))
    whole = "_".join(parts)
    short = whole if source.is_dir() else "_".join([*parts[:-1], without_suffix(parts[-1])])
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()[:12]
    names = [_safe(name) for name in (short, whole)]
    if above.name:
        names += [f"{_safe(above.name)}_{name}" for name in names]
    unique = f"{names[0].encode()[:100].decode(errors='ignore')}_{digest}"
    return (*(name if len(name.encode()) <= LONGEST_NAME else unique for name in names), unique)


def results_folder(source: str, kind: str, source_of_results: Callable[[Path], str | None]) -> Path:
    """The default folder for the results of a source, below the working directory.

    It is the first NAME_kind, for `result_names`, that holds no results of another source.

    Args:
        source: file, folder, or index of a camera.
        kind: kind of results, such as "replay".
        source_of_results: the source of the results in a folder; None if it holds none.
    """
    for name in _names_of(source):
        folder = Path(f"{name}_{kind}")
        owner = source_of_results(folder)
        if owner is None or os.path.abspath(owner) == os.path.abspath(source):
            break
    return folder


def without_suffix(name: str) -> str:
    """The name of a file without its suffix, nor that of its compression.

    Digits alone are not a suffix: `speed_0.5` stays whole.
    """
    if name.endswith(_COMPRESSED_SUFFIX):
        name = name.removesuffix(_COMPRESSED_SUFFIX)
    bare = _SUFFIX.sub("", name)
    return bare or name


def _names_of(source: str) -> tuple[str, ...]:
    if source.isdecimal() and not Path(source).exists():
        return (f"camera_{source}",)
    return result_names(Path(source))


def _safe(name: str) -> str:
    """The name as valid UTF-8 that prints on one line."""
    return _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in _bytes(found[0])), name)


def _bytes(character: str) -> bytes:
    return character.encode("utf-8", "surrogateescape")
