# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Pursuit of a target that is seen: its distance is kept, it is faced, obstacles stop the robot."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from referdino_core.following.follower_records import FollowerSettings, Memory, Step, Tick
from referdino_core.following.geometry import wrap_angle
from referdino_core.following.goals import FollowState, Goal, Mode, Outcome
from referdino_core.following.kalman import predict
from referdino_core.following.motion import (
    RelativeTarget,
    Velocity,
    bounded,
    driving_speed,
    is_driving,
    turning_speed,
)

_REACHED_BEARING = 0.12
"""Radians; within it a robot counts as facing its target."""


def relative(memory: Memory, tick: Tick) -> RelativeTarget | None:
    """The target from the base, predicted to now; None where its place was never measured."""
    sight = memory.sight
    if sight.track is None:
        return None
    until = min(tick.now, sight.track.stamp + tick.settings.horizon)
    track = predict(sight.track, until, tick.settings.motion)
    local = tick.pose.inward(track.position)
    reach = float(np.hypot(*local))
    bearing = math.atan2(local[1], local[0])
    velocity = tick.pose.rotation.T @ track.velocity
    along = np.array([math.cos(bearing), math.sin(bearing)])
    receding = float(velocity @ along)
    crossing = float(velocity @ np.array([-along[1], along[0]]))
    return RelativeTarget(reach - sight.radius, reach, bearing, receding, crossing)


def blind_distance(memory: Memory) -> float:
    """Metres driven since the newest image that showed the target was taken."""
    seen = memory.sight.seen
    return 0.0 if seen is None else memory.way.since(seen)


def pursue(memory: Memory, goal: Goal, tick: Tick) -> tuple[Memory, Step]:
    """The target is seen: keep its distance and face it."""
    settings = tick.settings
    target = relative(memory, tick)
    control, limits = settings.control, tick.limits
    if memory.sight.bearing_only or target is None:
        bearing = wrap_angle((memory.sight.bearing or 0.0) - tick.pose.yaw)
        unranged = RelativeTarget(math.inf, math.inf, bearing)
        wanted = Velocity(0.0, turning_speed(unranged, 0.0, control, limits))
        reason = f"Turning only: its distance is not known. {memory.sight.complaint}"
        return replace(memory, driving=False), Step(FollowState.BEARING_ONLY, reason, wanted)
    stays = goal.mode in (Mode.FACE, Mode.FIND)
    driving = not stays and is_driving(target, goal.distance, memory.driving, control)
    linear = driving_speed(target, goal.distance, control, limits) if driving else 0.0
    wanted = Velocity(linear, turning_speed(target, linear, control, limits))
    memory = replace(memory, driving=driving)
    blind = blind_distance(memory)
    free = memory.sight.free_distance
    if free is not None and wanted.linear > 0:
        ahead = free - blind
        gap = 0.0 if math.isnan(ahead) else ahead - settings.clearance
        wanted = bounded(wanted, gap, limits)
        if wanted.linear < control.floor:
            step = Step(
                FollowState.BLOCKED, _blocked(ahead, settings), Velocity(0.0, wanted.angular)
            )
            return replace(memory, holding_since=None), step
    wanted = bounded(wanted, limits.blind_distance - blind, limits)
    return _arrive(memory, goal, target, wanted, tick)


def _blocked(ahead: float, settings: FollowerSettings) -> str:
    if math.isnan(ahead):
        return "Depth does not show whether the way ahead is free."
    return f"Something else is {ahead:.2f} m ahead; {settings.clearance:g} m are kept."


def _arrive(
    memory: Memory, goal: Goal, target: RelativeTarget, wanted: Velocity, tick: Tick
) -> tuple[Memory, Step]:
    """The state of a pursuit, and its end where it has one."""
    where = f"{target.distance:.2f} m away, {math.degrees(target.bearing):+.0f}°"
    facing = abs(target.bearing) <= _REACHED_BEARING
    if wanted.linear != 0.0:
        step = Step(
            FollowState.DRIVING, f"Driving to {goal.distance:.2f} m: it is {where}.", wanted
        )
        return replace(memory, holding_since=None), step
    if not facing:
        step = Step(FollowState.TURNING, f"Turning to face it: it is {where}.", wanted)
        return replace(memory, holding_since=None), step
    nearer = target.distance < goal.distance - tick.settings.control.deadband
    told = "It is nearer than asked" if nearer else "At its place"
    if blind_distance(memory) >= tick.limits.blind_distance:
        told = "Waiting for the next image"
    since = tick.now if memory.holding_since is None else memory.holding_since
    memory = replace(memory, holding_since=since)
    outcome = None
    if tick.now - since >= tick.settings.hold:
        outcome = {Mode.APPROACH: Outcome.REACHED, Mode.FIND: Outcome.FOUND}.get(goal.mode)
    if outcome is None:
        return memory, Step(FollowState.HOLDING, f"{told}: {where}.", wanted)
    return memory, Step(FollowState.ENDED, f"Done: it is {where}.", at_once=True, outcome=outcome)
