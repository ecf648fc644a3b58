# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""PeerCameraGroup: another published model for several cameras, one after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from referdino_core.configuration import SessionSettings
from referdino_core.errors import ImageError
from referdino_core.peers.following import PeerSettings
from referdino_core.session.cameras import CameraGroup
from referdino_core.session.command_request import CommandRequest
from referdino_core.session.joint_step import StepResult
from referdino_core.session.peer_session import PeerSession
from referdino_core.session.session import Session


class PeerCameraGroup:
    """Sessions of several cameras that share one peer's networks, with one image per call.

    It offers what the node uses of a `CameraGroup`. Not thread-safe.

    Attributes:
        sessions: one per camera, to give commands to.
    """

    def __init__(self, session: PeerSession, cameras: int) -> None:
        """Open further sessions in addition to an open one.

        Args:
            session: that of the first camera.
            cameras: number of cameras, including the first, at least one.
        """
        self.sessions = (session, *(session.another() for _ in range(cameras - 1)))

    @property
    def settings(self) -> PeerSettings:
        """Thresholds of the first camera; set for all cameras."""
        return self.sessions[0].settings

    @settings.setter
    def settings(self, settings: PeerSettings | SessionSettings) -> None:
        for session in self.sessions:
            session.settings = adopted(session.settings, settings)

    def set_commands(self, wanted: Mapping[int, Mapping[str, str | CommandRequest]]) -> None:
        """Replace the commands of some cameras, all or nothing.

        Args:
            wanted: by camera, a value of `PeerSession.commands`.

        Raises:
            CommandError: an id or a sentence is invalid; all running commands are unchanged.
        """
        for camera, commands in wanted.items():
            self.sessions[camera].check(commands)
        for camera, commands in wanted.items():
            self.sessions[camera].commands = commands

    def step_each(
        self, images: Sequence[np.ndarray | None], stamps: Sequence[float | None] | None = None
    ) -> dict[int, StepResult]:
        """Targets or error by camera, for the cameras with an image.

        Raises:
            ImageError: the number of images or stamps differs from the number of cameras.
        """
        count = len(self.sessions)
        stamps = [None] * count if stamps is None else stamps
        if len(images) != count or len(stamps) != count:
            raise ImageError(
                f"{len(images)} images and {len(stamps)} stamps were given for {count} cameras."
            )
        results = {}
        for camera, (image, stamp) in enumerate(zip(images, stamps, strict=True)):
            if image is None:
                continue
            try:
                results[camera] = StepResult(self.sessions[camera].step(image, stamp))
            except Exception as error:
                results[camera] = StepResult(error=error)
        return results


AnySession = Session | PeerSession
"""The session of one of a node's cameras, whatever the model."""
AnyCameraGroup = CameraGroup | PeerCameraGroup
"""The sessions of all of them."""


def adopted(settings: PeerSettings, given: PeerSettings | SessionSettings) -> PeerSettings:
    """A peer's settings with what it shares with those of a session."""
    if isinstance(given, PeerSettings):
        return given
    return replace(
        settings,
        select=given.select,
        hold=given.hold,
        max_gap=given.max_gap,
        max_lateness=given.max_lateness,
    )
