# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Robust standard streams: closed ones are replaced, any text can be printed."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TextIO, cast

from referdino_core.files import OutputError


@contextmanager
def secured_standard_streams() -> Iterator[None]:
    """Context with reliable standard output and error; restored afterwards.

    A closed stream (`2>&-`) becomes the null device, so that no file opened later gets its
    descriptor and what libraries print there. Names that are not UTF-8 are printed as their bytes,
    and characters that the terminal's encoding lacks are escaped. Writing to standard error never
    fails: its terminal or reader may be gone. Writing to standard output raises BrokenPipeError, or
    OutputError if a disk is full.
    """
    for number in range(3):
        _occupy(number)
    earlier = sys.stdout, sys.stderr
    with ExitStack() as stack:
        output, errors = (stack.enter_context(_printing_anything(stream)) for stream in earlier)
        sys.stdout = cast("TextIO", _Output(output))
        sys.stderr = cast("TextIO", _Unfailing(errors))
        try:
            yield
        finally:
            sys.stdout, sys.stderr = earlier


class _Wrapped:
    """Base of wrappers around a text stream, which pass everything else on to it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Output(_Wrapped):
    """Standard output, whose errors name it."""

    def write(self, text: str) -> int:
        with _errors_with_name():
            return self._stream.write(text)

    def flush(self) -> None:
        with _errors_with_name():
            self._stream.flush()


@contextmanager
def _errors_with_name() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"Standard output cannot be written: {error.strerror}.") from error


class _Unfailing(_Wrapped):
    """Standard error, which discards what cannot be written."""

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):  # nobody reads it; it was closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        with suppress(OSError, ValueError):
            return self._stream.isatty()
        return False


def _occupy(number: int) -> None:
    """Open a closed file descriptor on the null device, inheritable as standard streams are."""
    try:
        os.fstat(number)
    except OSError:
        device = os.open(os.devnull, os.O_RDWR)
        if device != number:
            os.dup2(device, number)
            os.close(device)
        os.set_inheritable(number, True)


@contextmanager
def _printing_anything(stream: TextIO | None) -> Iterator[TextIO]:
    if stream is None:  # Python found it closed
        with open(os.devnull, "w", encoding="utf-8") as null:
            yield null
    elif isinstance(stream, io.TextIOWrapper):
        is_utf8 = stream.encoding.lower() in ("utf-8", "utf8")
        earlier = stream.errors
        stream.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")
        try:
            yield stream
        finally:
            _leave(stream, earlier)
    else:
        yield stream


def _leave(stream: io.TextIOWrapper, errors: str | None) -> None:
    """Restore a stream's error handling; unwritable output is discarded."""
    try:
        stream.reconfigure(errors=errors)  # writes what is left
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except ValueError:
        pass  # it was closed
