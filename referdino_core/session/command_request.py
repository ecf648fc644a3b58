# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""CommandRequest: a sentence as a user gives it; knows nothing of the network."""

from __future__ import annotations

from dataclasses import dataclass

from referdino_core.configuration import SELECTIONS
from referdino_core.errors import CommandError


@dataclass(frozen=True)
class CommandRequest:
    """A sentence as a user gives it.

    Attributes:
        text: the sentence.
        select: "one" for the object that fits best, "all" for every one that fits; None for what
            the session's settings say.

    Raises:
        CommandError: select is something else.
    """

    text: str
    select: str | None = None

    def __post_init__(self) -> None:
        if self.select is not None and self.select not in SELECTIONS:
            raise CommandError(f"select is {self.select!r}; choose one of {', '.join(SELECTIONS)}.")
