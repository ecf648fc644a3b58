# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The action of Nav2's following server, served by a follower where nav2_msgs is installed."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import PoseStamped
from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup

from referdino_core.errors import ReferDINOError
from referdino_core.following import Decision, FollowState, Mode, Outcome
from referdino_ros.following.conversions import seconds_of, time_fields
from referdino_ros.following.follower_control import Ending, FollowerControl, run_goal
from referdino_ros.following.goals import Task
from referdino_ros.following.poses import FrameSights, TargetPoses
from referdino_ros.managed_node import ManagedNode

NONE, GOAL_REJECTED, TF_ERROR, FAILED_TO_DETECT, FAILED_TO_CONTROL, TIMEOUT = (
    *(0, 1),
    *(901, 902, 903, 904),
)
"""Error codes of `nav2_msgs/action/FollowObject`."""
_CODES = {
    None: NONE,
    Outcome.LOST: FAILED_TO_DETECT,
    Outcome.NOT_FOUND: FAILED_TO_DETECT,
    Outcome.TIMEOUT: TIMEOUT,
    Outcome.RESET: FAILED_TO_CONTROL,
}
_INITIAL_PERCEPTION, _CONTROLLING, _STOPPING, _RETRY = 1, 2, 3, 4
_STATES = {
    FollowState.LOOKING: _INITIAL_PERCEPTION,
    FollowState.HOLDING: _STOPPING,
    FollowState.WAITING: _RETRY,
    FollowState.SEARCHING: _RETRY,
}
_FRAME_PERIOD = 0.05
_FRAME_PATIENCE = 5.0
"""Seconds for which a frame that TF does not know is waited for."""


class Nav2Goals:
    """The action `follow_object`: poses from a topic, or a frame of TF, are followed.

    Where a goal names both, the topic holds, as in Nav2's own server.
    """

    def __init__(
        self,
        node: ManagedNode,
        control: FollowerControl,
        poses: TargetPoses,
        begin: Callable[..., None],
        accept: Callable[[Any], Any],
        group: CallbackGroup,
    ) -> None:
        """Serve the action.

        Args:
            begin: begins a task of the node: the task, what is called at its end, the longest time.
            accept: the node's goal callback.

        Raises:
            ImportError: nav2_msgs, or this action of it, is not installed.
        """
        actions = importlib.import_module("nav2_msgs.action")
        try:
            self._action = actions.FollowObject
        except AttributeError:
            raise ImportError("this nav2_msgs has no FollowObject") from None
        self._node, self._control, self._poses = node, control, poses
        self._begin, self._group = begin, group
        self._looking = MutuallyExclusiveCallbackGroup()
        self._server = ActionServer(
            node,
            self._action,
            "follow_object",
            execute_callback=self._execute,
            callback_group=group,
            goal_callback=accept,
            cancel_callback=lambda handle: CancelResponse.ACCEPT,
        )

    def close(self) -> None:
        """Serve it no longer."""
        self._server.destroy()

    def _execute(self, handle: Any) -> Any:
        request, began = handle.request, time.monotonic()
        source = request.pose_topic or request.tracked_frame
        if not source:
            handle.abort()
            return self._result(GOAL_REJECTED, "Give a pose_topic or a tracked_frame.", began)
        task = Task(Mode.FOLLOW, place_source=source)
        sights = None if request.pose_topic else FrameSights(self._poses, request.tracked_frame)
        try:
            with self._poses_of(task) if sights is None else self._frame_of(task, sights):
                ending = run_goal(
                    handle,
                    self._control,
                    task,
                    lambda on_end: self._begin(task, on_end, most=seconds_of(request.max_duration)),
                    self._feedback,
                )
        except ReferDINOError as error:
            handle.abort()
            return self._result(GOAL_REJECTED, str(error), began)
        if sights is not None and ending.reason == sights.complaint:
            return self._result(TF_ERROR, sights.complaint, began)
        return self._result_of(ending, began)

    @contextlib.contextmanager
    def _poses_of(self, task: Task) -> Iterator[None]:
        """The task's places come from the topic that it names."""

        def take(message: PoseStamped) -> None:
            found = self._poses.from_pose(message)
            if isinstance(found, str):
                self._node.errors.report("pose", found)
            elif self._control.task is task:
                self._control.take_observation(found)

        subscription = self._node.create_subscription(
            PoseStamped, task.place_source, take, 1, callback_group=self._group
        )
        try:
            yield
        finally:
            self._node.destroy_subscription(subscription)

    @contextlib.contextmanager
    def _frame_of(self, task: Task, sights: FrameSights) -> Iterator[None]:
        """The task's places are those of a frame; one that TF does not know ends the goal."""
        began = time.monotonic()

        def look() -> None:
            if self._control.task is not task:
                return
            found = sights.next(self._node.get_clock().now().nanoseconds * 1e-9)
            if found is not None:
                self._control.take_observation(found)
            elif sights.complaint:
                self._node.errors.report("frame", sights.complaint)
                if not sights.came and time.monotonic() - began > _FRAME_PATIENCE:
                    self._control.end(sights.complaint, task)

        timer = self._node.create_timer(
            _FRAME_PERIOD, look, callback_group=self._looking, clock=self._node.steady_clock
        )
        try:
            yield
        finally:
            self._node.destroy_timer(timer)

    def _feedback(self, decision: Decision) -> Any:
        feedback = self._action.Feedback()
        feedback.state = _STATES.get(decision.state, _CONTROLLING)
        feedback.following_time = Duration(**time_fields(decision.elapsed))
        return feedback

    def _result_of(self, ending: Ending, began: float) -> Any:
        code = _CODES.get(ending.outcome, FAILED_TO_CONTROL)
        return self._result(code, ending.reason, began)

    def _result(self, code: int, reason: str, began: float) -> Any:
        result = self._action.Result()
        result.error_code, result.error_msg = code, reason
        result.total_elapsed_time = Duration(**time_fields(time.monotonic() - began))
        return result
