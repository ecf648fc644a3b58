# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""CommandRequest: a sentence as given by the user, independent of the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from referdino_core.configuration import MAX_COMMANDS, SELECTIONS
from referdino_core.errors import CommandError

SINGLE_COMMAND = "command"
"""The id of a command that is given without one."""


@dataclass(frozen=True)
class CommandRequest:
    """A sentence as given by the user.

    Attributes:
        text: the sentence.
        select: "one" for the object that fits best, "all" for every object that fits; None for the
            choice of the session's settings.

    Raises:
        CommandError: select is something else.
    """

    text: str
    select: str | None = None

    def __post_init__(self) -> None:
        if self.select is not None and self.select not in SELECTIONS:
            raise CommandError(f"select is {self.select!r}; choose one of {', '.join(SELECTIONS)}.")


def single_command(sentence: str, select: str | None = None) -> dict[str, CommandRequest]:
    """Commands that consist of one sentence; {} if it is blank."""
    blank = isinstance(sentence, str) and not sentence.strip()
    return {} if blank else {SINGLE_COMMAND: CommandRequest(sentence, select)}


def requests_of(wanted: Mapping[str, str | CommandRequest]) -> dict[str, CommandRequest]:
    """Requests by id, of sentences or requests by id.

    Raises:
        CommandError: these are too many, or an id is empty.
    """
    if len(wanted) > MAX_COMMANDS:
        raise CommandError(
            f"{len(wanted)} commands were given; at most {MAX_COMMANDS} run at once."
        )
    if any(not isinstance(key, str) or not key.strip() for key in wanted):
        raise CommandError("Every command needs an id that is not empty.")
    return {
        key: given if isinstance(given, CommandRequest) else CommandRequest(given)
        for key, given in wanted.items()
    }
