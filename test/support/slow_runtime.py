# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The node with a stand-in for a runtime that takes long to get ready, as TensorRT does.

Run as a program, it is the referdino node whose runtime "tensorrt" is PyTorch's behind a door: it
reports 42 % until the file `open` is there. It then reports the end and goes on; or, if the file
`fail` is there, it fails. That it was cancelled it writes to the file `cancelled`. The files lie in
the folder that the environment's REFERDINO_TEST_DOOR names.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from referdino_core.progress import ProgressMonitor

from referdino_core.errors import RuntimeUnavailable
from referdino_core.network.referdino import ReferDINO
from referdino_core.runtime import choice
from referdino_core.runtime.torch_stages import TorchStages
from referdino_ros.referdino_node import main

DOOR = "REFERDINO_TEST_DOOR"
PHASE = "building the engine"


class SlowStages(TorchStages):
    """PyTorch's stages once the door is open."""

    def __init__(self, model: ReferDINO, precision: str, monitor: ProgressMonitor) -> None:
        super().__init__(model, precision)
        self.monitor = monitor
        self.folder = Path(os.environ[DOOR])

    def prepare(self, size: tuple[int, int]) -> None:
        """Wait for the door, or to be cancelled."""
        if size == self.size:
            return
        self.monitor.report(0.42, phase=PHASE)
        while not (self.folder / "open").exists():
            if (self.folder / "fail").exists():
                raise RuntimeUnavailable("The stand-in failed, as it was told.")
            if self.monitor.cancelled.wait(0.05):
                (self.folder / "cancelled").touch()
                raise RuntimeUnavailable("The stand-in was cancelled.")
        self.monitor.report(1.0, phase=PHASE)
        super().prepare(size)


def open_slowly(
    model: ReferDINO, precision: str, exports: Any, monitor: ProgressMonitor
) -> SlowStages:
    return SlowStages(model, precision, monitor)


if __name__ == "__main__":
    choice._OPENERS["tensorrt"] = open_slowly
    sys.exit(main())
