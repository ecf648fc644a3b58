# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Appearance of a scene's surfaces, objects and lights, written into a MuJoCo model."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from referdino_core.world.scene import Body, Lighting, Surface, Wall
from referdino_core.world.textures import TEXTURE_COUNT

_WALL_CENTRE = np.array([0.0, 0.0, 1.5])


def dress_surface(model: Any, geom: int, surface: Surface) -> None:
    """Set the texture and tint of a surface's geom."""
    model.geom_matid[geom] = surface.texture
    model.geom_rgba[geom] = surface.tint


def dress_body(model: Any, mujoco: ModuleType, geom: int, body: Body) -> None:
    """Set the shape, size, finish and colour of an object's geom."""
    types = {
        "ball": mujoco.mjtGeom.mjGEOM_SPHERE,
        "box": mujoco.mjtGeom.mjGEOM_BOX,
        "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
        "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    }
    model.geom_type[geom] = types[body.look.shape]
    model.geom_size[geom] = body.extents
    model.geom_rbound[geom] = float(np.linalg.norm(body.extents)) + body.extents[0]
    model.geom_matid[geom] = TEXTURE_COUNT + body.finish
    model.geom_rgba[geom] = body.rgba


def dress_light(model: Any, lighting: Lighting) -> None:
    """Set the direction and brightness of the sun, and the headlight."""
    model.light_pos[0] = np.array([0.0, 3.0, 0.0]) - 6 * lighting.direction
    model.light_dir[0] = lighting.direction
    model.light_diffuse[0] = lighting.diffuse
    model.vis.headlight.ambient = np.full(3, lighting.ambient)
    model.vis.headlight.diffuse = np.full(3, lighting.frontal)


def put_wall(model: Any, data: Any, mujoco: ModuleType, geom: int, mocap: int, wall: Wall) -> None:
    """Set the pose and surface of a wall; `mocap` is the index of its mocap body."""
    normal = np.array([*wall.normal, 0.0])
    axes = np.column_stack([np.cross([0.0, 0.0, 1.0], normal), [0.0, 0.0, 1.0], normal])
    mujoco.mju_mat2Quat(data.mocap_quat[mocap], axes.ravel())
    data.mocap_pos[mocap] = -wall.distance * normal + _WALL_CENTRE
    dress_surface(model, geom, wall.surface)
