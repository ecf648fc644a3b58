# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Base class of lifecycle nodes, which survives failing and impossible transitions."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn

from referdino_core.errors import one_line
from referdino_ros.error_log import ErrorLog
from referdino_ros.parameters import LenientParameterNode


def refuse_impossible_transitions(
    change_state: Callable[..., Any], lifecycle_label: Callable[[], str], logger: Any
) -> Callable[..., Any]:
    """A service callback that responds to impossible transitions with success=False.

    In rclpy their exception ends the process (ros2/rclpy issue 1209).

    Args:
        change_state: rclpy's own callback of the service.
        lifecycle_label: returns the label of the current state.
        logger: of the node.
    """

    def guarded_change_state(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except Exception as error:
            wanted = request.transition.label or request.transition.id
            logger.error(
                f"The transition {wanted} is not possible while the node is "
                f"{lifecycle_label()}: {one_line(error)}"
            )
            response.success = False
            return response

    return guarded_change_state


class ReportsFaults(Protocol):
    """A node that reports exceptions of transitions."""

    def report_fault(self, transition: str, error: Exception) -> None:
        """Log the exception of a transition."""


Faulty = TypeVar("Faulty", bound=ReportsFaults)


def reporting_faults(
    callback: Callable[[Faulty, LifecycleState], TransitionCallbackReturn],
) -> Callable[[Faulty, LifecycleState], TransitionCallbackReturn]:
    """Decorator of lifecycle callbacks `on_TRANSITION` that reports their exceptions.

    An exception results in ERROR, after which rclpy calls `on_error`; rclpy alone would lose its
    text.
    """

    @functools.wraps(callback)
    def guarded(node: Faulty, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return callback(node, state)
        except Exception as error:
            node.report_fault(callback.__name__.removeprefix("on_"), error)
            return TransitionCallbackReturn.ERROR

    return guarded


class ManagedNode(LifecycleNodeMixin, LenientParameterNode):
    """A lifecycle node that releases in reverse order what its transitions created.

    Subclasses register what they create with `held`, and extend `release`. Cleaning up, shutting
    down, errors of transitions and the end of the process release it.

    Attributes:
        held: what transitions created, with how it is destroyed.
        errors: log of the node's errors.
        lifecycle_group: callback group of transitions.
        steady_clock: a clock that runs while the node's own time stands still, as without a /clock.
    """

    def __init__(self, name: str, **node_options: Any) -> None:
        LenientParameterNode.__init__(self, name, **node_options)
        # Separate, so that the state can be queried while the model is loaded.
        self.lifecycle_group = ReentrantCallbackGroup()
        LifecycleNodeMixin.__init__(self, callback_group=self.lifecycle_group)
        self._service_change_state.callback = refuse_impossible_transitions(
            self._service_change_state.callback, lambda: self.lifecycle_label, self.get_logger()
        )
        self.held = contextlib.ExitStack()
        self.errors = ErrorLog(lambda line: self.get_logger().warning(line), lambda: 10.0)
        self.steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._closed = False

    @property
    def ending(self) -> bool:
        """Whether the process is ending; what a transition meets then is no fault.

        On a signal, `close` can be called before rclpy has shut the context down.
        """
        return self._closed or not self.context.ok()

    @property
    def lifecycle_label(self) -> str:
        """Label of the lifecycle state, such as "active"."""
        label: str = self._state_machine.current_state[1]
        return label

    def start_soon(self) -> None:
        """Configure and activate the node once it spins, unless a lifecycle manager was faster."""
        self._start_timer = self.create_timer(
            0.0, self._start, callback_group=self.lifecycle_group, clock=self.steady_clock
        )

    def _start(self) -> None:
        self._start_timer.cancel()
        if self.lifecycle_label != "unconfigured":
            return
        try:
            if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
                self.trigger_activate()
        except Exception:
            if not self.ending:  # at the end of the process a transition cannot be announced
                raise

    @reporting_faults
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release what configuring created."""
        self.release()
        return super().on_cleanup(state)

    @reporting_faults
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, from any state; errors do not prevent the shutdown."""
        self._release_despite_errors("shutdown")
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything after a transition that raised; the node is then unconfigured."""
        self._release_despite_errors("error processing")
        return super().on_error(state)

    def close(self) -> None:
        """Release everything at the end of the process; ROS may already be shut down."""
        self._closed = True
        self._release_despite_errors("shutdown")

    def release(self) -> None:
        """Release what transitions created, in reverse order, despite exceptions."""
        held, self.held = self.held, contextlib.ExitStack()
        held.close()

    def report_fault(self, transition: str, error: Exception) -> None:
        """Log the exception of a transition, unless the process is ending."""
        if not self.ending:
            self.errors.report("transition", f"{transition} failed: {one_line(error)}")

    def held_publisher(self, kind: Any, topic: str, qos: Any) -> Any:
        """A publisher that is destroyed with everything held."""
        publisher = self.create_publisher(kind, topic, qos)
        self.held.callback(self.destroy_publisher, publisher)
        return publisher

    def held_subscription(
        self, kind: Any, topic: str, callback: Callable[[Any], Any], qos: Any, **options: Any
    ) -> None:
        """Subscribe until everything held is destroyed."""
        subscription = self.create_subscription(kind, topic, callback, qos, **options)
        self.held.callback(self.destroy_subscription, subscription)

    def _release_despite_errors(self, transition: str) -> None:
        try:
            self.release()
        except Exception as error:
            self.report_fault(transition, error)
