# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""CameraGroup: several streams of images through one model, their images in one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from referdino_core.configuration import SessionSettings
from referdino_core.errors import CameraImageError, ImageError
from referdino_core.session.command_request import CommandRequest
from referdino_core.session.joint_step import StepResult, step_together
from referdino_core.session.session import Session
from referdino_core.session.stream import check_image
from referdino_core.target import Target


class CameraGroup:
    """Follows one stream per camera, with images that are taken together.

    Every camera has a session of its own: commands, memories, stamps, resets and tracks. The
    results are those that the sessions would give one by one; the model sees all images of one
    size at once, which makes use of a GPU that one image leaves idle. The runtimes "onnxruntime"
    and "tensorrt" take one image at a time and go from camera to camera. Not thread-safe: one
    thread owns a group and its sessions.

    Attributes:
        sessions: one per camera, to give commands to.
    """

    def __init__(self, session: Session, cameras: int) -> None:
        """Open sessions beside one that is open.

        Args:
            session: becomes the first camera's; the others share its model, runtime and settings.
            cameras: how many there are with it.

        Raises:
            ValueError: there is less than one camera.
        """
        if cameras < 1:
            raise ValueError(f"A group has at least one camera, not {cameras}.")
        self.sessions = (session, *(session.another() for _ in range(cameras - 1)))

    @property
    def settings(self) -> SessionSettings:
        """Thresholds of the target states: the first camera's, and of all once they are set."""
        return self.sessions[0].settings

    @settings.setter
    def settings(self, settings: SessionSettings) -> None:
        for session in self.sessions:
            session.settings = settings

    def set_commands(self, wanted: Mapping[int, Mapping[str, str | CommandRequest]]) -> None:
        """Replace the commands of some cameras: of all of these, or of none.

        Args:
            wanted: by camera, what `Session.commands` takes.

        Raises:
            CommandError: an id or a sentence cannot be used; every running set is as it was.
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
        """What every command of every camera refers to in that camera's next image.

        Args:
            images: one per camera, (H, W, 3) uint8 RGB; None where a camera has none this time,
                whose stream then waits.
            stamps: seconds, one per camera; by default every camera's images are 0.1 s apart.

        Returns:
            For every camera one target per command, in the order of its commands; none where it
            has no commands or no image.

        Raises:
            CameraImageError: images or stamps cannot be used; it says which. No stream has moved:
                the others' images can be stepped again, with None in place of those.
            ImageError: there are not as many images, or stamps, as cameras.
            InferenceError: a camera's prediction is not finite; the others have moved on.
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
        """As `step`, but what fails stays with its camera.

        Returns:
            By camera, of those that have an image, the targets or the error.

        Raises:
            ImageError: there are not as many images, or stamps, as cameras.
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
        """Image and stamp by camera, of those that have an image."""
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
        """The results of images that can be used, in a batch for every size."""
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
    """By camera, what is wrong with images and stamps that cannot be used."""
    complaints = {}
    for camera, (image, stamp) in given.items():
        try:
            check_image(image, stamp)
        except ImageError as error:
            complaints[camera] = error
    return complaints
