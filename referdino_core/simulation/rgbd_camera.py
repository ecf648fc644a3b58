# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""An RGB-D camera in any MuJoCo model: colour, aligned depth, intrinsics, segmentation.

Depth is along the optical axis in metres, as ROS means it, and nothing where nothing is hit, which
MuJoCo itself gives as the far plane. All images of a capture are of one moment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from referdino_core.errors import ReferDINOError
from referdino_core.following.geometry import Intrinsics
from referdino_core.world.renderer import OpenGLContext, import_mujoco


@dataclass(frozen=True, eq=False)
class Capture:
    """Images of one moment.

    colour: (H, W, 3) uint8 RGB. depth: (H, W) float32 metres, NaN beyond the camera's range.
    geoms: (H, W) int32, ids of the geoms that are seen, -1 for none. What was not asked for is
    None.
    """

    colour: np.ndarray | None
    depth: np.ndarray | None
    geoms: np.ndarray | None


class RGBDCamera(OpenGLContext):
    """A camera of a MuJoCo model; a context manager that owns one OpenGL context.

    The context belongs to the thread that made it.
    """

    def __init__(
        self,
        model: Any,
        camera: str,
        *,
        width: int = 160,
        height: int = 120,
        reach: float = 10.0,
        groups: tuple[int, ...] = (0, 1, 2),
    ) -> None:
        """Open the renderer.

        Args:
            model: an `mujoco.MjModel` whose offscreen framebuffer is as large as the images.
            camera: name of a camera in it.
            reach: metres, beyond which there is no depth.
            groups: of geoms that this camera sees.

        Raises:
            ReferDINOError: the model has no such camera.
            WorldUnavailable: there is no OpenGL.
        """
        mujoco = import_mujoco()
        self._number = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, camera)
        if self._number < 0:
            known = ", ".join(repr(model.camera(n).name) for n in range(model.ncam)) or "none"
            raise ReferDINOError(f"The model has no camera {camera!r}; it has {known}.")
        self._model, self._reach = model, reach
        self._options = mujoco.MjvOption()
        self._options.geomgroup[:] = [group in groups for group in range(6)]
        self.size = (width, height)
        self._open(model, height, width, max_geom=256)

    @property
    def intrinsics(self) -> Intrinsics:
        """The camera as its present field of view makes it; the first pixel's middle is (0, 0)."""
        width, height = self.size
        focal = height / 2 / math.tan(math.radians(self._model.cam_fovy[self._number]) / 2)
        return Intrinsics(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)

    def capture(
        self, data: Any, *, colour: bool = True, depth: bool = True, geoms: bool = False
    ) -> Capture:
        """Images of the present moment of an `mujoco.MjData` whose kinematics are computed."""
        renderer = self._renderer
        if renderer is None:
            raise ReferDINOError("This camera is closed; make a new one.")
        renderer.update_scene(data, self._number, self._options)
        rgb, metres, ids = None, None, None
        if colour:
            rgb = renderer.render()
        if depth:
            renderer.enable_depth_rendering()
            metres = renderer.render()
            metres[metres > self._reach] = np.nan
            renderer.disable_depth_rendering()
        if geoms:
            renderer.enable_segmentation_rendering()
            ids = np.ascontiguousarray(renderer.render()[:, :, 0])
            renderer.disable_segmentation_rendering()
        return Capture(rgb, metres, ids)


def encode_depth(depth: np.ndarray, encoding: str) -> np.ndarray:
    """Depth as cameras send it.

    Args:
        depth: (H, W) float32 metres, NaN where invalid.
        encoding: "16UC1" for uint16 millimetres, 0 where invalid or beyond 65 m; "32FC1" for
            float32 metres, NaN where invalid.

    Raises:
        ReferDINOError: the encoding is neither.
    """
    if encoding == "32FC1":
        return depth.astype(np.float32)
    if encoding == "16UC1":
        millimetres = np.nan_to_num(np.round(1000 * depth), nan=0.0)
        millimetres[millimetres > 65535] = 0
        return millimetres.astype(np.uint16)
    raise ReferDINOError(f"The depth encoding is {encoding!r}; give 16UC1 or 32FC1.")
