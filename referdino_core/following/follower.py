# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The follower: observations of a target and odometry in, a velocity and its reason out.

`advance` is a pure function of what is remembered, the time and the inputs. It knows nothing of
images, messages or threads; a timer calls it at a steady rate, whether or not anything came in.
"""

from __future__ import annotations

import math
from dataclasses import replace

from referdino_core.following.follower_records import (
    FollowerSettings,
    Inputs,
    Memory,
    Step,
    Tick,
)
from referdino_core.following.geometry import Pose, wrap_angle
from referdino_core.following.goals import Decision, FollowState, Goal, Mode, Outcome
from referdino_core.following.kalman import predict
from referdino_core.following.motion import (
    STANDSTILL,
    STILL_SPEED,
    MotionLimits,
    RelativeTarget,
    Velocity,
    limited,
    turning_speed,
)
from referdino_core.following.observation import PlaceEvidence
from referdino_core.following.pursuit import blind_distance, pursue, relative
from referdino_core.following.searching import (
    Search,
    advance_search,
    search_speed,
)
from referdino_core.following.sight import Sight, note_observation

_LONGEST_TICK = 0.2
"""Seconds; a timer that was late by more does not make up for it in one change of speed."""


def advance(
    memory: Memory, now: float, inputs: Inputs, settings: FollowerSettings
) -> tuple[Memory, Decision]:
    """One tick: what is remembered afterwards, and the decision.

    Args:
        memory: of the tick before; `Memory()` at first.
        now: seconds, of the clock that stamps images and odometry.
    """
    back = memory.now - now
    if _begins_anew(inputs.goal, memory.goal):
        memory = Memory(
            now=memory.now,
            goal=inputs.goal,
            began=now,
            rested=memory.rested,
            command=memory.command,
            way=memory.way,
        )
    elif back > 0 and inputs.goal is not None and memory.outcome is None:
        told = f"The clock jumped back by {back:.3f} s: ids and places mean nothing any more."
        memory = replace(memory, outcome=Outcome.RESET, outcome_reason=told)
    seconds = min(max(now - memory.now, 0.0), _LONGEST_TICK)
    odometry = inputs.odometry
    pose = Pose() if odometry is None else odometry.pose
    limits = _limits(memory.sight.image_rate, settings)
    tick = Tick(now, seconds, inputs, pose, settings, limits)
    memory = _take_in(replace(memory, now=now, goal=inputs.goal), tick)
    memory, step = _choose(memory, tick)
    return _conclude(memory, step, tick)


def _begins_anew(goal: Goal | None, previous: Goal | None) -> bool:
    if goal is None or previous is None:
        return goal is not previous
    return goal.goal_id != previous.goal_id


def _limits(image_rate: float, settings: FollowerSettings) -> MotionLimits:
    """The limits, with a turning speed at which three images show what passes through the view."""
    if image_rate == 0.0:
        return settings.limits
    angular = min(settings.limits.angular, settings.field_of_view * image_rate / 3)
    return replace(settings.limits, angular=max(angular, 0.01))


def _take_in(memory: Memory, tick: Tick) -> Memory:
    """Note the way that was driven, and the observation."""
    odometry, observation = tick.inputs.odometry, tick.inputs.observation
    way = memory.way.on(tick.now, odometry, memory.command.linear, tick.seconds)
    memory = replace(memory, way=way)
    goal = memory.goal
    if observation is None or goal is None or memory.outcome is not None:
        return memory
    settings = tick.settings
    sight = note_observation(
        memory.sight,
        observation,
        tick.now,
        tick.pose,
        settings.field_of_view,
        goal.on_switch,
        settings.sight,
        settings.motion,
    )
    return replace(memory, sight=sight)


def _choose(memory: Memory, tick: Tick) -> tuple[Memory, Step]:
    """The state, by the first rule that applies."""
    goal, sight = memory.goal, memory.sight
    halted = _halted(memory, tick)
    if halted is not None:
        return replace(memory, search=None, driving=False, holding_since=None), halted
    assert goal is not None
    if sight.track_id == 0:
        return _look(memory, goal, tick)
    age = tick.now - (sight.seen or 0.0)
    if sight.visible and age <= tick.settings.sight.max_age:
        return pursue(_end_search(memory, tick.settings), goal, tick)
    memory = replace(memory, holding_since=None, driving=False)
    return _miss(memory, age, tick)


def _halted(memory: Memory, tick: Tick) -> Step | None:
    """Why the robot stands whatever it sees; None where nothing holds it."""
    goal, sight, inputs = memory.goal, memory.sight, tick.inputs
    if goal is None:
        return Step(FollowState.IDLE, "There is no goal.", at_once=True)
    if memory.outcome is not None:
        return Step(FollowState.ENDED, memory.outcome_reason, at_once=True)
    elapsed = tick.now - memory.began
    ends = [
        (
            0 < goal.max_duration <= elapsed,
            Outcome.TIMEOUT,
            f"The goal's {goal.max_duration:g} s are over.",
        ),
        (sight.was_reset, Outcome.RESET, f"{sight.complaint} Earlier ids mean nothing any more."),
        (_is_gone_over(sight, tick), Outcome.SWITCHED, sight.complaint),
    ]
    for applies, outcome, reason in ends:
        if applies:
            return Step(FollowState.ENDED, reason, at_once=True, outcome=outcome)
    if not inputs.enabled:
        return Step(FollowState.DISABLED, "The dead-man switch is not held.", at_once=True)
    if inputs.paused:
        return Step(FollowState.PAUSED, "It was told to wait.", at_once=True)
    if inputs.odometry is None:
        return Step(FollowState.FAULTY, "No odometry has come yet.", at_once=True)
    age = tick.now - inputs.odometry.stamp
    if abs(age) > tick.settings.odometry_age:
        return Step(FollowState.FAULTY, f"The newest odometry is {age:.3f} s old.", at_once=True)
    return None


def _is_gone_over(sight: Sight, tick: Tick) -> bool:
    """Whether the sentence means another object, elsewhere, for too long."""
    if sight.switch is None or sight.switch.same_place:
        return False
    return tick.now - sight.switch.began > tick.settings.switch_patience


def _look(memory: Memory, goal: Goal, tick: Tick) -> tuple[Memory, Step]:
    """Nothing is bound yet: stand still, or turn where that was asked for."""
    silent = _silence(memory, tick)
    if silent is not None:
        return memory, silent
    if goal.mode is not Mode.FIND or memory.sight.candidate is not None:
        told = memory.sight.complaint or "Waiting for the first image."
        return memory, Step(FollowState.LOOKING, told)
    search = memory.search or Search(1.0, tick.pose.yaw, one_way=True)
    return _turn_around(
        memory, search, tick, Outcome.NOT_FOUND, "It was found nowhere around the robot."
    )


def _turn_around(
    memory: Memory, search: Search, tick: Tick, outcome: Outcome, told: str
) -> tuple[Memory, Step]:
    settings = tick.settings
    search = advance_search(search, tick.pose.yaw, tick.seconds)
    rate = memory.sight.image_rate
    speed = search_speed(search, settings.field_of_view, rate, settings.search)
    memory = replace(memory, search=search)
    if speed is None:
        return memory, Step(FollowState.ENDED, told, at_once=True, outcome=outcome)
    reason = f"{memory.sight.complaint} Looking around, {math.degrees(search.turned):.0f}° so far."
    return memory, Step(FollowState.SEARCHING, reason, Velocity(0.0, speed))


def _end_search(memory: Memory, settings: FollowerSettings) -> Memory:
    """The target is in sight again; after long enough the next search may be as long again."""
    sight, search, spent = memory.sight, memory.search, memory.spent
    if (sight.seen or 0.0) - (sight.seen_since or 0.0) >= settings.search.refill:
        spent = (0.0, 0.0)
    elif search is not None:
        spent = (spent[0] + search.turned, spent[1] + search.seconds)
    return replace(memory, search=None, spent=spent)


def _silence(memory: Memory, tick: Tick) -> Step | None:
    """That images are too old to be moved by; None where they are not."""
    image, most = memory.sight.image, tick.settings.sight.max_age
    if image is None:
        waited = tick.now - memory.began
        told = f"No image has been judged for {waited:.1f} s. {memory.sight.complaint}"
        return Step(FollowState.FAULTY, told) if waited > most else None
    silent = tick.now - image
    if silent <= most:
        return None
    told = f"The newest image is {silent:.2f} s old, {most:g} s are allowed: camera or model are "
    told += f"silent or too slow. {memory.sight.complaint}"
    return Step(FollowState.FAULTY, told.strip())


def _miss(memory: Memory, age: float, tick: Tick) -> tuple[Memory, Step]:
    """The target is not seen: brake, wait where it vanished, then look around."""
    settings, sight = tick.settings, memory.sight
    told = f"Not seen for {age:.1f} s. {sight.complaint}"
    silent = _silence(memory, tick)
    if silent is not None:
        return memory, silent
    if sight.switch is not None:
        return memory, Step(FollowState.SWITCHED, sight.complaint)
    target = relative(memory, tick)
    turning = STANDSTILL
    if target is not None:
        turning = Velocity(0.0, turning_speed(target, 0.0, settings.control, tick.limits))
    if age <= settings.coast:
        return memory, Step(FollowState.COASTING, told, turning)
    patience = _patience(sight, settings)
    if memory.search is None and age <= patience:
        return memory, Step(FollowState.WAITING, told, turning)
    if settings.search.total_angle == 0.0:
        told = f"Lost: {told}"
        return memory, Step(FollowState.ENDED, told, at_once=True, outcome=Outcome.LOST)
    if age <= settings.sight.max_age:
        return memory, Step(FollowState.COASTING, told, turning)
    side = sight.side or _side_of_motion(target)
    search = memory.search or Search(side, tick.pose.yaw, spent=memory.spent)
    return _turn_around(memory, search, tick, Outcome.LOST, f"Lost: {told}")


def _patience(sight: Sight, settings: FollowerSettings) -> float:
    """Seconds for which a target that is not seen is waited for, facing its place."""
    search = settings.search
    if search.total_angle == 0.0:
        return search.duration
    if sight.place in (PlaceEvidence.HIDDEN, PlaceEvidence.PRESENT):
        return max(search.occupied_patience, search.patience)
    left = sight.side != 0.0 or sight.place is PlaceEvidence.EMPTY
    return settings.coast if left else search.patience


def _side_of_motion(target: RelativeTarget | None) -> float:
    """Where a target went that vanished within the view: +1 left, -1 right."""
    if target is None:
        return 1.0
    moves = abs(target.crossing) > STILL_SPEED
    return 1.0 if (target.crossing if moves else target.bearing) >= 0 else -1.0


def _conclude(memory: Memory, step: Step, tick: Tick) -> tuple[Memory, Decision]:
    """Limit the change of speed, note how the goal ended, say everything."""
    settings = tick.settings
    command = step.wanted
    if not step.at_once:
        command = limited(memory.command, step.wanted, tick.seconds, tick.limits)
    if not math.isfinite(command.linear + command.angular):
        command, told = STANDSTILL, "The velocity that was worked out is not a number."
        step = Step(FollowState.FAULTY, told, at_once=True)
    outcome = step.outcome or memory.outcome
    reason = memory.outcome_reason if step.outcome is None else step.reason
    rests = step.state in (
        FollowState.IDLE, FollowState.ENDED, FollowState.PAUSED, FollowState.DISABLED,
    )  # fmt: skip
    rested = None
    if rests:
        # Summed over ticks, which count 0.2 s at most: the first zero goes out however late it is.
        rested = 0.0 if memory.rested is None else memory.rested + tick.seconds
    publish = rested is None or rested <= settings.zeros
    memory = replace(memory, command=command, outcome=outcome, outcome_reason=reason, rested=rested)
    target, sight = relative(memory, tick), memory.sight
    track = None
    if sight.track is not None:
        until = min(tick.now, sight.track.stamp + settings.horizon)
        track = predict(sight.track, until, settings.motion)
    bearing = None if target is None else target.bearing
    if target is None and sight.bearing is not None:
        bearing = wrap_angle(sight.bearing - tick.pose.yaw)
    return memory, Decision(
        command,
        publish=publish,
        state=step.state,
        reason=step.reason,
        outcome=outcome,
        track_id=sight.track_id,
        distance=None if target is None else target.distance,
        bearing=bearing,
        position=None if track is None else track.position,
        velocity=None if track is None else track.velocity,
        age=None if sight.seen is None else tick.now - sight.seen,
        blind_distance=blind_distance(memory),
        elapsed=0.0 if memory.goal is None else tick.now - memory.began,
    )


class Follower:
    """A follower that remembers for itself between the ticks of a timer. Not thread-safe."""

    def __init__(self, settings: FollowerSettings | None = None) -> None:
        self.settings = settings or FollowerSettings()
        self.memory = Memory()

    def step(self, now: float, inputs: Inputs) -> Decision:
        """The decision at this moment."""
        self.memory, decision = advance(self.memory, now, inputs, self.settings)
        return decision
