# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Commands of a run: given once, by a file with times, or as they were recorded."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from referdino_core.errors import CommandError, SourceError
from referdino_core.replay.recording import NANOSECONDS
from referdino_core.session import Session

_FIELDS = ("at", "text", "id", "objects")
_REPLACEMENT_CHARACTER = "\ufffd"


@dataclass(frozen=True)
class CommandChange:
    """A change of the running commands.

    Attributes:
        text: the sentence; an empty one ends what ran.
        command_id: changes the command of that id and leaves the others; None replaces all, as the
            node's command topic does.
        objects: ids of the truth that the sentence means; None where nobody says.
        at: seconds from the first frame.
    """

    text: str
    command_id: str | None = None
    objects: tuple[int, ...] | None = None
    at: float = 0.0

    def apply(self, session: Session) -> None:
        """Make the change.

        Raises:
            CommandError: the sentence cannot be used; what ran goes on.
        """
        if _REPLACEMENT_CHARACTER in self.text:
            raise CommandError("it is not text; send a sentence in UTF-8")
        if self.command_id is None:
            session.command(self.text)
            return
        commands = session.commands
        if self.text.strip():
            commands[self.command_id] = self.text
        else:
            commands.pop(self.command_id, None)
        session.commands = commands


def from_sentences(sentences: Sequence[str]) -> tuple[CommandChange, ...]:
    """Sentences that all run from the first frame on."""
    if len(sentences) == 1:
        return (CommandChange(sentences[0]),)
    return tuple(
        CommandChange(sentence, f"command {number}")
        for number, sentence in enumerate(sentences, start=1)
    )


def read_commands(path: Path) -> tuple[CommandChange, ...]:
    """The changes of a YAML file, in the order of their times.

    The file is a list of entries with `at` (seconds from the first frame) and `text`, where an
    empty text ends what ran; and, if wanted, `id` (a command beside others; without it an entry
    replaces everything that runs) and `objects` (ids of the truth that are meant).

    Raises:
        SourceError: the file cannot be read, or an entry of it cannot be used.
    """
    import yaml

    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "not UTF-8"
        raise SourceError(f"{path}{where}, is no YAML: {reason}.") from error
    if not isinstance(entries, list) or not entries:
        raise SourceError(f'{path} must be a list of entries such as {{at: 2.5, text: "the mug"}}.')
    changes = []
    for number, entry in enumerate(entries, start=1):
        try:
            changes.append(_change(entry))
        except ValueError as error:
            raise SourceError(f"{path}, entry {number}: {error}.") from None
    return tuple(sorted(changes, key=lambda change: change.at))


def _change(entry: Any) -> CommandChange:
    if not isinstance(entry, dict):
        raise ValueError(f"it is {entry!r}, not a mapping with at and text")
    unknown = [key for key in entry if key not in _FIELDS]
    if unknown:
        raise ValueError(f"unknown {unknown[0]!r}; known are {', '.join(_FIELDS)}")
    at = entry.get("at")
    if isinstance(at, bool) or not isinstance(at, int | float) or not math.isfinite(at) or at < 0:
        raise ValueError(f"at is {at!r}; give seconds from the first frame, 0 or more")
    text = entry.get("text", "")
    if text is not None and not isinstance(text, str):
        raise ValueError(f"text is {text!r}; give a sentence in quotes, or an empty one")
    command_id = entry.get("id")
    if command_id is not None and (not isinstance(command_id, str) or not command_id.strip()):
        raise ValueError(f"id is {command_id!r}; give a name in quotes")
    return CommandChange(text or "", command_id, _objects(entry.get("objects")), float(at))


def _objects(value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(type(one) is int and one > 0 for one in value):
        raise ValueError(f"objects is {value!r}; give a list of ids of the truth, such as [1, 2]")
    return tuple(value)


def meant(change: CommandChange, meanings: Mapping[str, tuple[int, ...]]) -> CommandChange:
    """The change with the objects that its sentence means, where it names none itself."""
    if change.objects is not None or change.text not in meanings:
        return change
    return replace(change, objects=meanings[change.text])


@dataclass
class GivenCommand:
    """A command from when it was given until it ended.

    Attributes:
        command_id, text: as in the session.
        objects: ids of the truth that it names; None where it names none.
        at, until: seconds from the first frame; until is None while it runs.
    """

    command_id: str
    text: str
    objects: tuple[int, ...] | None
    at: float
    until: float | None = None


class CommandLog:
    """Applies changes to a session when their time has come, and keeps what ran when.

    Args:
        changes: those that are known before the first frame.
        meanings: ids of the truth by sentence, for those that come later.
    """

    def __init__(
        self,
        changes: Sequence[CommandChange],
        meanings: Mapping[str, tuple[int, ...]] = MappingProxyType({}),
    ) -> None:
        self._known = changes
        self._meanings = meanings
        self._due: deque[tuple[int, CommandChange]] = deque()
        self._start: int | None = None
        self.given: list[GivenCommand] = []
        self.problems: list[str] = []

    def begin(self, arrival: int) -> None:
        """Note when the first frame arrived, in integer nanoseconds."""
        self._start = arrival
        timed = [(arrival + round(one.at * NANOSECONDS), one) for one in self._known]
        # What was recorded before the first frame comes first.
        self._due.extend(timed)

    def add(self, time: int, text: str) -> None:
        """A recorded text, at integer nanoseconds, not before earlier ones."""
        self._due.append((time, meant(CommandChange(text), self._meanings)))

    def apply(self, session: Session, time: int) -> list[GivenCommand]:
        """Make the changes up to a time, in integer nanoseconds; returns the commands that began.

        A change that cannot be made is a problem; what ran goes on.
        """
        begun = []
        while self._due and self._due[0][0] <= time:
            when, change = self._due.popleft()
            seconds = self.seconds(when)
            before = session.commands
            try:
                change.apply(session)
            except CommandError as error:
                self.problems.append(
                    f"The command {change.text[:80]!r} at {seconds:.3f} s was refused: {error}"
                )
                continue
            begun += self._note(before, session.commands, change, seconds)
        return begun

    def place_of(self, command_id: str, text: str) -> int:
        """Place in `given` of the newest command with this id and text."""
        return next(
            place
            for place in reversed(range(len(self.given)))
            if (self.given[place].command_id, self.given[place].text) == (command_id, text)
        )

    def running(self) -> Iterator[GivenCommand]:
        """The commands that run now."""
        return (one for one in self.given if one.until is None)

    def seconds(self, time: int) -> float:
        """Seconds from the first frame; 0 for what came before it."""
        return max(0, time - (self._start or 0)) / NANOSECONDS

    def _note(
        self, before: dict[str, str], after: dict[str, str], change: CommandChange, seconds: float
    ) -> list[GivenCommand]:
        for one in self.running():
            if after.get(one.command_id) != one.text:
                one.until = seconds
        begun = [
            GivenCommand(key, text, change.objects, seconds)
            for key, text in after.items()
            if before.get(key) != text
        ]
        self.given += begun
        return begun
