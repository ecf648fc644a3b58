# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""One follower and its goals, one at a time; knows messages by their fields, but no node."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from referdino_core.errors import ReferDINOError
from referdino_core.following import (
    Decision,
    Follower,
    FollowerSettings,
    Goal,
    Inputs,
    Memory,
    Observation,
    Odometry,
    Outcome,
)
from referdino_core.sentences import plain
from referdino_ros.following.conversions import observation_from_located
from referdino_ros.following.goals import Task

_MAX_QUEUE = 5
_FEEDBACK_PERIOD = 0.1
"""Seconds between two messages of feedback."""


@dataclass(frozen=True)
class Ending:
    """How a goal ended: no outcome where it was cancelled or replaced."""

    outcome: Outcome | None
    reason: str
    decision: Decision | None


@dataclass(frozen=True)
class _Running:
    goal: Goal
    task: Task
    on_end: Callable[[Ending], None]


class FollowerControl:
    """A follower with its inputs; every method may be called from any thread.

    Attributes:
        decision: the newest; None before the first.
        is_open: whether goals may still run.
        is_armed: whether goals may begin.
    """

    def __init__(self, settings: FollowerSettings, enable_timeout: float | None) -> None:
        """Make one that stands still.

        Args:
            enable_timeout: seconds for which `enable` holds; None without a dead-man switch.
        """
        self._lock = threading.RLock()
        self._follower = Follower(settings)
        self._enable_timeout = enable_timeout
        self._enabled_until = -math.inf
        self._goal: Goal | None = None
        self._running: _Running | None = None
        self._count = 0
        self._paused = False
        self._odometry: Odometry | None = None
        self._observations: deque[Observation] = deque(maxlen=_MAX_QUEUE)
        self.decision: Decision | None = None
        self.is_open = True
        self.is_armed = False

    @property
    def settings(self) -> FollowerSettings:
        """The follower's settings; may be replaced at any time."""
        return self._follower.settings

    @settings.setter
    def settings(self, settings: FollowerSettings) -> None:
        with self._lock:
            self._follower.settings = settings

    @property
    def task(self) -> Task | None:
        """What is being done; None without a goal."""
        running = self._running
        return None if running is None else running.task

    def arm(self) -> None:
        """Let goals begin; what was sent to end an earlier one does not go on."""
        with self._lock:
            self._follower.memory = Memory()
            self.is_armed = True

    def disarm(self, reason: str) -> None:
        """End the goal, and let no other begin."""
        with self._lock:
            self.is_armed = False
            self.end(reason)

    def begin(self, task: Task, on_end: Callable[[Ending], None], **goal: Any) -> None:
        """Begin a goal in place of an earlier one.

        Args:
            on_end: called once, from any thread.
            goal: fields of `Goal` beside its id and mode.

        Raises:
            ReferDINOError: a field is out of its range, and the earlier goal goes on; or no goal
                may begin.
        """
        with self._lock:
            if not self.is_armed:
                raise ReferDINOError("The follower is not active.")
            self._count += 1
            begun = Goal(str(self._count), task.mode, **goal)
            self.end("Another goal took its place.")
            self._goal, self._paused = begun, False
            self._running = _Running(begun, task, on_end)
            self._observations.clear()

    def end(self, reason: str, task: Task | None = None) -> None:
        """End the goal, if there is one: the robot stands at once.

        Args:
            task: the goal ends if this very task is its own; None for any.
        """
        with self._lock:
            running = self._running
            if running is None or (task is not None and task is not running.task):
                return
            self._running = self._goal = None
            running.on_end(Ending(None, reason, self.decision))

    def close(self, reason: str) -> None:
        """End the goal, and with it whatever waits for its end."""
        self.is_open = False
        self.disarm(reason)

    def pause(self, paused: bool) -> None:
        """Stand still, or go on, with the same target."""
        with self._lock:
            self._paused = paused

    def enable(self, held: bool, now: float) -> None:
        """The dead-man switch is held, or was let go; now: seconds of a steady clock."""
        with self._lock:
            holds = held and self._enable_timeout is not None
            self._enabled_until = now + (self._enable_timeout or 0.0) if holds else -math.inf

    def take_odometry(self, odometry: Odometry) -> None:
        """Take odometry in."""
        with self._lock:
            self._odometry = odometry

    def take_observation(self, observation: Observation) -> None:
        """Take in an observation that is the goal's."""
        with self._lock:
            self._observations.append(observation)

    def take_targets(self, message: Any) -> None:
        """Take in a `referdino/LocatedTargetArray`.

        Raises:
            ReferDINOError: it holds a number that is not finite.
        """
        with self._lock:
            running = self._running
            if running is None:
                return
            own = [entry for entry in message.targets if _is_meant(entry, running.task)]
            bound = self._follower.memory.sight.track_id
            own.sort(key=lambda entry: entry.track_id != bound)
            if not own:
                return
            self._observations.append(observation_from_located(own[0], message))

    def tick(self, now: float, steady: float) -> Decision:
        """The decision at this moment.

        Args:
            now: seconds of the clock that stamps images and odometry.
            steady: seconds of a steady clock.
        """
        with self._lock:
            observation = self._observations.popleft() if self._observations else None
            inputs = Inputs(
                self._goal,
                observation,
                self._odometry,
                self._enable_timeout is None or steady <= self._enabled_until,
                self._paused,
            )
            self.decision = decision = self._follower.step(now, inputs)
            running = self._running
            if decision.outcome is not None and running is not None:
                self._running = None
                running.on_end(Ending(decision.outcome, decision.reason, decision))
            return decision


def _is_meant(entry: Any, task: Task) -> bool:
    """Whether a `referdino/LocatedTarget` answers the task's command."""
    if task.command_id:
        return bool(entry.command_id == task.command_id)
    if task.place_source:
        return False
    return plain(entry.command) == plain(task.sentence)


def run_goal(
    handle: Any,
    control: FollowerControl,
    task: Task,
    begin: Callable[[Callable[[Ending], None]], None],
    feedback: Callable[[Decision], Any],
) -> Ending:
    """Begin a goal, publish its feedback, wait for its end, and set its terminal state.

    It blocks: it is for an execute callback in a thread of its own.

    Args:
        handle: the `ServerGoalHandle`.
        task: of the goal.
        begin: begins the goal; gets what is to be called at its end.
        feedback: the action's feedback of a decision.

    Raises:
        ReferDINOError: the goal cannot begin; its state is still to be set.
    """
    over = threading.Event()
    endings: list[Ending] = []

    def on_end(ending: Ending) -> None:
        endings.append(ending)
        over.set()

    begin(on_end)
    while not over.wait(_FEEDBACK_PERIOD):
        if handle.is_cancel_requested:
            control.end("The goal was cancelled.", task)
        elif control.decision is not None:
            handle.publish_feedback(feedback(control.decision))
        if not control.is_open:
            break
    ending = endings[0] if endings else Ending(None, "The node ended.", None)
    if handle.is_cancel_requested:
        handle.canceled()
    elif ending.outcome is not None and ending.outcome.is_success:
        handle.succeed()
    else:
        handle.abort()
    return ending
