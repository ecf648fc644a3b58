# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The way to TensorRT's Python module: imported when it is first used, and only where it suits."""

from __future__ import annotations

import logging
import sys
from collections import deque
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from referdino_core.runtime.tensorrt.errors import TensorRTUnavailable

if TYPE_CHECKING:
    import tensorrt as trt

OLDEST_VERSION = (10, 0)
"""Networks are strongly typed from this release on, and `execute_async_v3` is there."""

_ERRORS_KEPT = 8

_log = logging.getLogger("referdino.tensorrt")


def load_tensorrt() -> ModuleType:
    """TensorRT's Python module.

    Raises:
        TensorRTUnavailable: it is not installed, cannot be loaded, or is too old.
    """
    module = sys.modules.get("tensorrt")
    if module is None:
        try:
            module = import_module("tensorrt")
        except (ImportError, OSError) as error:
            cause = " ".join(str(error).split())
            raise TensorRTUnavailable(
                f"TensorRT is not to be had ({cause}): install it with `pip install tensorrt-cu12` "
                "or `pip install tensorrt-cu13`, whichever CUDA the driver supports; on a Jetson "
                "with `sudo apt install python3-libnvinfer`."
            ) from error
    version = parse_version(str(module.__version__))
    if version < OLDEST_VERSION:
        raise TensorRTUnavailable(
            f"TensorRT {module.__version__} is too old: {OLDEST_VERSION[0]}.{OLDEST_VERSION[1]} or "
            "later is needed, because earlier ones cannot build strongly typed networks."
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
    """Stands for the module `tensorrt`, which is imported when a name of it is first used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(load_tensorrt(), name)


if not TYPE_CHECKING:
    trt = _LazyTensorRT()


def forwarding_logger() -> trt.ILogger:
    """A TensorRT logger that hands errors and warnings on to Python's logging.

    Its attribute `errors` keeps the last error messages, the newest last.
    """

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


def sizes_of(dimensions: trt.Dims) -> tuple[int, ...]:
    """TensorRT's way to give a shape, as a tuple; -1 is a size that may change."""
    return tuple(dimensions[axis] for axis in range(len(dimensions)))


def last_errors(logger: trt.ILogger) -> str:
    """What a logger of `forwarding_logger` was told of errors, as one line."""
    errors = getattr(logger, "errors", ())
    return "; ".join(errors) or "TensorRT gave no reason"
