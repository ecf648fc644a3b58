# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Work on a CUDA stream of its own that becomes one graph launch once it repeats itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable

import torch

from referdino_core.errors import EngineError

_log = logging.getLogger("referdino.tensorrt")

Launch = Callable[[int], None]
"""Puts work on the CUDA stream with this handle, without waiting for it."""


class GraphedStream:
    """Runs the same work over and over, in order with what PyTorch's current stream does.

    The first call with a key launches the work as it is, the second records it as a CUDA graph, and
    all that follow launch that graph, until the key changes. Work that records itself, or cannot be
    recorded, is launched as it is every time.
    """

    def __init__(self, device: torch.device, can_record: bool = True) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._key: Hashable = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._can_record = can_record

    def settle(self) -> None:
        """Wait until all that was launched is done."""
        self._stream.synchronize()

    def run(self, key: Hashable, launch: Launch) -> None:
        """Run work after all that the current stream was given; the current stream waits for it.

        Args:
            key: stands for all shapes and addresses that the work depends on; not None.
            launch: the work.
        """
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            if key != self._key:
                if self._graph is not None:
                    self._stream.synchronize()
                    self._graph = None
                # TensorRT sets itself up in the first call after a change: that cannot be recorded.
                launch(self._stream.cuda_stream)
                self._key = key
            else:
                if self._graph is None and self._can_record:
                    self._graph = self._record(launch)
                if self._graph is not None:
                    self._graph.replay()
                else:
                    launch(self._stream.cuda_stream)
        current.wait_stream(self._stream)

    def _record(self, launch: Launch) -> torch.cuda.CUDAGraph | None:
        graph = torch.cuda.CUDAGraph()
        self._stream.synchronize()
        try:
            # Other threads may go on using the device meanwhile.
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                launch(self._stream.cuda_stream)
            finally:
                graph.capture_end()
        except (EngineError, RuntimeError) as error:
            self._can_record = False
            _log.warning(
                "an engine cannot be recorded as a CUDA graph and is launched kernel by kernel, "
                "which is slower: %s",
                " ".join(str(error).split()),
            )
            return None
        return graph
