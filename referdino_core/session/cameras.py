# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""CameraGroup: several streams of images through one model, their images in one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from referdino_core.errors import CameraImageError, ImageError
from referdino_core.session.session import Session
from referdino_core.session.stream import check_image, step_together
from referdino_core.session.target import Target


class CameraGroup:
    """Follows one stream per camera, with images of one size that are taken together.

    Every camera has a session of its own: commands, memories, stamps, resets and tracks. The
    answers are those that the sessions would give one by one; the model sees all images at once,
    which makes use of a GPU that one image leaves idle. The runtimes "onnxruntime" and "tensorrt"
    take one image at a time and go from camera to camera. Not thread-safe: one thread owns a group
    and its sessions.

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

    def step(
        self, images: Sequence[np.ndarray | None], stamps: Sequence[float | None] | None = None
    ) -> tuple[tuple[Target, ...], ...]:
        """What every command of every camera refers to in that camera's next image.

        Args:
            images: one per camera, (H, W, 3) uint8 RGB, all of one size; None where a camera has
                none this time, whose stream then waits.
            stamps: seconds, one per camera; by default every camera's images are 0.1 s apart.

        Returns:
            For every camera one target per command, in the order of its commands; none where it
            has no commands or no image.

        Raises:
            CameraImageError: images or stamps cannot be used; it says which. No stream has moved:
                the others' images can be stepped again, with None in place of those.
            ImageError: there are not as many images, or stamps, as cameras.
        """
        count = len(self.sessions)
        stamps = [None] * count if stamps is None else stamps
        for what, given in (("images", images), ("stamps", stamps)):
            if len(given) != count:
                raise ImageError(f"{len(given)} {what} were given for {count} cameras.")
        shown = [camera for camera, image in enumerate(images) if image is not None]
        pictures = [image for image in images if image is not None]
        times = [stamps[camera] for camera in shown]
        check_images(dict(zip(shown, zip(pictures, times, strict=True), strict=True)))
        sessions = [self.sessions[camera] for camera in shown]
        targets = dict(zip(shown, step_together(sessions, pictures, times), strict=True))
        return tuple(targets.get(camera, ()) for camera in range(count))


def check_images(shown: Mapping[int, tuple[np.ndarray, float | None]]) -> None:
    """Raise CameraImageError unless every camera's image and stamp can be used.

    Args:
        shown: image and stamp by camera; the images have to be of one size.
    """
    complaints = {}
    size: tuple[int, ...] | None = None
    for camera, (image, stamp) in shown.items():
        try:
            check_image(image, stamp)
        except ImageError as error:
            complaints[camera] = str(error)
            continue
        size = size or image.shape[:2]
        if image.shape[:2] != size:
            height, width = image.shape[:2]
            complaints[camera] = (
                f"The image is {width}x{height}, others are {size[1]}x{size[0]}; cameras of "
                "another size are a group of their own."
            )
    if complaints:
        raise CameraImageError(complaints)
