# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can act on: one line each, on what is wrong and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping


def one_line(error: Exception) -> str:
    """The type of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


class ReferDINOError(Exception):
    """Base of every error that referdino raises on purpose."""


class CheckpointError(ReferDINOError):
    """A checkpoint is missing, truncated, unsafe, or does not fit the model."""


class CommandError(ReferDINOError):
    """A command is empty, too long, or no text."""


class ImageError(ReferDINOError):
    """An image has an impossible size, shape, type or encoding."""


class CameraImageError(ImageError):
    """Images or stamps of some of several cameras cannot be used.

    Args:
        complaints: what is wrong, by number of the camera from 0.

    Attributes:
        cameras: whose images they are.
    """

    def __init__(self, complaints: Mapping[int, str]) -> None:
        super().__init__(
            " ".join(f"Camera {camera}: {text}" for camera, text in complaints.items())
        )
        self.cameras = tuple(complaints)


class InferenceError(ReferDINOError):
    """The network's prediction cannot be used; memories are as they were before the image."""


class SourceError(ReferDINOError):
    """A video, image folder or camera cannot be read."""


class RuntimeUnavailable(ReferDINOError):
    """A runtime or precision is unknown, or cannot be had on this machine."""


class ExportError(ReferDINOError):
    """A network cannot be exported, or an export does not compute what the network does."""


class ExportedSetError(ReferDINOError):
    """A folder holds no exported network, or one that is damaged or does not fit."""


class DownloadError(ReferDINOError):
    """A file cannot be fetched, cannot be stored, or is not the file it was before."""


class TensorRTUnavailable(RuntimeUnavailable):
    """TensorRT, its plugin or a GPU is missing, or TensorRT is too old."""


class BuildError(ReferDINOError):
    """TensorRT cannot build an engine from an exported network."""


class Cancelled(ReferDINOError):
    """A task was cancelled before it was complete."""


class EngineError(ReferDINOError):
    """An engine cannot be loaded or run, or is given tensors that do not fit it."""
