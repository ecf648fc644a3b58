# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node as rclpy's, but for transitions that fail in the field."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn

from referdino_ros.error_log import one_line
from referdino_ros.parameters import TakesWhatPeopleWrite


def refuse_impossible_transitions(
    change_state: Callable[..., Any], lifecycle_label: Callable[[], str], logger: Any
) -> Callable[..., Any]:
    """A callback that answers a transition which the state does not allow with success=False.

    rclpy lets its exception end the process instead (ros2/rclpy issue 1209).

    Args:
        change_state: rclpy's own callback of the service.
        lifecycle_label: names the node's present state.
        logger: of the node.
    """

    def answer(request: Any, response: Any) -> Any:
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

    return answer


class TellsFaults(Protocol):
    """A node that says what a transition raised."""

    def tell_fault(self, transition: str, error: Exception) -> None:
        """Log it."""


Faulty = TypeVar("Faulty", bound=TellsFaults)


def with_faults_told(
    callback: Callable[[Faulty, LifecycleState], TransitionCallbackReturn],
) -> Callable[[Faulty, LifecycleState], TransitionCallbackReturn]:
    """A lifecycle callback `on_TRANSITION` whose exceptions are told.

    An exception ends in the outcome ERROR, after which rclpy calls `on_error`; rclpy alone would
    drop its text.
    """

    @functools.wraps(callback)
    def guarded(node: Faulty, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return callback(node, state)
        except Exception as error:
            node.tell_fault(callback.__name__.removeprefix("on_"), error)
            return TransitionCallbackReturn.ERROR

    return guarded


class ManagedNode(LifecycleNodeMixin, TakesWhatPeopleWrite):
    """A node whose state can be asked for during transitions, and which survives impossible ones.

    Attributes:
        lifecycle_group: callbacks that may change the state and wait for it.
    """

    def __init__(self, name: str, **node_options: Any) -> None:
        TakesWhatPeopleWrite.__init__(self, name, **node_options)
        # Apart from everything else, so that the state can be asked for while the model loads.
        self.lifecycle_group = ReentrantCallbackGroup()
        LifecycleNodeMixin.__init__(self, callback_group=self.lifecycle_group)
        self._service_change_state.callback = refuse_impossible_transitions(
            self._service_change_state.callback, lambda: self.lifecycle_label, self.get_logger()
        )

    @property
    def lifecycle_label(self) -> str:
        """The lifecycle's state, such as "active"."""
        label: str = self._state_machine.current_state[1]
        return label
