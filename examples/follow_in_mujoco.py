# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A robot of your own in MuJoCo follows a sentence: copy this file and put your model in.

    python examples/follow_in_mujoco.py "follow the red ball"

What is yours: the model with a camera in it, how a velocity moves the base, how far away the
camera is mounted. What is referdino's: the camera's images as ROS means them, the session that
finds the target, and the follower that steers. No ROS is needed; with ROS, the same images and the
same odometry go out as topics instead, and the nodes do what stands in the loop below.
"""

from __future__ import annotations

import math
import os
import sys

os.environ.setdefault("MUJOCO_GL", "egl")  # before MuJoCo is imported; renders without a display

import mujoco
import numpy as np

import referdino_core as rd
from referdino_core.following import (
    Follower,
    FollowerSettings,
    Goal,
    Inputs,
    Intent,
    Mode,
    Mounting,
    NotUnderstood,
    Pose,
    description_grammar,
    parse,
)
from referdino_core.following.locating import TargetLocator
from referdino_core.simulation import DifferentialDrive, DriveSettings, RGBDCamera
from referdino_core.world import VOCABULARY

WIDTH, HEIGHT = 160, 120
MOUNTING = Mounting(x=0.1, z=1.0, pitch=0.33)
MODEL = f"""<mujoco>
  <visual><global offwidth="{WIDTH}" offheight="{HEIGHT}"/></visual>
  <asset>
    <texture name="grid" type="2d" builtin="checker" width="128" height="128"
     rgb1=".55 .55 .52" rgb2=".65 .65 .6"/>
    <material name="floor" texture="grid" texrepeat="8 8" texuniform="true"/>
  </asset>
  <worldbody>
    <light pos="0 0 5" dir="0.2 0.3 -1" type="directional"/>
    <geom type="plane" size="8 8 .1" material="floor"/>
    <geom type="sphere" pos="3.4 0.9 .22" size=".22" rgba=".86 .06 .07 1"/>
    <geom type="box" pos="3.1 -0.8 .2" size=".2 .2 .2" rgba=".08 .22 .88 1"/>
    <geom type="cylinder" pos="4.2 0.1 .25" size=".16 .25" rgba=".08 .62 .14 1"/>
    <body name="base" mocap="true">
      <geom type="cylinder" size=".2 .1" pos="0 0 .1" rgba=".3 .3 .3 1" group="4"/>
      <camera name="front" pos="{MOUNTING.x} 0 {MOUNTING.z}" fovy="46"
       xyaxes="0 -1 0 {math.sin(MOUNTING.pitch)} 0 {math.cos(MOUNTING.pitch)}"/>
    </body>
  </worldbody>
</mujoco>"""
MODES = {
    Intent.FOLLOW: Mode.FOLLOW,
    Intent.APPROACH: Mode.APPROACH,
    Intent.FIND: Mode.FIND,
    Intent.LOOK: Mode.FACE,
}
IMAGE_PERIOD, TICK, DURATION = 0.1, 0.05, 25.0


def main() -> None:
    """Understand the instruction, then drive until the goal ends or time is over."""
    text = " ".join(sys.argv[1:]) or "approach the red ball"
    instruction = parse(text, description_grammar(VOCABULARY))
    if isinstance(instruction, NotUnderstood):
        sys.exit(f"Not understood: {instruction.reason}")
    if instruction.intent not in MODES:
        sys.exit(f"Nothing to do for {instruction.intent.value!r} yet.")

    model = mujoco.MjModel.from_xml_string(MODEL)
    data = mujoco.MjData(model)
    base = DifferentialDrive(DriveSettings(), Pose(), np.random.default_rng(0))
    session = rd.Session("nano")
    session.command(instruction.sentence)
    locator = TargetLocator(MOUNTING)
    goal = Goal(text, MODES[instruction.intent], distance=1.5)

    with RGBDCamera(model, "front", width=WIDTH, height=HEIGHT) as camera:
        follower = Follower(FollowerSettings(field_of_view=camera.intrinsics.field_of_view))
        state = None
        for tick in range(round(DURATION / TICK)):
            now = 1.0 + tick * TICK
            observation = None
            if tick % round(IMAGE_PERIOD / TICK) == 0:
                place_base(model, data, base.pose)
                capture = camera.capture(data)
                (target,) = session.step(capture.colour, now)
                observation, _ = locator.locate(
                    now, target, capture.depth, camera.intrinsics, base.odometry(now).pose
                )
            decision = follower.step(now, Inputs(goal, observation, base.odometry(now)))
            if decision.publish:
                base.command(now, decision.command)
            base.advance(now, TICK)
            if decision.state is not state:
                state = decision.state
                print(f"{now - 1:5.1f} s  {state.value}: {decision.reason}")
            if decision.outcome is not None:
                break
    print(f"After {base.way:.2f} m the base is at {base.pose.x:.2f}, {base.pose.y:.2f} m.")


def place_base(model: mujoco.MjModel, data: mujoco.MjData, pose: Pose) -> None:
    """Put the base, which carries the camera, where the drive says that it is."""
    place = model.body_mocapid[model.body("base").id]
    data.mocap_pos[place] = (pose.x, pose.y, 0.0)
    data.mocap_quat[place] = (math.cos(pose.yaw / 2), 0, 0, math.sin(pose.yaw / 2))
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)


if __name__ == "__main__":
    main()
