# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Commands of a run: given at the start, read from a file with times, or recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from referdino_core.configuration import SELECTIONS
from referdino_core.errors import CommandError, SourceError
from referdino_core.network.tokenizer import caption
from referdino_core.replay.recording import NANOSECONDS
from referdino_core.session import CommandRequest
from referdino_core.session.command_request import SINGLE_COMMAND

if TYPE_CHECKING:
    from referdino_core.session.engine import Engine

_FIELDS = ("at", "text", "id", "objects", "select")
_LATEST = 1e6  # seconds; later is a slip of the keyboard
_REPLACEMENT_CHARACTER = "\ufffd"


@dataclass(frozen=True)
class CommandChange:
    """A change of the active commands.

    Attributes:
        text: the sentence; an empty one ends the command.
        command_id: the command to change; None replaces all commands, as the node's command topic
            does.
        objects: object ids of the ground truth that the sentence means; None if not stated.
        at: seconds from the first frame.
        select: "one" or "all"; None for the session's setting.
    """

    text: str
    command_id: str | None = None
    objects: tuple[int, ...] | None = None
    at: float = 0.0
    select: str | None = None

    def apply(self, session: Engine) -> None:
        """Apply the change to a session.

        Raises:
            CommandError: the sentence cannot be used; the active commands stay.
        """
        if _REPLACEMENT_CHARACTER in self.text:
            raise CommandError("it is not text; send a sentence in UTF-8")
        if self.command_id is None:
            session.command(self.text, self.select)
            return
        commands = session.requests
        if self.text.strip():
            commands[self.command_id] = CommandRequest(self.text, self.select)
        else:
            commands.pop(self.command_id, None)
        session.commands = commands


def from_sentences(sentences: Sequence[str]) -> tuple[CommandChange, ...]:
    """Changes that start all sentences at the first frame."""
    if len(sentences) == 1:
        return (CommandChange(sentences[0]),)
    return tuple(
        CommandChange(sentence, f"command {number}")
        for number, sentence in enumerate(sentences, start=1)
    )


def read_commands(path: Path) -> tuple[CommandChange, ...]:
    """The changes of a YAML file, in order of time.

    The file is a list of entries with `at` (seconds from the first frame) and `text`, where an
    empty text ends the command; and optionally `id` (one command among others; without it an entry
    replaces all commands), `objects` (object ids of the ground truth) and `select` ("one", or "all"
    that match).

    Raises:
        SourceError: the file cannot be read, or an entry is invalid.
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
        raise SourceError(f"{path}{where}, is not valid YAML: {reason}.") from error
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
    if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at <= _LATEST:
        raise ValueError(f"at is {at!r}; give seconds from the first frame, 0 to {_LATEST:,.0f}")
    text = entry.get("text", "")
    if text is not None and not isinstance(text, str):
        raise ValueError(f"text is {text!r}; give a sentence in quotes, or an empty one")
    command_id = entry.get("id")
    if command_id is not None and (not isinstance(command_id, str) or not command_id.strip()):
        raise ValueError(f"id is {command_id!r}; give a name in quotes")
    select = entry.get("select")
    if select is not None and select not in SELECTIONS:
        raise ValueError(f"select is {select!r}; give one of {', '.join(SELECTIONS)}")
    return CommandChange(text or "", command_id, _objects(entry.get("objects")), float(at), select)


def _objects(value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(type(one) is int and one >= 0 for one in value):
        raise ValueError(
            f"objects is {value!r}; give a list of ids of the ground truth, such as [1, 2]"
        )
    return tuple(value)


def with_objects(change: CommandChange, meanings: Mapping[str, tuple[int, ...]]) -> CommandChange:
    """The change with the objects that its sentence means, if it names none itself.

    Args:
        meanings: objects by sentence, without white space around it.
    """
    text = change.text.strip()
    if change.objects is not None or text not in meanings:
        return change
    return replace(change, objects=meanings[text])


def check_sentences(
    changes: Sequence[CommandChange], check: Callable[[str], object] = caption
) -> None:
    """Check that every sentence is valid, as far as that is known without an image.

    Args:
        check: raises CommandError for an invalid sentence.

    Raises:
        SourceError: a sentence is invalid, or there is none.
    """
    sentences = [change.text for change in changes if change.text.strip()]
    if changes and not sentences:
        raise SourceError("The commands hold no sentence; give one, such as 'the red mug'.")
    for sentence in sentences:
        try:
            check(sentence)
        except CommandError as error:
            raise SourceError(f"The command {_short(sentence)} cannot be used: {error}") from error


def _short(sentence: str) -> str:
    return repr(sentence if len(sentence) <= 80 else f"{sentence[:80]}…")


@dataclass
class GivenCommand:
    """A command with the time span in which it was active.

    Attributes:
        command_id, text: as in the session.
        objects: object ids of the ground truth that it names; None if it names none.
        at, until: seconds from the first frame; until is None while it is active.
        select: "one" or "all"; None for the session's setting.
    """

    command_id: str
    text: str
    objects: tuple[int, ...] | None
    at: float
    until: float | None = None
    select: str | None = None


class CommandLog:
    """Applies changes to a session when they are due, and logs which command was active when.

    Args:
        changes: those that are known before the first frame.
        meanings: object ids by sentence, for recorded commands; see `with_objects`.
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
        self._refused: list[str] = []
        self.given: list[GivenCommand] = []

    @property
    def problems(self) -> list[str]:
        """Commands that were refused or never due, and meanings without a command, a line each."""
        problems = list(self._refused)
        late = [change for _, change in self._due if change.text.strip()] if self._known else []
        problems += [
            f"The command {_short(change.text)} was never given: the recording ends before "
            f"{change.at:g} s."
            for change in late
        ]
        if not self.given:
            problems.append("No command was given, so nothing was searched for.")
        texts = {one.text.strip() for one in self.given} | {one.text.strip() for one in late}
        return problems + [
            f"--means {_short(text)} is the sentence of no command."
            for text in self._meanings
            if text not in texts
        ]

    def begin(self, arrival: int) -> None:
        """Set the arrival of the first frame, in integer nanoseconds."""
        self._start = arrival
        timed = [(arrival + round(one.at * NANOSECONDS), one) for one in self._known]
        # Commands recorded before the first frame come first.
        self._due.extend(timed)

    def add(self, time: int, text: str) -> None:
        """Add a recorded text, at integer nanoseconds; times are non-decreasing."""
        self._due.append((time, with_objects(CommandChange(text), self._meanings)))

    def apply(self, session: Engine, time: int) -> list[GivenCommand]:
        """Apply the changes due up to a time, in integer nanoseconds; returns the new commands.

        A change that is refused becomes a problem; the active commands stay.
        """
        begun = []
        while self._due and self._due[0][0] <= time:
            when, change = self._due.popleft()
            seconds = self.seconds(when)
            try:
                change.apply(session)
            except CommandError as error:
                self._refused.append(
                    f"The command {_short(change.text)} at {seconds:.3f} s was refused: {error}"
                )
                continue
            begun += self._note(session.commands, change, seconds)
        return begun

    def place_of(self, command_id: str, text: str) -> int:
        """Index in `given` of the newest command with this id and text."""
        return next(
            place
            for place in reversed(range(len(self.given)))
            if (self.given[place].command_id, self.given[place].text) == (command_id, text)
        )

    def running(self) -> Iterator[GivenCommand]:
        """The commands that are active now."""
        return (one for one in self.given if one.until is None)

    def running_at(self, seconds: float) -> Iterator[GivenCommand]:
        """The commands that were active at a past time, in seconds from the first frame."""
        return (
            one
            for one in self.given
            if one.at <= seconds and (one.until is None or one.until > seconds)
        )

    def seconds(self, time: int) -> float:
        """Seconds from the first frame; 0 for times before it."""
        return max(0, time - (self._start or 0)) / NANOSECONDS

    def _note(
        self, after: dict[str, str], change: CommandChange, seconds: float
    ) -> list[GivenCommand]:
        """Log which commands ended and began; `after`: the active commands. A change of objects
        starts a new command.
        """
        changed = change.command_id or SINGLE_COMMAND
        for one in self.running():
            means_others = one.command_id == changed and change.objects not in (None, one.objects)
            if after.get(one.command_id) != one.text or means_others:
                one.until = seconds
        running = {one.command_id for one in self.running()}
        begun = [
            GivenCommand(key, text, change.objects, seconds, select=change.select)
            for key, text in after.items()
            if key not in running
        ]
        self.given += begun
        return begun
