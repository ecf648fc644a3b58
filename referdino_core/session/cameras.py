# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""CameraGroup: one model for several cameras, whose images are processed in one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from referdino_core.configuration import SessionSettings
from referdino_core.errors import CameraImageError, ImageError
from referdino_core.session.camera_stream import check_image
from referdino_core.session.command_request import CommandRequest
from referdino_core.session.joint_step import StepResult, step_together
from referdino_core.session.session import Session
from referdino_core.target import Target


class CameraGroup:
    """Sessions of several cameras that share one model, one session per camera.

    Every session has its own commands, memories, stamps, resets and tracks. The results are those
    of separate sessions, but the model processes all images of one size in one batch, which makes
    better use of a GPU. The runtimes "onnxruntime" and "tensorrt" process one image at a time. Not
    thread-safe: one thread owns a group and its sessions.

    Attributes:
        sessions: one per camera, to give commands to.
    """

    def __init__(self, session: Session, cameras: int) -> None:
        """Open further sessions in addition to an open one.

        Args:
            session: that of the first camera; the others share its model, runtime and settings.
            cameras: number of cameras, including the first.

        Raises:
            ValueError: there is less than one camera.
        """
        if cameras < 1:
            raise ValueError(f"A group has at least one camera, not {cameras}.")
        self.sessions = (session, *(session.another() for _ in range(cameras - 1)))

    @property
    def settings(self) -> SessionSettings:
        """Thresholds of the target states: those of the first camera; set for all cameras."""
        return self.sessions[0].settings

    @settings.setter
    def settings(self, settings: SessionSettings) -> None:
        for session in self.sessions:
            session.settings = settings

    def set_commands(self, wanted: Mapping[int, Mapping[str, str | CommandRequest]]) -> None:
        """Replace the commands of some cameras, all or nothing.

        Args:
            wanted: by camera, a value of `Session.commands`.

        Raises:
            CommandError: an id or a sentence is invalid; all running commands are unchanged.
        """
        before = {camera: self.sessions[camera].running for camera in wanted}
        try:
            for camera, commands in wanted.items():
                self.sessions[camera].commands = commands
        except Exception:
            for camera, running in before.items():
                self.sessions[camera].running = running
            raise

    def step(
        self, images: Sequence[np.ndarray | None], stamps: Sequence[float | None] | None = None
    ) -> tuple[tuple[Target, ...], ...]:
        """The targets of every command of every camera in the camera's next image.

        Args:
            images: one per camera, (H, W, 3) uint8 RGB; None for a camera without an image this
                time, whose stream does not advance.
            stamps: seconds, one per camera; by default every camera's images are 0.1 s apart.

        Returns:
            For every camera its targets in the order of its commands; () if it has no commands or
            no image.

        Raises:
            CameraImageError: some images or stamps are invalid; it names the cameras. No stream
                has advanced: the step can be repeated with None in place of these images.
            ImageError: the number of images or stamps differs from the number of cameras.
            InferenceError: a camera's prediction is not finite; the other streams have advanced.
        """
        given = self._given(images, stamps)
        complaints = complaints_about(given)
        if complaints:
            raise CameraImageError({camera: str(error) for camera, error in complaints.items()})
        results = self._results(given)
        return tuple(
            results[camera].value() if camera in results else ()
            for camera in range(len(self.sessions))
        )

    def step_each(
        self, images: Sequence[np.ndarray | None], stamps: Sequence[float | None] | None = None
    ) -> dict[int, StepResult]:
        """As `step`, but a failure affects only its own camera.

        Returns:
            Targets or error by camera, for the cameras with an image.

        Raises:
            ImageError: the number of images or stamps differs from the number of cameras.
        """
        given = self._given(images, stamps)
        complaints = complaints_about(given)
        good = {camera: one for camera, one in given.items() if camera not in complaints}
        results = self._results(good) | {
            camera: StepResult(error=error) for camera, error in complaints.items()
        }
        return {camera: results[camera] for camera in given}

    def _given(
        self, images: Sequence[np.ndarray | None], stamps: Sequence[float | None] | None
    ) -> dict[int, tuple[np.ndarray, float | None]]:
        """Image and stamp by camera, for the cameras with an image."""
        count = len(self.sessions)
        stamps = [None] * count if stamps is None else stamps
        for what, given in (("images", images), ("stamps", stamps)):
            if len(given) != count:
                raise ImageError(f"{len(given)} {what} were given for {count} cameras.")
        return {
            camera: (image, stamp)
            for camera, (image, stamp) in enumerate(zip(images, stamps, strict=True))
            if image is not None
        }

    def _results(
        self, given: Mapping[int, tuple[np.ndarray, float | None]]
    ) -> dict[int, StepResult]:
        """The results of valid images, with one batch per image size."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for camera, (image, _) in given.items():
            by_size.setdefault(image.shape, []).append(camera)
        results: dict[int, StepResult] = {}
        for cameras in by_size.values():
            sessions = [self.sessions[camera] for camera in cameras]
            images, stamps = zip(*(given[camera] for camera in cameras), strict=True)
            results |= zip(cameras, step_together(sessions, images, stamps), strict=True)
        return results


def complaints_about(
    given: Mapping[int, tuple[np.ndarray, float | None]],
) -> dict[int, ImageError]:
    """The problems of invalid images and stamps, by camera."""
    complaints = {}
    for camera, (image, stamp) in given.items():
        try:
            check_image(image, stamp)
        except ImageError as error:
            complaints[camera] = error
    return complaints
