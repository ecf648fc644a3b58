# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node `follower`: places of objects in, velocities and their reasons out."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from typing import Any

import rclpy
import rclpy.exceptions
import rclpy.logging
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry as OdometryMessage
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from referdino.action import Follow
from referdino.msg import FollowStatus, LocatedTargetArray
from std_msgs.msg import Bool, String

from referdino_core.errors import ReferDINOError
from referdino_core.following import (
    STANDSTILL,
    Decision,
    FollowState,
    Intent,
    NotUnderstood,
    OnSwitch,
    parse,
)
from referdino_ros.following.conversions import odometry_from_message, seconds_of
from referdino_ros.following.follow_messages import (
    diagnostics,
    result,
    status,
)
from referdino_ros.following.follower_control import FollowerControl, run_goal
from referdino_ros.following.following_parameters import FollowerParameters
from referdino_ros.following.goals import MODES, Task, task_of_goal
from referdino_ros.following.nav2_goals import Nav2Goals
from referdino_ros.following.poses import TargetPoses
from referdino_ros.following.velocity_output import VelocityOutput
from referdino_ros.managed_node import ManagedNode, reporting_faults
from referdino_ros.process import THREADS, spin_until_shutdown, start_node, use_few_arenas

_PERIOD = 0.05
_FROZEN = 0.5
"""Seconds of a steady clock after which a standing node clock stops the robot."""
_CLOCK_STANDS = "The clock stands still: is /clock published?"
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class FollowerNode(ManagedNode):
    """Lifecycle node that moves a base towards what a sentence means, and says why it stands.

    Goals come by the action `~/follow` or as instructions on `~/instruction`; one at a time, the
    newest wins. Places come on `targets`; where the parameter `source` is "pose", as poses from
    anything else on `target_pose`.

    Raises:
        ReferDINOError: a parameter has an invalid value.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("follower", **node_options)
        self._control: FollowerControl | None = None
        self._settings = FollowerParameters(
            self, lambda: self.lifecycle_label == "unconfigured", self._apply_settings
        )
        self._output: VelocityOutput | None = None
        self._poses = TargetPoses(self)
        self._timer: Any = None
        self._control_group = MutuallyExclusiveCallbackGroup()
        self._now, self._advanced, self._busy = 0.0, time.monotonic(), -math.inf
        self._told = ""
        self._state: Any = None
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(1.0, self._every_second, clock=self.steady_clock)
        if self._settings["autostart"]:
            self.start_soon()

    # ---- Lifecycle ------------------------------------------------------------------------

    @reporting_faults
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open topics and the action."""
        values = self._settings
        timeout = values["enable_timeout"] if values["require_enable"] else None
        self._control = FollowerControl(values.follower_settings, timeout)
        self._output = VelocityOutput(self, "cmd_vel", values["stamped"], values["base_frame"])
        self.held.callback(self._output.close)
        self.held.callback(self._poses.close)
        self._command = self.held_publisher(String, "command", _LATCHED)
        self._heard = self.held_publisher(String, "~/heard", 10)
        self._state = self.held_publisher(String, "~/state", _LATCHED)
        self._status = self.held_publisher(FollowStatus, "~/status", 10)
        sensor = qos_profile_sensor_data
        if values["source"] == "pose":
            self._subscribe(PoseStamped, "target_pose", self._take_pose, 1)
        else:
            self._subscribe(LocatedTargetArray, "targets", self._take_targets, 10)
        self._subscribe(OdometryMessage, "odom", self._take_odometry, sensor)
        self._subscribe(Bool, "enable", self._take_enable, 10)
        self._subscribe(String, "~/instruction", self._take_instruction, 10)
        self._serve_actions(self._control)
        self._told = ""
        return super().on_configure(state)

    def _serve_actions(self, control: FollowerControl) -> None:
        group = ReentrantCallbackGroup()
        server = ActionServer(
            self,
            Follow,
            "~/follow",
            execute_callback=self._execute,
            callback_group=group,
            goal_callback=self._accept_goal,
            cancel_callback=lambda handle: CancelResponse.ACCEPT,
        )
        self.held.callback(server.destroy)
        with contextlib.suppress(ImportError):
            nav2 = Nav2Goals(self, control, self._poses, self._begin, self._accept_goal, group)
            self.held.callback(nav2.close)

    @reporting_faults
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the control loop; nothing moves without a goal."""
        outcome = super().on_activate(state)
        assert self._control is not None, "configuring made it"
        self._control.arm()
        self._timer = self.create_timer(
            _PERIOD, self._tick, callback_group=self._control_group, clock=self.steady_clock
        )
        return outcome

    @reporting_faults
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the goal, and send zero for half a second."""
        self.halt("The node was deactivated.")
        return super().on_deactivate(state)

    @reporting_faults
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the robot and close everything, from any state."""
        self.halt("The node was shut down.")
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the robot and close everything after a transition that raised."""
        self.halt("A transition failed.")
        return super().on_error(state)

    def close(self) -> None:
        """Stop the robot and close everything at the end of the process."""
        self.halt("The node ends.")
        super().close()

    def halt(self, reason: str) -> None:
        """Stop the control loop, end the goal, and send zero for half a second."""
        if self._timer is not None:
            self.destroy_timer(self._timer)
            self._timer = None
        if self._control is not None:
            self._control.disarm(reason)
            if self.context.ok():
                self._tell(f"{FollowState.IDLE.value}: {reason}")
        if self._output is not None:
            for _ in range(math.ceil(self._settings["zeros"] / _PERIOD)):
                if not self.context.ok():
                    return
                self._output.send(STANDSTILL)
                time.sleep(_PERIOD)

    def release(self) -> None:
        """Close topics and the action."""
        try:
            if self._control is not None:
                self._control.close("The node was cleaned up.")
        finally:
            super().release()
            self._control = self._output = self._state = None

    def _apply_settings(self) -> None:
        if self._control is not None:
            self._control.settings = self._settings.follower_settings

    def _subscribe(self, kind: Any, topic: str, callback: Any, qos: Any) -> None:
        self.held_subscription(kind, topic, callback, qos, callback_group=self._control_group)

    # ---- Inputs -----------------------------------------------------------------------------

    def _take_targets(self, message: LocatedTargetArray) -> None:
        if self._control is not None:
            try:
                self._control.take_targets(message)
            except ReferDINOError as error:
                self.errors.report("targets", str(error))

    def _take_pose(self, message: PoseStamped) -> None:
        task = None if self._control is None else self._control.task
        if self._control is None or task is None or task.place_source:
            return
        found = self._poses.from_pose(message)
        if isinstance(found, str):
            self.errors.report("pose", found)
        else:
            self._control.take_observation(found)

    def _take_odometry(self, message: OdometryMessage) -> None:
        self._poses.odometry_frame = message.header.frame_id
        if self._control is not None:
            try:
                self._control.take_odometry(odometry_from_message(message))
            except ReferDINOError as error:
                self.errors.report("odom", str(error))

    def _take_enable(self, message: Bool) -> None:
        if self._control is not None:
            self._control.enable(message.data, time.monotonic())

    def _take_instruction(self, message: String) -> None:
        """What was typed or said: a new goal, or stop, wait, resume, forget."""
        control = self._control
        if control is None:
            return
        instruction = parse(message.data, self._settings.grammar)
        if isinstance(instruction, NotUnderstood):
            self._say(f"Not understood: {message.data!r}. {instruction.reason}")
            return
        if self._timer is None and instruction.intent is not Intent.STOP:
            self._say(f"Not done: {message.data!r}. The node is {self.lifecycle_label}.")
            return
        self._say(f"{instruction.intent.value} {instruction.sentence}".strip())
        if instruction.intent in MODES:
            try:
                self._begin(
                    Task(MODES[instruction.intent], instruction.sentence), lambda ending: None
                )
            except ReferDINOError as error:
                self._say(f"Not done: {message.data!r}. {error}")
        elif instruction.intent is Intent.WAIT:
            control.pause(True)
        elif instruction.intent is Intent.RESUME:
            control.pause(False)
        else:
            control.end(f"It was told to {instruction.intent.value}.")
            if instruction.intent is Intent.FORGET:
                self._command.publish(String(data=""))

    def _say(self, text: str) -> None:
        self._heard.publish(String(data=text))
        self.get_logger().info(text)

    # ---- Goals -----------------------------------------------------------------------------

    def _begin(self, task: Task, on_end: Any, distance: float = 0.0, most: float = 0.0) -> None:
        assert self._control is not None
        self._control.begin(
            task,
            on_end,
            distance=distance or self._settings["distance"],
            max_duration=most,
            on_switch=OnSwitch(self._settings["on_switch"]),
        )
        if task.sentence:
            self._command.publish(String(data=task.sentence))

    def _accept_goal(self, request: Any) -> GoalResponse:
        if self._timer is None:
            self.errors.report("goal", f"A goal was rejected: the node is {self.lifecycle_label}.")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _execute(self, handle: Any) -> Any:
        """Wait for the end of a goal, in a thread of its own, and say how it goes."""
        request, began = handle.request, time.monotonic()
        task = task_of_goal(request.text, request.command_id, request.mode, self._settings.grammar)
        most = seconds_of(request.max_duration)
        control = self._control
        try:
            if isinstance(task, NotUnderstood):
                raise ReferDINOError(task.reason)
            if control is None:
                raise ReferDINOError(f"The node is {self.lifecycle_label}.")
            ending = run_goal(
                handle,
                control,
                task,
                lambda on_end: self._begin(task, on_end, request.distance, most),
                lambda decision: Follow.Feedback(status=self._status_of(decision)),
            )
        except ReferDINOError as error:
            handle.abort()
            return result(None, str(error), None, 0.0, refused=True)
        return result(ending.outcome, ending.reason, ending.decision, time.monotonic() - began)

    # ---- Control ------------------------------------------------------------------------------

    def _tick(self) -> None:
        control, output = self._control, self._output
        if control is None or output is None or self._timer is None:
            return
        now, steady = self.get_clock().now().nanoseconds * 1e-9, time.monotonic()
        if now != self._now:
            self._now, self._advanced = now, steady
        if steady - self._advanced > _FROZEN:
            self._stand_without_time(control, output, steady)
            return
        decision = control.tick(now, steady)
        if decision.publish:
            self._busy = steady
            output.send(decision.command)
        if decision.publish or control.task is not None:
            self._status.publish(self._status_of(decision))
        self._tell(f"{decision.state.value}: {decision.reason}")

    def _stand_without_time(
        self, control: FollowerControl, output: VelocityOutput, steady: float
    ) -> None:
        """Send zero while there is a goal, and a while longer, for want of a clock."""
        if control.task is not None:
            self._busy = steady
            self.errors.report("clock", _CLOCK_STANDS)
            self._tell(f"{FollowState.FAULTY.value}: {_CLOCK_STANDS}")
        if steady - self._busy <= self._settings["zeros"]:
            output.send(STANDSTILL)

    def _status_of(self, decision: Decision) -> FollowStatus:
        task = None if self._control is None else self._control.task
        sentence = "" if task is None else task.sentence
        stamp = self.get_clock().now().to_msg()
        return status(decision, sentence, stamp, self._settings["base_frame"])

    def _tell(self, told: str) -> None:
        if self._state is not None and told != self._told:
            self._told = told
            self._state.publish(String(data=told))

    def _every_second(self) -> None:
        output, control = self._output, self._control
        problem = ""
        if output is not None:
            output.refresh()
            problem = output.problem if control is not None and control.task is not None else ""
        if problem:
            self.errors.report("cmd_vel", problem)
        decision = None if control is None else control.decision
        message = diagnostics(
            self.get_fully_qualified_name(), self.lifecycle_label, decision, problem
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM, stop the robot, then end; returns the exit status."""
    use_few_arenas()
    # ROS's own handlers would shut the context down before zero is sent.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup ignores hang-ups, which is wanted; a script's background jobs ignore SIGINT, too.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: over.set())
    node = start_node("follower", FollowerNode)
    if node is None:
        return 1
    spinning = threading.Thread(target=spin_until_shutdown, args=(node, THREADS + 2), daemon=True)
    spinning.start()
    while not over.wait(0.2) and rclpy.ok():
        pass
    node.halt("The node ends.")
    rclpy.try_shutdown()
    spinning.join(2.0)
    node.close()
    node.destroy_node()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
