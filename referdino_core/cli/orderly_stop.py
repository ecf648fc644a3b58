# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A first Ctrl-C that asks for an orderly end, so that files are closed as they should be."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

from referdino_core.cli.progress import say

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class OrderlyStop:
    """While entered, the first interrupt only sets `requested`; the second one interrupts as usual.

    For the main thread of a program, where Python delivers signals.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> OrderlyStop:
        self._previous = {number: signal.signal(number, self._request) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        say("finishing this frame, then stopping")
