# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Opening of the shared libraries of TensorRT for RTX, so that its parser finds plugins.

At the first plugin of a network the parser opens `libtensorrt_rtx.so` in its own folder, and aborts
the process if that name is missing. The wheels contain only `libtensorrt_rtx.so.1`. Therefore both
libraries are opened through symbolic links in a folder of referdino's cache that has the missing
name, too; the installed package is unchanged.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from importlib.util import find_spec
from pathlib import Path

from referdino_core.errors import TensorRTUnavailable
from referdino_core.user_files import cache_directory, cannot_be_written

_PACKAGE = "tensorrt_rtx_libs"
_CORE = "libtensorrt_rtx.so"
_PARSER = "libtensorrt_onnxparser_rtx.so"
_DIGITS_IN_NAME = 12


def open_shared_libraries() -> None:
    """Open core and parser for good, unless they were installed by other means than wheels.

    Raises:
        TensorRTUnavailable: another copy is open in this process, which two cannot share, or the
            links cannot be made.
    """
    installed = _installed_folder()
    if installed is None or (installed / _CORE).exists():
        return
    core, parser = (_only_version(installed, name) for name in (_CORE, _PARSER))
    if core is None or parser is None:
        return
    _refuse_another_copy(core)
    folder = cache_directory() / "tensorrt-rtx" / _fingerprint(core)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, target in ((core.name, core), (parser.name, parser), (_CORE, core)):
            _link(folder / name, target)
    except OSError as error:
        raise TensorRTUnavailable(cannot_be_written(folder, error)) from error
    try:
        for library in (core, parser):
            ctypes.CDLL(str(folder / library.name))
    except OSError as error:
        raise TensorRTUnavailable(f"{installed} cannot be loaded: {error}.") from error


def _installed_folder() -> Path | None:
    specification = find_spec(_PACKAGE)
    if specification is None or specification.origin is None:
        return None
    return Path(specification.origin).resolve().parent


def _only_version(folder: Path, name: str) -> Path | None:
    """The library of this name with the version of its interface, such as .so.1."""
    found = sorted(folder.glob(f"{name}.*"))
    return found[0] if len(found) == 1 else None


def _fingerprint(core: Path) -> str:
    """A fingerprint of the installation, which an update changes."""
    state = core.stat()
    text = f"{core} {state.st_size} {state.st_mtime_ns}"
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS_IN_NAME]


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)


def _refuse_another_copy(core: Path) -> None:
    for path in _open_files():
        if path.name.startswith(_CORE) and path.resolve() != core:
            raise TensorRTUnavailable(
                f"TensorRT for RTX is in this process already, from {path}, and cannot be there "
                f"twice: remove one of the two, that one or {core.parent}."
            )


def _open_files() -> set[Path]:
    """Files that are mapped into the memory of this process."""
    lines = Path("/proc/self/maps").read_text(errors="replace").splitlines()
    columns = (line.split(maxsplit=5) for line in lines)
    return {Path(column[5]) for column in columns if len(column) == 6 and column[5][0] == "/"}
