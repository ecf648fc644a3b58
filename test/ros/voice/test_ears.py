# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The threads that listen and recognise: "stop" never waits, and drops what it interrupts."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from follow_graph import wait_until

from referdino_core.voice import RATE, Gate, Listener, ListenerSettings, StopHeard, Transcript
from referdino_core.voice.listening import Spotted
from referdino_ros.voice import voice_diagnostics
from referdino_ros.voice.ears import EarHandlers, Ears

pytestmark = pytest.mark.ros
QUIET, SPEECH, STOP = (np.full(RATE, value, np.int16) for value in (1, 5000, 9000))


class LoudIsSpeech:
    """A detector that takes loud frames for speech."""

    def is_speech(self, frame: np.ndarray) -> bool:
        return bool(np.abs(frame).max() > 1000)


class LoudestIsStop:
    """A spotter that takes the loudest sound for "stop", once a second."""

    def __init__(self) -> None:
        self._heard = 0
        self._last = -RATE

    def take(self, samples: np.ndarray) -> Sequence[Spotted]:
        self._heard += len(samples)
        if np.abs(samples).max() < 9000 or self._heard - self._last < RATE:
            return []
        self._last = self._heard
        return [Spotted("stop", self._heard - 100, self._heard)]


class Slow:
    """A recogniser that waits until it is told to go on."""

    def __init__(self) -> None:
        self.busy, self.go_on = threading.Event(), threading.Event()

    def transcribe(self, samples: np.ndarray) -> Transcript:
        self.busy.set()
        assert self.go_on.wait(30.0)
        if samples.max() == 7777:
            raise ValueError("no such sound")
        return Transcript("follow the red ball")


class Notes:
    """What ears report."""

    def __init__(self) -> None:
        self.stops: list[StopHeard] = []
        self.texts: list[tuple[str, bool]] = []
        self.refused: list[str] = []
        self.faults: list[Exception] = []
        self.handlers = EarHandlers(
            stop=self.stops.append,
            wake=lambda: None,
            text=lambda heard, counts: self.texts.append((heard.text, counts())),
            refused=self.refused.append,
            fault=self.faults.append,
        )


def ears(recogniser: Slow, notes: Notes) -> Ears:
    settings = ListenerSettings(gate=Gate.PUSH_TO_TALK)
    return Ears(Listener(LoudestIsStop(), LoudIsSpeech(), settings), recogniser, notes.handlers)


def test_stop_gets_through_while_a_sentence_is_recognised_which_then_counts_no_more() -> None:
    recogniser, notes = Slow(), Notes()
    listening = ears(recogniser, notes)
    try:
        listening.listen_once()
        listening.take(np.concatenate([SPEECH, QUIET]))
        assert recogniser.busy.wait(30.0)
        said = time.monotonic()
        listening.take(STOP)
        assert wait_until(lambda: bool(notes.stops), 30.0)
        assert time.monotonic() - said < 1.0
        recogniser.go_on.set()
        assert wait_until(lambda: notes.texts == [("follow the red ball", False)], 30.0)
    finally:
        recogniser.go_on.set()
        listening.close()


def test_a_sentence_counts_and_the_robots_own_speech_ends_that() -> None:
    recogniser, notes = Slow(), Notes()
    listening = ears(recogniser, notes)
    try:
        recogniser.go_on.set()
        listening.listen_once()
        listening.take(np.concatenate([SPEECH, QUIET]))
        assert wait_until(lambda: notes.texts == [("follow the red ball", True)], 30.0)
        recogniser.go_on.clear()
        recogniser.busy.clear()
        listening.listen_once()
        listening.take(np.concatenate([SPEECH, QUIET]))
        assert recogniser.busy.wait(30.0)
        listening.mute(True)
        recogniser.go_on.set()
        assert wait_until(lambda: len(notes.texts) == 2, 30.0)
        assert notes.texts[1][1] is False
    finally:
        recogniser.go_on.set()
        listening.close()


def test_a_recogniser_that_fails_is_told_and_the_next_sentence_is_heard() -> None:
    recogniser, notes = Slow(), Notes()
    recogniser.go_on.set()
    listening = ears(recogniser, notes)
    try:
        for loudness in (7777, 5000):
            listening.listen_once()
            listening.take(np.concatenate([np.full(RATE, loudness, np.int16), QUIET]))
            assert wait_until(lambda: not listening.is_open, 30.0)
        assert wait_until(lambda: bool(notes.texts), 30.0)
        assert [str(fault) for fault in notes.faults] == ["no such sound"]
    finally:
        listening.close()


def test_ears_that_hear_nothing_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    listening = ears(Slow(), Notes())
    source = SimpleNamespace(name="USB microphone")
    try:
        listening.take(QUIET)
        assert wait_until(lambda: listening.loudness > -100, 30.0)
        assert voice_diagnostics._problem(source, listening) == ""
        monkeypatch.setattr(voice_diagnostics, "_DEAFNESS", 0.3)
        time.sleep(0.5)
        listening.take(np.zeros(RATE, np.int16))
        assert "USB microphone sends zeros only" in voice_diagnostics._problem(source, listening)
        monkeypatch.setattr(voice_diagnostics, "_SILENCE", 0.1)
        time.sleep(0.3)
        assert "No sound comes from USB microphone" in voice_diagnostics._problem(source, listening)
    finally:
        listening.close()
