# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What a SetCommands request makes of the running commands."""

from __future__ import annotations

import pytest
from referdino.msg import Command
from referdino.srv import SetCommands

from referdino_core.errors import CommandError
from referdino_core.session import CommandRequest
from referdino_ros.command_input import commands_after, quoted, received_text

pytestmark = pytest.mark.ros

RUNNING = {
    "a": CommandRequest("the red ball"),
    "b": CommandRequest("the box on the left", "all"),
}
CONE = CommandRequest("the cone")


def request(
    *commands: tuple[str, str], remove: tuple[str, ...] = (), clear: bool = False
) -> SetCommands.Request:
    return SetCommands.Request(
        set=[Command(id=name, text=text) for name, text in commands], remove=remove, clear=clear
    )


def after_request(asked: SetCommands.Request, limit: int) -> dict[str, CommandRequest]:
    """What the request makes of RUNNING, on one camera."""
    (after,) = commands_after({0: RUNNING}, asked, limit).values()
    return after


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (request(), RUNNING),
        (request(("c", "the cone")), {**RUNNING, "c": CONE}),
        (
            request(("a", "the blue ball")),
            {"a": CommandRequest("the blue ball"), "b": RUNNING["b"]},
        ),
        (request(remove=("a",)), {"b": RUNNING["b"]}),
        (request(("a", "the cone"), remove=("a",)), {"b": RUNNING["b"], "a": CONE}),
        (request(clear=True), {}),
        (request(("c", "the cone"), remove=("b",), clear=True), {"c": CONE}),
    ],
)
def test_parts_of_a_request(asked: SetCommands.Request, wanted: dict[str, CommandRequest]) -> None:
    after = after_request(asked, 16)

    assert list(after.items()) == list(wanted.items())


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (request(("c", "the cone"), ("c", "the can")), "'c' is given to 2 commands"),
        (request(("c", "the \ufffd cone")), "is not text"),
        (request(("c\ufffd", "the cone")), "is not text"),
        (request(("\x1b[2J", "the cone")), "control characters"),
        (request(remove=("z",)), "Cannot remove the command 'z'"),
        (request(("c", "1"), ("d", "2")), "max_commands allows 3"),
    ],
)
def test_what_makes_no_sense_is_one_clear_line(asked: SetCommands.Request, said: str) -> None:
    before = dict(RUNNING)

    with pytest.raises(CommandError) as caught:
        after_request(asked, 3)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert before == RUNNING


def test_replacing_at_the_limit_is_allowed() -> None:
    after = after_request(request(("a", "the cone")), 2)

    assert after["a"] == CONE


@pytest.mark.parametrize(
    ("code", "select"),
    [(Command.SELECT_DEFAULT, None), (Command.SELECT_ONE, "one"), (Command.SELECT_ALL, "all")],
)
def test_a_command_says_how_many_objects_it_means(code: int, select: str | None) -> None:
    asked = SetCommands.Request(set=[Command(id="c", text="the cups", select=code)])

    assert commands_after({0: {}}, asked, limit=1)[0] == {"c": CommandRequest("the cups", select)}


def test_a_selection_that_is_none_is_refused() -> None:
    asked = SetCommands.Request(set=[Command(id="c", text="the cups", select=7)])

    with pytest.raises(CommandError, match="SELECT_ALL"):
        commands_after({0: {}}, asked, limit=1)


@pytest.mark.parametrize("text", ["the red ball", "die rote Kugel, groß", "红色的球", "two\nlines"])
def test_text_of_any_language_is_text(text: str) -> None:
    assert received_text(text) == text


def test_long_text_is_shortened_in_messages() -> None:
    assert quoted("the ball") == "'the ball'"
    assert len(quoted("x" * 100_000)) < 100


def test_a_request_for_several_cameras_changes_each_by_its_own_commands() -> None:
    running = {0: RUNNING, 2: {"c": CONE}}
    asked = request(("c", "the cone"), remove=("b",))

    after = commands_after(running, asked, limit=2)

    assert after == {0: {"a": RUNNING["a"], "c": CONE}, 2: {"c": CONE}}
    with pytest.raises(CommandError, match="Running are: 'a', 'b', 'c'"):
        commands_after(running, request(remove=("z",)), limit=2)
    with pytest.raises(CommandError, match="3 commands would run"):
        commands_after(running, request(("c", "the cone")), limit=2)
