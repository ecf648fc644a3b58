# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A node with a life cycle, as rclpy's but for what fails in the field."""

from __future__ import annotations

from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNodeMixin

from referdino_ros.parameters import TakesWhatPeopleWrite
from referdino_ros.transitions import refuse_impossible_transitions


class ManagedNode(LifecycleNodeMixin, TakesWhatPeopleWrite):
    """A node whose state can be asked for during transitions, and which survives impossible ones.

    Attributes:
        life_cycle_group: callbacks that may change the state and wait for it.
    """

    def __init__(self, name: str, **node_options: Any) -> None:
        TakesWhatPeopleWrite.__init__(self, name, **node_options)
        # Apart from everything else, so that the state can be asked for while the model loads.
        self.life_cycle_group = ReentrantCallbackGroup()
        LifecycleNodeMixin.__init__(self, callback_group=self.life_cycle_group)
        self._service_change_state.callback = refuse_impossible_transitions(
            self._service_change_state.callback, lambda: self.life_cycle_label, self.get_logger()
        )

    @property
    def life_cycle_label(self) -> str:
        """The life cycle's state, such as "active"."""
        label: str = self._state_machine.current_state[1]
        return label
