# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Base class of lifecycle nodes, which survives failing and impossible transitions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn

from referdino_core.errors import one_line
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
    """A lifecycle node whose state can be queried during transitions.

    Attributes:
        lifecycle_group: callback group of transitions.
    """

    def __init__(self, name: str, **node_options: Any) -> None:
        LenientParameterNode.__init__(self, name, **node_options)
        # Separate, so that the state can be queried while the model is loaded.
        self.lifecycle_group = ReentrantCallbackGroup()
        LifecycleNodeMixin.__init__(self, callback_group=self.lifecycle_group)
        self._service_change_state.callback = refuse_impossible_transitions(
            self._service_change_state.callback, lambda: self.lifecycle_label, self.get_logger()
        )

    @property
    def lifecycle_label(self) -> str:
        """Label of the lifecycle state, such as "active"."""
        label: str = self._state_machine.current_state[1]
        return label
