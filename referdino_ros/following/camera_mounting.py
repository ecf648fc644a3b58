# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Mounting of the camera on the base: from TF if tf2_ros is installed, else from parameters."""

from __future__ import annotations

import time
from typing import Protocol

from rclpy.node import Node

from referdino_core.errors import ReferDINOError
from referdino_core.following import Mounting
from referdino_ros.following.transforms import Transforms

SOURCES = ("auto", "tf", "parameters")
"""Values of the parameter `mounting`."""
TF_PATIENCE = 2.0
"""Seconds from the start for which a camera that TF does not know is waited for."""


class MountingSource(Protocol):
    """Source of a camera's mounting."""

    def at(self, camera_frame: str, stamp: float) -> Mounting | str:
        """The mounting at an image's stamp, or why it is not known."""
        ...


class FixedMounting:
    """Fixed mounting, from parameters."""

    def __init__(self, mounting: Mounting) -> None:
        self._mounting = mounting

    def at(self, camera_frame: str, stamp: float) -> Mounting | str:
        """The same at any time."""
        return self._mounting


class TransformMounting:
    """Mounting from TF at the image's stamp; the camera may be on a moving head.

    Where parameters may stand in, they do so from a while after the start, as long as TF has never
    known the camera: not whenever a transform is missing, which would let the camera jump.
    """

    def __init__(self, node: Node, base_frame: str, otherwise: Mounting | None) -> None:
        """Listen to TF.

        Args:
            otherwise: what holds where TF never knows the camera; None for nothing.

        Raises:
            ImportError: tf2_ros is not installed.
        """
        self._transforms = Transforms(node)
        self._node, self._base_frame, self._otherwise = node, base_frame, otherwise
        self._opened = time.monotonic()
        self._falls_back = False

    def at(self, camera_frame: str, stamp: float) -> Mounting | str:
        """From the camera's optical frame to the base, without waiting."""
        found = self._transforms.find(self._base_frame, camera_frame, stamp)
        if isinstance(found, str):
            return self._instead(found)
        self._otherwise = None
        x, y, z = found.position.tolist()
        return Mounting.from_rotation((x, y, z), found.rotation)

    def _instead(self, told: str) -> Mounting | str:
        """What holds while TF does not know the camera, with what TF says."""
        if self._otherwise is None or time.monotonic() - self._opened < TF_PATIENCE:
            return told
        if not self._falls_back:
            self._falls_back = True
            self._node.get_logger().warning(
                f"{told} The mounting is taken from camera_x, camera_y, camera_z, camera_yaw and "
                "camera_pitch until TF knows it."
            )
        return self._otherwise


def open_mounting(node: Node, source: str, base_frame: str, mounting: Mounting) -> MountingSource:
    """What the parameter `mounting` asks for.

    Args:
        source: "tf" for TF alone; "parameters"; "auto" for TF where it is installed, or the
            parameters if TF never knows the camera.
        mounting: what the parameters say.

    Raises:
        ReferDINOError: source is something else, or TF is asked for and not installed.
    """
    if source not in SOURCES:
        raise ReferDINOError(f"mounting is {source!r}; choose one of {', '.join(SOURCES)}.")
    if source == "parameters":
        return FixedMounting(mounting)
    try:
        return TransformMounting(node, base_frame, mounting if source == "auto" else None)
    except ImportError:
        if source == "tf":
            raise ReferDINOError(
                "mounting is 'tf', but tf2_ros is not installed. Install it, or give the camera's "
                "place by camera_x, camera_y, camera_z, camera_yaw and camera_pitch."
            ) from None
    return FixedMounting(mounting)
