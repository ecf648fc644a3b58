# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Standard streams that can be written, whatever the caller did to them."""

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
    """Standard output and error as a program can rely on them; restored afterwards.

    A stream that is closed (`2>&-`) becomes the null device, so that no file that is opened later
    takes its number and gets what libraries print there. Names that are no UTF-8 are printed as the
    bytes that they are, and characters that the terminal's encoding lacks as their numbers. Writing
    to standard error never fails: it may be a terminal that is gone, or a pipe that nobody reads.
    Writing to standard output raises BrokenPipeError, or OutputError where a disk is full.
    """
    for number in range(3):
        _occupy(number)
    earlier = sys.stdout, sys.stderr
    with ExitStack() as stack:
        output, errors = (stack.enter_context(_printing_anything(stream)) for stream in earlier)
        sys.stdout = cast("TextIO", _Telling(output))
        sys.stderr = cast("TextIO", _Unfailing(errors))
        try:
            yield
        finally:
            sys.stdout, sys.stderr = earlier


class _Wrapped:
    """A text stream that is another one, but for what subclasses define."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Telling(_Wrapped):
    """Standard output, whose errors say what they are about."""

    def write(self, text: str) -> int:
        with _told():
            return self._stream.write(text)

    def flush(self) -> None:
        with _told():
            self._stream.flush()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"Standard output cannot be written: {error.strerror}.") from error


class _Unfailing(_Wrapped):
    """Standard error, which drops what cannot be written."""

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
    """See that a file descriptor is open, and inherited as those of standard streams are."""
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
    """Give a stream its former handling of errors; what it does not take is not tried again."""
    try:
        stream.reconfigure(errors=errors)  # writes what is left
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except ValueError:
        pass  # it was closed
