# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Goals of one follower, one at a time, in the moments in which they begin and end."""

from __future__ import annotations

import pytest

from referdino_core.errors import ReferDINOError
from referdino_core.following import FollowerSettings, Mode
from referdino_ros.following.follower_control import Ending, FollowerControl
from referdino_ros.following.goals import Task

pytestmark = pytest.mark.ros


@pytest.fixture
def control() -> FollowerControl:
    control = FollowerControl(FollowerSettings(), None)
    control.arm()
    return control


def test_no_goal_begins_before_the_node_is_active_or_after() -> None:
    control = FollowerControl(FollowerSettings(), None)
    task = Task(Mode.FOLLOW, "the red ball")
    endings: list[Ending] = []
    with pytest.raises(ReferDINOError, match="not active"):
        control.begin(task, endings.append)
    control.arm()
    control.begin(task, endings.append)
    assert control.task is task
    control.disarm("The node was deactivated.")
    assert control.task is None and [one.reason for one in endings] == ["The node was deactivated."]
    with pytest.raises(ReferDINOError, match="not active"):
        control.begin(task, endings.append)
    assert control.task is None


def test_the_late_end_of_a_goal_does_not_end_the_one_that_replaced_it(
    control: FollowerControl,
) -> None:
    first, second = Task(Mode.FOLLOW, "the red ball"), Task(Mode.FOLLOW, "the red ball")
    endings: list[Ending] = []
    control.begin(first, endings.append)
    control.begin(second, endings.append)
    control.end("The goal was cancelled.", first)
    assert control.task is second
    assert [one.reason for one in endings] == ["Another goal took its place."]
    control.end("The goal was cancelled.", second)
    assert control.task is None and len(endings) == 2
