# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of the node `follower`."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node

from referdino_core.errors import ReferDINOError
from referdino_core.following import FollowerSettings, Goal, OnSwitch
from referdino_core.following.kalman import FilterSettings
from referdino_core.following.motion import ControlSettings, MotionLimits
from referdino_core.following.phrases import Grammar
from referdino_core.following.searching import SearchSettings
from referdino_core.following.sight import SightSettings
from referdino_ros.following.goal_texts import grammar_of
from referdino_ros.following.settings_parameters import SettingsParameters

_GROUPS = {
    "": FollowerSettings,
    "limits": MotionLimits,
    "control": ControlSettings,
    "search": SearchSettings,
    "sight": SightSettings,
    "motion": FilterSettings,
}
_OTHERS: dict[str, bool | int | float | str] = {
    "autostart": True,
    "distance": 1.0,
    "on_switch": OnSwitch.STOP.value,
    "allow_reverse": False,
    "require_enable": False,
    "enable_timeout": 0.5,
    "stamped": "auto",
    "base_frame": "base_link",
    "vocabulary": "",
    "source": "targets",
}
_CHOICES = {"on_switch": tuple(one.value for one in OnSwitch), "source": ("targets", "pose")}


class FollowerParameters(SettingsParameters):
    """The parameters, read whenever they are needed.

    Raises:
        ReferDINOError: an initial value is not allowed.
    """

    def __init__(self, node: Node) -> None:
        super().__init__(node, _GROUPS, _OTHERS)
        for name, choices in _CHOICES.items():
            if self[name] not in choices:
                raise ReferDINOError(
                    f"Parameter {name} is {self[name]!r}; choose one of {', '.join(choices)}."
                )
        grammar_of(self["vocabulary"])
        Goal(distance=self["distance"])

    @property
    def follower_settings(self) -> FollowerSettings:
        """Settings of the follower."""
        groups: dict[str, Any] = {
            name: self.settings(name) for name in ("limits", "search", "sight", "motion")
        }
        control = self.settings("control", allow_reverse=self["allow_reverse"])
        settings: FollowerSettings = self.settings("", control=control, **groups)
        return settings

    @property
    def grammar(self) -> Grammar | None:
        """How objects are described with the words of `vocabulary`; None for any words."""
        return grammar_of(self["vocabulary"])
