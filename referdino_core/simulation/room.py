# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A room of the world of `nano` with a robot in it, as one MuJoCo model.

Objects, materials, light and textures are the world's own; the room has a fourth wall, a robot
with a camera, and a camera above. World axes: x to the right, y ahead of the start, z up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from referdino_core.following.geometry import Mounting, Pose, rotation_of
from referdino_core.world import WorldSettings
from referdino_core.world.dressing import dress_body, dress_light, dress_surface, put_wall
from referdino_core.world.renderer import import_mujoco, model_xml
from referdino_core.world.scene import MAX_OBJECTS, Body, Lighting, Surface, Wall
from referdino_core.world.textures import build_textures

MAX_BODIES = 12
_OBJECT_GROUP, _WALL_GROUP, _ROBOT_GROUP, _HIDDEN_GROUP = 0, 3, 4, 5
EYE_GROUPS = (_OBJECT_GROUP, _WALL_GROUP)
"""Groups of geoms that the robot's camera sees: all but the robot."""
OVERHEAD_GROUPS = (_OBJECT_GROUP, _ROBOT_GROUP)
"""Groups of geoms that the camera above sees: all but the walls."""
OVERHEAD_SIZE = 480
_MAX_WALLS = 4
_OVERHEAD, _OVERHEAD_FOVY = (0.0, 2.2, 9.0), 48.0
_ROBOT_HEIGHT = 0.25


class Room:
    """The model of a room, and its state.

    Attributes:
        model, data: the `mujoco.MjModel` and `mujoco.MjData`.
        geom_of_body: (MAX_BODIES,) int, geom ids of the objects.
    """

    def __init__(self, width: int, height: int, robot_radius: float) -> None:
        self._mujoco = import_mujoco()
        self.model = self._compile(WorldSettings(width=width, height=height), robot_radius)
        self.data = self._mujoco.MjData(self.model)
        self._bodies: tuple[Body, ...] = ()
        names = [f"object{slot}" for slot in range(MAX_BODIES)]
        self.geom_of_body = np.array([self.model.geom(name).id for name in names])
        self._place_of = {
            name: self.model.body_mocapid[self.model.geom(name).bodyid[0]]
            for name in (*names, *(f"wall{slot}" for slot in range(_MAX_WALLS)), "robot")
        }
        self._eye = self.model.body_mocapid[self.model.cam("eye").bodyid[0]]

    def _compile(self, settings: WorldSettings, robot_radius: float) -> Any:
        mujoco = self._mujoco
        spec = mujoco.MjSpec.from_string(model_xml(settings))
        geoms = mujoco.mjtGeom
        for slot in range(MAX_OBJECTS, MAX_BODIES):
            body = spec.worldbody.add_body(mocap=True)
            body.add_geom(
                name=f"object{slot}", type=geoms.mjGEOM_SPHERE, size=[0.1] * 3, material="finish0"
            )
        wall = spec.worldbody.add_body(mocap=True)
        wall.add_geom(
            name=f"wall{_MAX_WALLS - 1}",
            type=geoms.mjGEOM_PLANE,
            size=[8, 1.6, 0.1],
            material="surface0",
        )
        robot = spec.worldbody.add_body(mocap=True)
        half = _ROBOT_HEIGHT / 2
        robot.add_geom(
            name="robot",
            type=geoms.mjGEOM_CYLINDER,
            size=[robot_radius, half, 0],
            rgba=[0.25, 0.27, 0.3, 1],
            group=_ROBOT_GROUP,
        )
        robot.add_geom(
            type=geoms.mjGEOM_BOX,
            pos=[robot_radius / 2, 0, half],
            size=[robot_radius / 2, 0.03, 0.02],
            rgba=[1, 1, 1, 1],
            group=_ROBOT_GROUP,
        )
        spec.worldbody.add_camera(
            name="overhead", pos=_OVERHEAD, quat=[1, 0, 0, 0], fovy=_OVERHEAD_FOVY
        )
        spec.visual.global_.offwidth = max(settings.width, OVERHEAD_SIZE)
        spec.visual.global_.offheight = max(settings.height, OVERHEAD_SIZE)
        model = spec.compile()
        model.tex_data[:] = build_textures().ravel()
        return model

    def furnish(
        self,
        bodies: Sequence[Body],
        floor: Surface,
        walls: Sequence[Wall],
        lighting: Lighting,
        fovy: float,
    ) -> None:
        """Give the model the looks of a scene; where things are follows moment by moment.

        Args:
            bodies: at most MAX_BODIES; their paths are not used.
            fovy: vertical field of view of the robot's camera, degrees.
        """
        model, mujoco = self.model, self._mujoco
        self._bodies = tuple(bodies)
        model.cam_fovy[model.cam("eye").id] = fovy
        dress_surface(model, model.geom("floor").id, floor)
        for slot in range(_MAX_WALLS):
            geom = model.geom(f"wall{slot}").id
            model.geom_group[geom] = _WALL_GROUP if slot < len(walls) else _HIDDEN_GROUP
            if slot < len(walls):
                mocap = self._place_of[f"wall{slot}"]
                put_wall(model, self.data, mujoco, geom, mocap, walls[slot])
        for slot, geom in enumerate(self.geom_of_body):
            model.geom_group[geom] = _OBJECT_GROUP if slot < len(bodies) else _HIDDEN_GROUP
            if slot < len(bodies):
                dress_body(model, mujoco, geom, bodies[slot])
        dress_light(model, lighting)

    def arrange(self, centres: np.ndarray, robot: Pose, mounting: Mounting) -> None:
        """Put the objects' centres (N, 3), the robot and its camera where they are now."""
        data, mujoco = self.data, self._mujoco
        for slot, centre in enumerate(centres):
            place = self._place_of[f"object{slot}"]
            data.mocap_pos[place] = centre
            data.mocap_quat[place] = self._bodies[slot].quaternion
        place = self._place_of["robot"]
        data.mocap_pos[place] = (robot.x, robot.y, _ROBOT_HEIGHT / 2)
        data.mocap_quat[place] = (math.cos(robot.yaw / 2), 0, 0, math.sin(robot.yaw / 2))
        turn = np.eye(3)
        turn[:2, :2] = robot.rotation
        offset = turn @ np.array([mounting.x, mounting.y, mounting.z])
        data.mocap_pos[self._eye] = np.array([robot.x, robot.y, 0.0]) + offset
        # MuJoCo's cameras have y up and look along -z: half a turn about x from the optical frame.
        axes = turn @ mounting.rotation @ np.diag([1.0, -1.0, -1.0])
        mujoco.mju_mat2Quat(data.mocap_quat[self._eye], axes.ravel())
        mujoco.mj_kinematics(self.model, data)
        mujoco.mj_camlight(self.model, data)


def overhead_pixels(points: np.ndarray) -> np.ndarray:
    """Pixels (N, 2) as x, y of the camera above, of points (N, 2) of the floor in metres."""
    focal = OVERHEAD_SIZE / 2 / math.tan(math.radians(_OVERHEAD_FOVY) / 2)
    offset = (points - np.array(_OVERHEAD[:2])) * [1.0, -1.0]
    return (OVERHEAD_SIZE - 1) / 2 + focal / _OVERHEAD[2] * offset


def floor_distance(body: Body, centre: np.ndarray, point: tuple[float, float]) -> float:
    """Metres along the floor from a point to an object's outline as seen from above; 0 inside.

    Args:
        centre: (2,) or (3,), of the object.
    """
    offset = np.asarray(point) - centre[:2]
    shape, extents = body.look.shape, body.extents
    if shape == "ball":
        return max(float(np.hypot(*offset)) - float(extents[0]), 0.0)
    w, x, y, z = body.quaternion
    axes = rotation_of(x, y, z, w)
    if shape == "box":
        local = np.abs(axes[:2, :2].T @ offset) - extents[:2]
        return float(np.hypot(*np.maximum(local, 0.0)))
    along = axes[:2, 2]
    if np.hypot(*along) < 0.5:  # it stands
        return max(float(np.hypot(*offset)) - float(extents[0]), 0.0)
    lengthwise = float(offset @ along)
    sideways = float(offset @ np.array([-along[1], along[0]]))
    beyond = max(abs(lengthwise) - float(extents[1]), 0.0)
    if shape == "capsule":
        return max(math.hypot(beyond, sideways) - float(extents[0]), 0.0)
    return math.hypot(beyond, max(abs(sideways) - float(extents[0]), 0.0))
