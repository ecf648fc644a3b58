# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Opening in the background what takes long to open."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

from referdino_core.export.requirements import one_line
from referdino_core.runtime.stages import Preparation, Watch

logger = logging.getLogger("referdino.runtime")

Opened = TypeVar("Opened")


class Opening(Generic[Opened]):
    """Something that a thread of its own opens.

    Attributes:
        what: it is, for the log.
        opened: the result; None until it is there.
        preparation: how far the thread is.
    """

    def __init__(
        self, what: str, open_it: Callable[[Watch], Opened], cancelled: threading.Event
    ) -> None:
        """Start the thread.

        Args:
            what: is opened, for the log.
            open_it: opens it, and tells the watch that it is given how far it is.
            cancelled: set to give up.
        """
        self.what = what
        self.opened: Opened | None = None
        self.preparation = Preparation()
        self._open = open_it
        self._watch = Watch(self._note, cancelled)
        threading.Thread(target=self._run, name="referdino opening", daemon=True).start()

    def _note(self, fraction: float, phase: str) -> None:
        self.preparation = Preparation(fraction)

    def _run(self) -> None:
        try:
            opened = self._open(self._watch)
        except Exception as error:
            if not self._watch.cancelled.is_set():
                logger.warning("Getting ready for %s failed: %s", self.what, one_line(error))
            self.preparation = replace(self.preparation, error=one_line(error))
        else:
            logger.info("Ready for %s.", self.what)
            self.opened = opened
