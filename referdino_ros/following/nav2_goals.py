# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The action of Nav2's following server, served by a follower where nav2_msgs is installed."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import PoseStamped
from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node

from referdino_core.errors import ReferDINOError
from referdino_core.following import Decision, FollowState, Mode, Outcome
from referdino_ros.following.conversions import seconds_of, time_fields
from referdino_ros.following.follow_messages import observation_from_pose
from referdino_ros.following.follower_control import Ending, FollowerControl, run_goal
from referdino_ros.following.goals import Task

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


class Nav2Goals:
    """The action `follow_object`: poses from a topic of the goal's choice are followed.

    Goals with a `tracked_frame` in its place are refused with TF_ERROR.
    """

    def __init__(
        self,
        node: Node,
        control: FollowerControl,
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
        self._node, self._control, self._begin, self._group = node, control, begin, group
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
        if not request.pose_topic:
            handle.abort()
            code = TF_ERROR if request.tracked_frame else GOAL_REJECTED
            return self._result(code, "Give a pose_topic; frames are not followed here.", began)
        task = Task(Mode.FOLLOW, pose_topic=request.pose_topic)

        def take(message: PoseStamped) -> None:
            if self._control.task is task:
                self._control.take_observation(observation_from_pose(message))

        poses = self._node.create_subscription(
            PoseStamped, request.pose_topic, take, 1, callback_group=self._group
        )
        try:
            most = seconds_of(request.max_duration)
            ending = run_goal(
                handle,
                self._control,
                lambda on_end: self._begin(task, on_end, most=most),
                self._feedback,
            )
        except ReferDINOError as error:
            handle.abort()
            return self._result(GOAL_REJECTED, str(error), began)
        finally:
            self._node.destroy_subscription(poses)
        return self._result_of(ending, began)

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
