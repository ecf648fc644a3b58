# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Commands of a run: given once, by a file with times, or as they were recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from referdino_core.configuration import SELECTIONS
from referdino_core.errors import CommandError, SourceError
from referdino_core.network.tokenizer import caption
from referdino_core.replay.recording import NANOSECONDS
from referdino_core.session import CommandRequest, Session
from referdino_core.session.command_request import SINGLE_COMMAND

_FIELDS = ("at", "text", "id", "objects", "select")
_LATEST = 1e6  # seconds; later is a slip of the keyboard
_REPLACEMENT_CHARACTER = "\ufffd"


@dataclass(frozen=True)
class CommandChange:
    """A change of the running commands.

    Attributes:
        text: the sentence; an empty one ends what ran.
        command_id: changes the command of that id and leaves the others; None replaces all, as the
            node's command topic does.
        objects: ids of the ground truth that the sentence means; None where nobody says.
        at: seconds from the first frame.
        select: "one" or "all"; None for what the session's settings say.
    """

    text: str
    command_id: str | None = None
    objects: tuple[int, ...] | None = None
    at: float = 0.0
    select: str | None = None

    def apply(self, session: Session) -> None:
        """Make the change.

        Raises:
            CommandError: the sentence cannot be used; what ran goes on.
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
    replaces everything that runs), `objects` (ids of the ground truth that are meant) and `select`
    (one, or all that fits).

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


def meant(change: CommandChange, meanings: Mapping[str, tuple[int, ...]]) -> CommandChange:
    """The change with the objects that its sentence means, where it names none itself.

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
    """See that every sentence can be used, as far as that is known without an image.

    Args:
        check: raises CommandError where a sentence cannot be used.

    Raises:
        SourceError: one cannot be used, or there is none.
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
    """A command from when it was given until it ended.

    Attributes:
        command_id, text: as in the session.
        objects: ids of the ground truth that it names; None where it names none.
        at, until: seconds from the first frame; until is None while it runs.
        select: "one" or "all"; None for what the session's settings say.
    """

    command_id: str
    text: str
    objects: tuple[int, ...] | None
    at: float
    until: float | None = None
    select: str | None = None


class CommandLog:
    """Applies changes to a session when their time has come, and keeps what ran when.

    Args:
        changes: those that are known before the first frame.
        meanings: ids of the ground truth by sentence, for those that come later; see `meant`.
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
        """What was refused, was never asked for, or is said of no command, a line each."""
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
        """Place in `given` of the newest command with this id and text."""
        return next(
            place
            for place in reversed(range(len(self.given)))
            if (self.given[place].command_id, self.given[place].text) == (command_id, text)
        )

    def running(self) -> Iterator[GivenCommand]:
        """The commands that run now."""
        return (one for one in self.given if one.until is None)

    def running_at(self, seconds: float) -> Iterator[GivenCommand]:
        """The commands that ran at a time up to now, in seconds from the first frame."""
        return (
            one
            for one in self.given
            if one.at <= seconds and (one.until is None or one.until > seconds)
        )

    def seconds(self, time: int) -> float:
        """Seconds from the first frame; 0 for what came before it."""
        return max(0, time - (self._start or 0)) / NANOSECONDS

    def _note(
        self, after: dict[str, str], change: CommandChange, seconds: float
    ) -> list[GivenCommand]:
        """Note what ended and began, where `after` runs now; other objects make another command."""
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
