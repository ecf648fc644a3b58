# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What can go wrong between an exported network and a running TensorRT engine."""

from referdino_core.errors import ReferDINOError, RuntimeUnavailable


class TensorRTUnavailable(RuntimeUnavailable):
    """TensorRT, its plugin or a GPU is missing, or TensorRT is too old."""


class BuildError(ReferDINOError):
    """TensorRT cannot build an engine from an exported network."""


class BuildCancelled(ReferDINOError):
    """Building was cancelled before the engine was ready."""


class EngineError(ReferDINOError):
    """An engine cannot be loaded or run, or is given tensors that do not fit it."""
