# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Log lines of the core in the log of the ROS node."""

from __future__ import annotations

import logging
from typing import Any

CORE_LOGGER = "referdino"
"""Name of the logger whose children the core writes to."""


class RosLogHandler(logging.Handler):
    """Hands records of Python's logging to a logger of rclpy.

    Every severity has its own call below: rclpy remembers the severity of each calling line and
    refuses another one from the same line.
    """

    def __init__(self, ros_logger: Any) -> None:
        super().__init__()
        self._ros_logger = ros_logger

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record; a broken record is reported by `handleError` and does not raise."""
        try:
            message = self.format(record)
            if record.levelno >= logging.CRITICAL:
                self._ros_logger.fatal(message)
            elif record.levelno >= logging.ERROR:
                self._ros_logger.error(message)
            elif record.levelno >= logging.WARNING:
                self._ros_logger.warning(message)
            elif record.levelno >= logging.INFO:
                self._ros_logger.info(message)
            else:
                self._ros_logger.debug(message)
        except Exception:
            self.handleError(record)


def forward_core_log(ros_logger: Any) -> RosLogHandler:
    """Send the core's log lines to `ros_logger` until `stop_forwarding` is called."""
    handler = RosLogHandler(ros_logger)
    core = logging.getLogger(CORE_LOGGER)
    core.addHandler(handler)
    if core.level == logging.NOTSET:
        core.setLevel(logging.DEBUG)  # ROS filters by its own level
    return handler


def stop_forwarding(handler: RosLogHandler) -> None:
    """Undo `forward_core_log`."""
    logging.getLogger(CORE_LOGGER).removeHandler(handler)
