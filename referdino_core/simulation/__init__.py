# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A simulated robot with an RGB-D camera in the world of `nano`, on MuJoCo; no ROS.

For a robot of one's own in MuJoCo: `RGBDCamera` and `encode_depth` serve any model.
"""

from referdino_core.simulation.drive import DifferentialDrive, DriveSettings
from referdino_core.simulation.episode import Episode, Motion
from referdino_core.simulation.episodes import (
    DISTANCES,
    SPLITS,
    episode_generator,
    sample_episode,
)
from referdino_core.simulation.rgbd_camera import Capture, RGBDCamera, encode_depth
from referdino_core.simulation.room import Room
from referdino_core.simulation.simulator import (
    DEFAULT_MOUNTING,
    Frame,
    Simulation,
    TargetTruth,
    open_eye,
    open_overhead,
)

__all__ = [
    "DEFAULT_MOUNTING",
    "DISTANCES",
    "SPLITS",
    "Capture",
    "DifferentialDrive",
    "DriveSettings",
    "Episode",
    "Frame",
    "Motion",
    "RGBDCamera",
    "Room",
    "Simulation",
    "TargetTruth",
    "encode_depth",
    "episode_generator",
    "open_eye",
    "open_overhead",
    "sample_episode",
]
