# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Listening to a stream: what of it is meant for the robot, and "stop" in all of it.

A listener keeps the newest seconds and cuts utterances out of them: what is said while the talk
button is held, or after the wake phrase. It has no clock; time is the number of samples.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np

from referdino_core.voice.audio import RATE
from referdino_core.voice.buffers import AudioHistory

FRAME = RATE * 30 // 1000
"""Samples of a frame, 30 ms: the step in which speech is looked for."""
_HISTORY = 20 * RATE
_LEAD = round(0.3 * RATE)
"""What is kept before speech begins: without it the first word is misheard."""
_TAIL = round(0.3 * RATE)
"""What is kept after speech ends; more quiet is heard as further short words."""
_RECENT = 5
_CERTAIN = 3
"""Frames of speech among the `_RECENT` newest ones that are no click."""


class Gate(str, Enum):
    """What makes speech an instruction."""

    PUSH_TO_TALK = "push_to_talk"
    WAKE_PHRASE = "wake_phrase"
    OUTSIDE = "outside"
    """A recogniser outside of the node decides what it publishes; audio makes no instruction."""


@dataclass(frozen=True)
class Spotted:
    """A key phrase in a stream.

    start, end: positions in samples, of its first and after its last.
    """

    phrase: str
    start: int
    end: int


class Spotter(Protocol):
    """Finds key phrases in a stream."""

    def take(self, samples: np.ndarray) -> Sequence[Spotted]:
        """The phrases that become certain with the next (N,) int16 samples."""
        ...


class SpeechDetector(Protocol):
    """Tells speech from other sounds, frame by frame."""

    def is_speech(self, frame: np.ndarray) -> bool:
        """Whether (FRAME,) int16 samples are speech."""
        ...


@dataclass(frozen=True)
class StopHeard:
    """The stop word was spotted; `end` is the position after it, `lag` seconds ago."""

    phrase: str
    end: int
    lag: float


@dataclass(frozen=True)
class WakeHeard:
    """The wake phrase was spotted: an instruction may follow."""


@dataclass(frozen=True)
class Utterance:
    """Something that was said to the robot.

    samples: (N,) int16, with the sound before and after it. begun: position of its start.
    """

    samples: np.ndarray
    begun: int


@dataclass(frozen=True)
class Refused:
    """Nothing that can be an instruction was said, and why."""

    reason: str


Event = StopHeard | WakeHeard | Utterance | Refused


@dataclass(frozen=True)
class ListenerSettings:
    """Settings of a listener.

    Attributes:
        gate: what makes speech an instruction.
        stop_phrases: end everything, whatever the gate.
        wake_phrase: opens the gate; "" for none.
        patience: seconds in which speech has to begin after the wake phrase.
        pause: seconds of silence that end an utterance after the wake phrase.
        longest: seconds; a longer utterance is refused.
    """

    gate: Gate = Gate.PUSH_TO_TALK
    stop_phrases: tuple[str, ...] = ("stop",)
    wake_phrase: str = "hey robot"
    patience: float = 5.0
    pause: float = 0.6
    longest: float = 10.0


@dataclass
class _Window:
    """The part of the stream that is meant for the robot.

    begun: position of its first sample. watched: position from which speech counts. held: whether
    a button keeps it open; else it ends with a pause. released: position where the button was let
    go, or None. spoken: frames of speech so far. silent: frames since the last speech.
    """

    begun: int
    watched: int
    held: bool
    released: int | None = None
    first: int | None = None
    last: int | None = None


class Listener:
    """Cuts a stream into utterances and finds the stop word.

    Args:
        spotter: finds the stop and wake phrases; None where none can.
        detector: finds speech.
        settings: see `ListenerSettings`.
    """

    def __init__(
        self, spotter: Spotter | None, detector: SpeechDetector, settings: ListenerSettings
    ) -> None:
        self._spotter = spotter
        self._detector = detector
        self._settings = settings
        self._history = AudioHistory(_HISTORY)
        self._frames = 0  # positions up to which frames were looked at, in samples
        self._recent: deque[bool] = deque(maxlen=_RECENT)
        self._window: _Window | None = None
        self._muted = False

    @property
    def is_open(self) -> bool:
        """Whether what is said now is meant for the robot."""
        return self._window is not None

    @property
    def position(self) -> int:
        """Number of samples heard so far."""
        return self._history.end

    def press(self) -> None:
        """The talk button is held from now on; what was said just before counts too."""
        if self._muted or self._settings.gate is not Gate.PUSH_TO_TALK:
            return
        self._open(self.position - _LEAD, held=True)

    def release(self) -> None:
        """The talk button is let go: the utterance ends shortly after."""
        window = self._window
        if window is not None and window.held and window.released is None:
            window.released = self.position

    def listen_once(self) -> None:
        """Take the next thing said as an instruction; a pause ends it."""
        if not self._muted and self._settings.gate is not Gate.OUTSIDE:
            self._open(self.position - _LEAD, held=False)

    def mute(self, speaking: bool) -> None:
        """While the robot itself speaks, nothing but the stop word counts."""
        self._muted = speaking
        if speaking:
            self._window = None

    def forget(self) -> None:
        """Drop what is being said."""
        self._window = None

    def take(self, samples: np.ndarray) -> list[Event]:
        """What the next (N,) int16 samples bring."""
        events: list[Event] = []
        for start in range(0, len(samples), FRAME):
            piece = samples[start : start + FRAME]
            self._history.append(piece)
            events += self._spot(piece)
            while self._frames + FRAME <= self._history.end:
                frame = self._history.between(self._frames, self._frames + FRAME)
                self._frames += FRAME
                events += self._look_at(frame)
        return events

    def _open(self, start: int, *, held: bool, watched: int | None = None) -> None:
        begun = max(start, self._history.start, 0)
        self._window = _Window(begun, begun if watched is None else watched, held)
        self._recent.clear()

    def _spot(self, piece: np.ndarray) -> list[Event]:
        found: list[Event] = []
        for one in self._spotter.take(piece) if self._spotter is not None else ():
            if one.phrase in self._settings.stop_phrases:
                self._window = None
                found.append(StopHeard(one.phrase, one.end, (self.position - one.end) / RATE))
            elif self._settings.gate is Gate.WAKE_PHRASE and not self._muted:
                self._open(one.start - _LEAD, held=False, watched=one.end)
                found.append(WakeHeard())
        return found

    def _look_at(self, frame: np.ndarray) -> list[Event]:
        window, settings = self._window, self._settings
        if window is None or self._frames <= window.watched:
            return []
        self._recent.append(self._detector.is_speech(frame))
        if self._recent[-1] and sum(self._recent) >= _CERTAIN:
            window.last = self._frames
            if window.first is None:
                window.first = self._frames - len(self._recent) * FRAME
        if self._frames - window.begun > settings.longest * RATE:
            self._window = None
            return [Refused(f"It went on for more than {settings.longest:g} s.")]
        if window.held:
            return self._when_released(window)
        return self._after_a_pause(window)

    def _when_released(self, window: _Window) -> list[Event]:
        if window.released is None or self._frames < window.released + _TAIL:
            return []
        self._window = None
        if window.last is None:
            return [Refused("Nothing was said while the talk button was held.")]
        return [self._cut(window)]

    def _after_a_pause(self, window: _Window) -> list[Event]:
        if window.last is not None:
            if self._frames - window.last < self._settings.pause * RATE:
                return []
            self._window = None
            return [self._cut(window)]
        if self._frames - window.watched > self._settings.patience * RATE:
            self._window = None
            return [Refused(f"Nothing was said for {self._settings.patience:g} s.")]
        return []

    def _cut(self, window: _Window) -> Utterance:
        assert window.first is not None and window.last is not None
        begun = window.begun
        if window.watched <= begun:  # no wake phrase, whose place is before what is watched
            begun = max(begun, window.first - _LEAD)
        return Utterance(self._history.between(begun, window.last + _TAIL), begun)
