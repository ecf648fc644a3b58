# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The life cycle's service, made to survive requests that the state does not allow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from referdino_ros.error_log import one_line


def refuse_impossible_transitions(
    change_state: Callable[..., Any], life_cycle_label: Callable[[], str], logger: Any
) -> Callable[..., Any]:
    """A callback that answers a transition which the state does not allow with success=False.

    rclpy lets its exception end the process instead (ros2/rclpy issue 1209).

    Args:
        change_state: rclpy's own callback of the service.
        life_cycle_label: names the node's present state.
        logger: of the node.
    """

    def answer(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except Exception as error:
            wanted = request.transition.label or request.transition.id
            logger.error(
                f"The transition {wanted} is not possible while the node is "
                f"{life_cycle_label()}: {one_line(error)}"
            )
            response.success = False
            return response

    return answer
