# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's libraries that build and run engines: found, imported on first use, and logged."""

from __future__ import annotations

import logging
import sys
from collections import deque
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from referdino_core.backends.tensorrt.rtx_links import open_shared_libraries
from referdino_core.errors import TensorRTUnavailable

if TYPE_CHECKING:
    import tensorrt as trt

_ERRORS_KEPT = 8

_log = logging.getLogger("referdino.tensorrt")


@dataclass(frozen=True)
class Library:
    """One of NVIDIA's libraries.

    Attributes:
        name: as NVIDIA writes it.
        modules: names of its Python module, one for each kind of package.
        oldest: the oldest supported release.
        too_old: why earlier releases are not supported.
        how_to_get: how to install it.
    """

    name: str
    modules: tuple[str, ...]
    oldest: tuple[int, int]
    too_old: str
    how_to_get: str


TENSORRT = Library(
    "TensorRT",
    ("tensorrt",),
    (10, 0),
    "earlier ones cannot build strongly typed networks",
    "with `pip install tensorrt-cu12` or `pip install tensorrt-cu13`, whichever CUDA the driver "
    "supports; on a Jetson with `sudo apt install python3-libnvinfer`",
)
"""For all NVIDIA GPUs; builds for the GPU of this machine."""

TENSORRT_RTX = Library(
    "TensorRT for RTX",
    ("tensorrt_rtx", "tensorrt_rtx_bindings"),
    (1, 7),
    "earlier ones have not been tried",
    "with `pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings`",
)
"""For RTX GPUs; builds for any of them, also on machines without a GPU."""

LIBRARIES = (TENSORRT, TENSORRT_RTX)
"""In order of preference: TensorRT itself supports more kinds of GPU."""


def installed_libraries() -> tuple[Library, ...]:
    """The libraries whose Python modules are found, whether or not they can be loaded."""
    return tuple(library for library in LIBRARIES if any(map(_is_found, library.modules)))


def _is_found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a substituted module has no specification
        return False


def load_tensorrt(library: Library | None = None) -> ModuleType:
    """The Python module of TensorRT, or of TensorRT for RTX if only that is installed.

    Args:
        library: the required library; None is the first that can be loaded.

    Raises:
        TensorRTUnavailable: none is installed, none can be loaded, or it is too old.
    """
    return _load(LIBRARIES if library is None else (library,))[1]


def loaded_library() -> Library:
    """The library behind `trt`, which is loaded if necessary.

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
        TensorRTUnavailable: this is not a version.
    """
    parts = text.split(".")
    if len(parts) < 2 or not (parts[0].isdecimal() and parts[1].isdecimal()):
        raise TensorRTUnavailable(f"TensorRT reports the version {text!r}, which is none.")
    return int(parts[0]), int(parts[1])


class _LazyTensorRT:
    """Proxy of the library's module, which is imported when one of its names is first used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(load_tensorrt(), name)


if not TYPE_CHECKING:
    trt = _LazyTensorRT()


def forwarding_logger() -> trt.ILogger:
    """The logger of this process, which forwards errors and warnings to Python's logging.

    Its attribute `errors` keeps the last error messages, the newest last. There is one per process:
    TensorRT and its plugins go on using the first logger that they were given.
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
    """Clear the errors that `last_errors` returns."""
    errors: deque[str] | None = getattr(logger, "errors", None)
    if errors is not None:
        errors.clear()


def sizes_of(dimensions: trt.Dims) -> tuple[int, ...]:
    """A shape of TensorRT as a tuple; -1 is a dynamic axis."""
    return tuple(dimensions[axis] for axis in range(len(dimensions)))


def last_errors(logger: trt.ILogger) -> str:
    """The errors that a logger of `forwarding_logger` keeps, as one line."""
    errors = getattr(logger, "errors", ())
    return "; ".join(errors) or "TensorRT gave no reason"
