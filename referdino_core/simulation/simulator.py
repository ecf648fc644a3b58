# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A simulated robot in an episode: time, base, camera, collisions, and the ground truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from referdino_core.following.geometry import Intrinsics, Mounting, Pose, wrap_angle
from referdino_core.following.motion import Velocity
from referdino_core.following.odometry import Odometry
from referdino_core.simulation.drive import DifferentialDrive, DriveSettings
from referdino_core.simulation.episode import Episode
from referdino_core.simulation.rgbd_camera import RGBDCamera
from referdino_core.simulation.room import (
    EYE_GROUPS,
    OVERHEAD_GROUPS,
    OVERHEAD_SIZE,
    Room,
    floor_distance,
)

STEP = 0.01
"""Seconds of a step of the simulation."""
DEFAULT_MOUNTING = Mounting(x=0.1, z=1.0, pitch=math.atan2(0.75, 2.2))
"""At a height, and looking down as far, as `nano` was trained for."""


@dataclass(frozen=True, eq=False)
class Frame:
    """Images of one moment, of equal stamps.

    stamp: seconds. colour: (H, W, 3) uint8 RGB, black where it was not asked for. depth: (H, W)
    float32 metres along the optical axis, NaN where there is none. labels: (H, W) uint8, ground
    truth: 0 background, k the visible part of the episode's body k - 1.
    """

    stamp: float
    colour: np.ndarray
    depth: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class TargetTruth:
    """Where a body truly is from the robot.

    distance: metres from the base's origin to its surface along the floor. bearing: of its centre,
    radians to the left.
    """

    distance: float
    bearing: float


class Simulation:
    """A robot in an episode, which stands still in time until it is told to advance.

    Attributes:
        now: seconds since the start.
        drive: the base.
        collisions: indices of bodies, or "wall", that were driven into, in order, each once.
    """

    def __init__(
        self,
        room: Room,
        eye: RGBDCamera,
        episode: Episode,
        mounting: Mounting = DEFAULT_MOUNTING,
        drive: DriveSettings | None = None,
        seed: int = 0,
        first_stamp: float = 1.0,
        odometry: Pose | None = None,
    ) -> None:
        """Furnish the room and put the robot at its start.

        Args:
            seed: of the odometry's drift.
            first_stamp: seconds at the start; not 0, which as a stamp means none.
            odometry: what the base says of its pose at the start; None for the origin.
        """
        self.room, self.eye, self.episode, self.mounting = room, eye, episode, mounting
        self.began = self.now = first_stamp
        settings = drive or DriveSettings()
        rng = np.random.default_rng(seed)
        self.drive = DifferentialDrive(settings, episode.start, rng, odometry)
        self.collisions: list[int | str] = []
        room.furnish(episode.bodies, episode.floor, episode.walls, episode.lighting, episode.fovy)
        self._label_of_geom = np.zeros(room.model.ngeom + 1, np.uint8)
        for slot in range(len(episode.bodies)):
            self._label_of_geom[room.geom_of_body[slot]] = slot + 1

    @property
    def intrinsics(self) -> Intrinsics:
        """Of the robot's camera."""
        return self.eye.intrinsics

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.now - self.began

    @property
    def odometry(self) -> Odometry:
        """What the base says of itself now; its frame is the robot's pose at the start."""
        return self.drive.odometry(self.now)

    def command(self, velocity: Velocity) -> None:
        """What `cmd_vel` says from now on; it runs out unless it is repeated."""
        self.drive.command(self.now, velocity)

    def advance(self, seconds: float) -> None:
        """Let time go on."""
        for _ in range(round(seconds / STEP)):
            before = self.drive.pose
            self.drive.advance(self.now, STEP)
            self.now += STEP
            hit = self._hit(self.drive.pose)
            if hit is not None:
                self.drive.stop_at(Pose(before.x, before.y, self.drive.pose.yaw))
                if hit not in self.collisions:
                    self.collisions.append(hit)

    def _hit(self, pose: Pose) -> int | str | None:
        """What the base runs into at a pose; what it cannot get out of counts as well."""
        radius, point = self.drive.settings.radius, (pose.x, pose.y)
        centres = self.episode.centres(self.elapsed)
        reach = np.hypot(centres[:, 0] - pose.x, centres[:, 1] - pose.y) - radius
        for slot, body in enumerate(self.episode.bodies):
            near = reach[slot] < body.footprint
            if near and floor_distance(body, centres[slot], point) < radius:
                return slot
        for wall in self.episode.walls:
            if np.dot(point, wall.normal) + wall.distance < radius:
                return "wall"
        return None

    def _arrange(self) -> None:
        self.room.arrange(self.episode.centres(self.elapsed), self.drive.pose, self.mounting)

    def frame(self, colour: bool = True) -> Frame:
        """What the camera takes now; colour, which takes longest to render, may be left out."""
        self._arrange()
        capture = self.eye.capture(self.room.data, colour=colour, geoms=True)
        assert capture.depth is not None
        assert capture.geoms is not None
        image = capture.colour
        if image is None:
            image = np.zeros((*capture.depth.shape, 3), np.uint8)
        return Frame(self.now, image, capture.depth, self._label_of_geom[capture.geoms])

    def overhead(self, camera: RGBDCamera) -> np.ndarray:
        """The view from above, (OVERHEAD_SIZE, OVERHEAD_SIZE, 3) uint8 RGB, with the robot."""
        self._arrange()
        colour = camera.capture(self.room.data, depth=False).colour
        assert colour is not None
        return colour

    def truth(self, slot: int) -> TargetTruth:
        """Where a body is from the robot."""
        pose, centre = self.drive.pose, self.episode.centres(self.elapsed)[slot]
        distance = floor_distance(self.episode.bodies[slot], centre, (pose.x, pose.y))
        bearing = math.atan2(centre[1] - pose.y, centre[0] - pose.x) - pose.yaw
        return TargetTruth(distance, wrap_angle(bearing))


def open_eye(room: Room, width: int, height: int) -> RGBDCamera:
    """The robot's own camera."""
    return RGBDCamera(room.model, "eye", width=width, height=height, groups=EYE_GROUPS)


def open_overhead(room: Room) -> RGBDCamera:
    """A camera above the room, for people."""
    size = OVERHEAD_SIZE
    return RGBDCamera(
        room.model, "overhead", width=size, height=size, reach=20.0, groups=OVERHEAD_GROUPS
    )
