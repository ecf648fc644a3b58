# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What a SetCommands request makes of the running commands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from referdino_core.errors import CommandError
from referdino_core.session.command_request import CommandRequest

if TYPE_CHECKING:
    from referdino.srv import SetCommands

SHOWN_CHARACTERS = 80
"""Of a command's text in log lines and errors."""

SELECTIONS: Mapping[int, str | None] = {0: None, 1: "one", 2: "all"}
"""The session's names of the constants of referdino/msg/Command."""
SELECTION_CODES = {name: code for code, name in SELECTIONS.items()}

_REPLACEMENT_CHARACTER = "\ufffd"


def shown(text: str) -> str:
    """The text in quotes, shortened for a log line."""
    short = text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."
    return repr(short)


def received_text(text: str) -> str:
    """The text as it came.

    Raises:
        CommandError: it was sent as bytes that are no UTF-8, which rclpy replaces by U+FFFD.
    """
    if _REPLACEMENT_CHARACTER in text:
        raise CommandError(f"The command {shown(text)} is not text. Send a sentence in UTF-8.")
    return text


def commands_after(
    running: Mapping[int, Mapping[str, CommandRequest]], request: SetCommands.Request, limit: int
) -> dict[int, dict[str, CommandRequest]]:
    """The commands (by camera, by identifier, in order) that `request` asks for.

    The parts of the request apply to every camera, in the order clear, remove, set. A command that
    is set under a running identifier keeps its place.

    Args:
        running: the commands before, of the cameras that the request is for.
        request: clear flag, identifiers to remove, and commands to set.
        limit: commands that may run at once for a camera.

    Raises:
        CommandError: an identifier is no text, given twice or running for no camera, or there
            would be too many commands. Sentences and empty identifiers are the session's to judge.
    """
    _check_identifiers({name: None for own in running.values() for name in own}, request)
    new = {
        command.id: CommandRequest(received_text(command.text), _selection(command))
        for command in request.set
    }
    wanted = {}
    for camera, own in running.items():
        stopped = set(own) if request.clear else set(request.remove)
        kept = {name: one for name, one in own.items() if name not in stopped}
        wanted[camera] = kept | new
    largest = max(map(len, wanted.values()), default=0)
    if largest > limit:
        raise CommandError(
            f"{largest} commands would run at once; the parameter max_commands allows {limit}."
        )
    return wanted


def _selection(command: Any) -> str | None:
    """What a Command message selects, as the session calls it."""
    if command.select not in SELECTIONS:
        raise CommandError(
            f"select of the command {shown(command.id)} is {command.select}. Give SELECT_DEFAULT "
            "(0), SELECT_ONE (1) or SELECT_ALL (2)."
        )
    return SELECTIONS[command.select]


def _check_identifiers(running: Mapping[str, object], request: SetCommands.Request) -> None:
    for name in request.remove:
        if name not in running:
            raise CommandError(
                f"Cannot remove the command {shown(name)}: it is not running. "
                f"Running are: {_listed(running)}."
            )
    for name, times in Counter(command.id for command in request.set).items():
        if times > 1:
            raise CommandError(
                f"The identifier {shown(name)} is given to {times} commands. "
                "Give each one a name of its own."
            )
        if not received_text(name).isprintable():
            raise CommandError(
                f"The identifier {shown(name)} holds control characters. Give each command a name."
            )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(shown(name) for name in names) or "none"
