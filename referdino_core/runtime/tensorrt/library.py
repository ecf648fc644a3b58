# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The way to the library's Python module: imported when first used, and only where it suits."""

from __future__ import annotations

import logging
import sys
from collections import deque
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from referdino_core.errors import TensorRTUnavailable
from referdino_core.runtime.tensorrt.libraries import (
    LIBRARIES,
    TENSORRT_RTX,
    Library,
    installed_libraries,
)
from referdino_core.runtime.tensorrt.rtx_links import open_shared_libraries

if TYPE_CHECKING:
    import tensorrt as trt

_ERRORS_KEPT = 8

_log = logging.getLogger("referdino.tensorrt")


def load_tensorrt(library: Library | None = None) -> ModuleType:
    """The Python module of TensorRT, or of TensorRT for RTX where that is what is here.

    Args:
        library: the one that it has to be; None takes the first that can be loaded.

    Raises:
        TensorRTUnavailable: none is installed, none can be loaded, or what is here is too old.
    """
    return _load(LIBRARIES if library is None else (library,))[1]


def loaded_library() -> Library:
    """Which of the two libraries `trt` is; loads one if need be.

    Raises:
        TensorRTUnavailable: as `load_tensorrt`.
    """
    return _load(LIBRARIES)[0]


def _load(wanted: tuple[Library, ...]) -> tuple[Library, ModuleType]:
    for library in LIBRARIES:
        module = next(filter(None, map(sys.modules.get, library.modules)), None)
        if module is not None and library not in wanted:
            raise TensorRTUnavailable(
                f"{wanted[0].name} is wanted, but {library.name} is in use in this process, and "
                "one process takes one of the two: do this in another."
            )
        if module is not None:
            return library, _new_enough(library, module)
    failures = []
    for library in installed_libraries():
        if library in wanted:
            try:
                return library, _new_enough(library, _import(library))
            except TensorRTUnavailable as failure:
                failures.append(failure)
    if failures:
        raise failures[0]
    raise TensorRTUnavailable(_none_installed(wanted))


def _none_installed(wanted: tuple[Library, ...]) -> str:
    if len(wanted) == 1:
        return f"{wanted[0].name} is not installed: install it {wanted[0].how_to_get}."
    names = " nor ".join(library.name for library in wanted)
    ways = ", or ".join(f"{library.name} {library.how_to_get}" for library in wanted)
    return f"Neither {names} is installed: install {ways}."


def _import(library: Library) -> ModuleType:
    causes = []
    if library is TENSORRT_RTX:
        open_shared_libraries()
    for name in library.modules:
        try:
            return import_module(name)
        except Exception as error:  # a broken installation raises whatever its parts raise
            causes.append(" ".join(str(error).split()))
    raise TensorRTUnavailable(
        f"{library.name} is installed but cannot be loaded ({causes[0]}): install it anew "
        f"{library.how_to_get}."
    )


def _new_enough(library: Library, module: ModuleType) -> ModuleType:
    if parse_version(str(module.__version__)) < library.oldest:
        oldest = ".".join(map(str, library.oldest))
        raise TensorRTUnavailable(
            f"{library.name} {module.__version__} is too old: {oldest} or later is needed, because "
            f"{library.too_old}."
        )
    return module


def parse_version(text: str) -> tuple[int, int]:
    """Major and minor release of a version such as 10.13.3.9.

    Raises:
        TensorRTUnavailable: this is no version.
    """
    parts = text.split(".")
    if len(parts) < 2 or not (parts[0].isdecimal() and parts[1].isdecimal()):
        raise TensorRTUnavailable(f"TensorRT reports the version {text!r}, which is none.")
    return int(parts[0]), int(parts[1])


class _LazyTensorRT:
    """Stands for the library's module, which is imported when a name of it is first used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(load_tensorrt(), name)


if not TYPE_CHECKING:
    trt = _LazyTensorRT()


def forwarding_logger() -> trt.ILogger:
    """The logger of this process, which hands errors and warnings on to Python's logging.

    Its attribute `errors` keeps the last error messages, the newest last. There is one for good:
    TensorRT, and plugins with it, go on using the first that they were given.
    """
    return _logger_of(load_tensorrt())


@cache
def _logger_of(module: ModuleType) -> trt.ILogger:
    class ForwardingLogger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=_ERRORS_KEPT)

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            line = " ".join(msg.split())
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.errors.append(line)
                _log.error("TensorRT: %s", line)
            elif severity == trt.ILogger.Severity.WARNING:
                _log.warning("TensorRT: %s", line)
            else:
                _log.debug("TensorRT: %s", line)

    return ForwardingLogger()


def forget_errors(logger: trt.ILogger) -> None:
    """Make `last_errors` begin anew, for what comes next."""
    errors: deque[str] | None = getattr(logger, "errors", None)
    if errors is not None:
        errors.clear()


def sizes_of(dimensions: trt.Dims) -> tuple[int, ...]:
    """TensorRT's way to give a shape, as a tuple; -1 is a size that may change."""
    return tuple(dimensions[axis] for axis in range(len(dimensions)))


def last_errors(logger: trt.ILogger) -> str:
    """What a logger of `forwarding_logger` was told of errors, as one line."""
    errors = getattr(logger, "errors", ())
    return "; ".join(errors) or "TensorRT gave no reason"
