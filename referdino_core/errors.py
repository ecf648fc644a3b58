# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can act on: one line each, with the problem and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping


class ReferDINOError(Exception):
    """Base of every error that referdino raises on purpose."""


def one_line(error: BaseException) -> str:
    """First line of an error's message, with the error's type unless it is a ReferDINOError."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return lines[0] if isinstance(error, ReferDINOError) else f"{type(error).__name__}: {lines[0]}"


class CheckpointError(ReferDINOError):
    """A checkpoint is missing, truncated, unsafe, or does not fit the model."""


class CommandError(ReferDINOError):
    """A command is empty, too long, or not a string."""


class ImageError(ReferDINOError):
    """An image has an impossible size, shape, type or encoding."""


class CameraImageError(ImageError):
    """Images or stamps of some of several cameras are invalid.

    Args:
        complaints: the problem, by index of the camera from 0.

    Attributes:
        cameras: indices of these cameras.
    """

    def __init__(self, complaints: Mapping[int, str]) -> None:
        super().__init__(
            " ".join(f"Camera {camera}: {text}" for camera, text in complaints.items())
        )
        self.cameras = tuple(complaints)


class InferenceError(ReferDINOError):
    """The network's prediction is invalid; memories are as before the image."""


class SourceError(ReferDINOError):
    """A video, image folder or camera cannot be read."""


class RuntimeUnavailable(ReferDINOError):
    """A runtime or precision is unknown, or unavailable on this machine."""


class ExportError(ReferDINOError):
    """A network cannot be exported, or an export differs from its network."""


class ExportedSetError(ReferDINOError):
    """A folder does not contain an exported network, or one that is damaged or does not fit."""


class DownloadError(ReferDINOError):
    """A file cannot be downloaded or stored, or has changed since it was recorded."""


class TensorRTUnavailable(RuntimeUnavailable):
    """TensorRT, its plugin or a GPU is missing, or TensorRT is too old."""


class BuildError(ReferDINOError):
    """TensorRT cannot build an engine from an exported network."""


class Cancelled(ReferDINOError):
    """A task was cancelled before it was complete."""


class EngineError(ReferDINOError):
    """An engine cannot be loaded or run, or is given tensors that do not fit it."""
