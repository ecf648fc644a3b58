# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""One episode with one follower, step-locked: the simulation waits for every result.

In real time it waits, too, but lets pass what the result has taken: this computer's speed counts.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from referdino_core.follow_evaluation.contestants import Contestant, Seen
from referdino_core.follow_evaluation.perception import VISIBLE_PIXELS, Perception
from referdino_core.following import Velocity
from referdino_core.following.geometry import Pose, wrap_angle
from referdino_core.simulation import Frame, Simulation
from referdino_core.simulation.simulator import STEP
from referdino_core.target import Target

DISTANCE_TOLERANCE = 0.15
"""Metres from the asked distance that count as reached."""
BEARING_TOLERANCE = math.radians(10)
"""Radians from straight ahead that count as facing."""
HOLD = 2.0
"""Seconds for which both must hold."""
STILL_WAY, STILL_TURN = 0.05, math.radians(5)
"""What a robot that stands still may move, in metres and radians."""


@dataclass(frozen=True)
class Timing:
    """When things happen.

    image_period: seconds between images. latency: from an image to what came of it. real_time:
    whether the time that perception takes on this computer comes on top of the latency; the images
    that are taken meanwhile are left out.
    """

    image_period: float = 0.1
    latency: float = 0.1
    real_time: bool = False


@dataclass(frozen=True)
class EpisodeResult:
    """How an episode went.

    Attributes:
        split, index, sentence, follower: which one.
        success: the right object at its distance, faced, held, and nothing touched; in the split
            absent: stood still.
        wrong_object: drove more by a mask of something else than by one of the target.
        collisions: things that were run into.
        seconds: until success, or the end.
        path_ratio: way driven, by the straight distance between start and end; 1 is straight.
        in_view: fraction of the images that show the target.
        found: fraction of those in which it was perceived.
        blind: metres, longest way driven since the newest image in which anything was perceived.
        distance_error, bearing: at the end, metres and degrees.
        way, turn: driven and turned in all, metres and degrees.
        said: what the follower said at the end.
    """

    split: str
    index: int
    sentence: str
    follower: str
    success: bool
    wrong_object: bool
    collisions: int
    seconds: float
    path_ratio: float
    in_view: float
    found: float
    blind: float
    distance_error: float
    bearing: float
    way: float
    turn: float
    said: str


@dataclass
class _Tally:
    """What is counted while an episode runs."""

    images: int = 0
    in_view: int = 0
    found: int = 0
    way_right: float = 0.0
    way_wrong: float = 0.0
    way_seen: float = 0.0
    shows: int = 0
    blind: float = 0.0
    turn: float = 0.0
    reached_since: float | None = None
    delivered: deque[tuple[float, Seen, float]] = field(default_factory=deque)


@dataclass(frozen=True, eq=False)
class Moment:
    """What a recorder gets at every image."""

    frame: Frame
    target: Target
    command: Velocity
    said: str


def run_episode(
    simulation: Simulation,
    sentence: str,
    perception: Perception,
    follower: Contestant,
    timing: Timing | None = None,
    record: Callable[[Moment], None] | None = None,
) -> EpisodeResult:
    """Run an episode to its end."""
    timing = timing or Timing()
    episode = simulation.episode
    radius = 0.2 if episode.target is None else _radius(simulation, episode.target)
    perception.begin(sentence, episode.target)
    follower.begin(episode.distance, radius, simulation.intrinsics)
    tally, command = _Tally(), Velocity()
    next_image = next_command = 0.0
    while simulation.elapsed < episode.duration - 1e-9:
        elapsed = simulation.elapsed
        if elapsed >= next_image - 1e-9:
            frame = simulation.frame(perception.needs_colour or record is not None)
            began = time.perf_counter()
            target = perception.find(frame)
            taken = time.perf_counter() - began if timing.real_time else 0.0
            next_image += timing.image_period * max(1, math.ceil(taken / timing.image_period))
            seen = Seen(frame, target, simulation.intrinsics, simulation.odometry.pose)
            due = elapsed + timing.latency + taken
            tally.delivered.append((due, seen, simulation.drive.way))
            _count_image(tally, seen, episode.target)
            if record is not None:
                record(Moment(frame, target, command, follower.says() if elapsed > 0 else ""))
        while tally.delivered and tally.delivered[0][0] <= elapsed + 1e-9:
            _, seen, way = tally.delivered.popleft()
            follower.see(simulation.now, seen)
            _note_sight(tally, seen, way, episode.target)
        if elapsed >= next_command - 1e-9:
            next_command += follower.period
            decided = follower.steer(simulation.now, simulation.odometry)
            if decided is not None:
                command = decided
                simulation.command(decided)
        _advance(simulation, tally)
        if _is_done(simulation, tally):
            break
    return _result(simulation, sentence, follower, tally)


def _radius(simulation: Simulation, slot: int) -> float:
    """Metres from a body's centre to its surface along the floor, towards the start."""
    centre, start = simulation.episode.centres(0.0)[slot], simulation.episode.start
    reach = math.hypot(centre[0] - start.x, centre[1] - start.y)
    return reach - simulation.truth(slot).distance


def _count_image(tally: _Tally, seen: Seen, target: int | None) -> None:
    tally.images += 1
    if target is None:
        return
    truth = seen.frame.labels == target + 1
    if truth.sum() < VISIBLE_PIXELS:
        return
    tally.in_view += 1
    tally.found += bool((truth & seen.target.mask).sum() > 0.5 * seen.target.mask.sum() > 0)


def _note_sight(tally: _Tally, seen: Seen, way: float, target: int | None) -> None:
    """Note which body the newest mask shows, and the way driven when its image was taken."""
    mask = seen.target.mask
    if not mask.any():
        return
    tally.way_seen = way
    counts = np.bincount(seen.frame.labels[mask])
    shown = int(counts.argmax()) if counts.max() > 0.5 * mask.sum() else 0
    tally.shows = 1 if target is not None and shown == target + 1 else -1


def _advance(simulation: Simulation, tally: _Tally) -> None:
    drive = simulation.drive
    way, yaw = drive.way, drive.pose.yaw
    simulation.advance(STEP)
    driven = drive.way - way
    tally.turn += abs(wrap_angle(drive.pose.yaw - yaw))
    tally.blind = max(tally.blind, drive.way - tally.way_seen)
    if tally.shows > 0:
        tally.way_right += driven
    elif tally.shows < 0:
        tally.way_wrong += driven


def _is_done(simulation: Simulation, tally: _Tally) -> bool:
    """Whether the target is reached, and was for long enough after everything has happened."""
    target = simulation.episode.target
    if target is None:
        return False
    truth = simulation.truth(target)
    near = abs(truth.distance - simulation.episode.distance) <= DISTANCE_TOLERANCE
    if not near or abs(truth.bearing) > BEARING_TOLERANCE:
        tally.reached_since = None
        return False
    now = simulation.elapsed
    if tally.reached_since is None:
        tally.reached_since = now
    return now - max(tally.reached_since, simulation.episode.event[1]) >= HOLD


def _result(
    simulation: Simulation, sentence: str, follower: Contestant, tally: _Tally
) -> EpisodeResult:
    episode, drive = simulation.episode, simulation.drive
    wrong = tally.way_wrong > max(tally.way_right, STILL_WAY)
    distance_error = bearing = 0.0
    if episode.target is None:
        success = drive.way <= STILL_WAY and tally.turn <= STILL_TURN
    else:
        success = _is_done(simulation, tally) and not wrong and not simulation.collisions
        truth = simulation.truth(episode.target)
        distance_error = truth.distance - episode.distance
        bearing = math.degrees(truth.bearing)
    straight = _straight(episode.start, drive.pose)
    return EpisodeResult(
        episode.split,
        episode.index,
        sentence,
        follower.name,
        bool(success),
        bool(wrong),
        len(simulation.collisions),
        simulation.elapsed,
        drive.way / straight if straight > STILL_WAY else 1.0,
        tally.in_view / max(tally.images, 1),
        tally.found / max(tally.in_view, 1),
        tally.blind,
        distance_error,
        bearing,
        drive.way,
        math.degrees(tally.turn),
        follower.says(),
    )


def _straight(start: Pose, end: Pose) -> float:
    return math.hypot(end.x - start.x, end.y - start.y)
