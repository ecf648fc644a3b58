# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Utterances cut out of a stream, and "stop" in all of it.

Speech is a loud frame here, and phrases are named by their position, so that what is tested is the
cutting alone; test_pocketsphinx.py has the same with real speech.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from referdino_core.voice import (
    RATE,
    Gate,
    Listener,
    ListenerSettings,
    Refused,
    StopHeard,
    Utterance,
    WakeHeard,
)
from referdino_core.voice.listening import Event, Spotted


class LoudIsSpeech:
    """A detector that takes loud frames for speech."""

    def is_speech(self, frame: np.ndarray) -> bool:
        return bool(np.abs(frame).max() > 1000)


class Script:
    """A spotter that knows the stream: phrases by their start and end in seconds."""

    def __init__(self, *phrases: tuple[str, float, float]) -> None:
        self._waiting = [Spotted(text, round(a * RATE), round(b * RATE)) for text, a, b in phrases]
        self._heard = 0

    def take(self, samples: np.ndarray) -> Sequence[Spotted]:
        self._heard += len(samples)
        certain = [one for one in self._waiting if self._heard >= one.end + RATE // 10]
        self._waiting = [one for one in self._waiting if one not in certain]
        return certain


def stream(seconds: float, *speech: tuple[float, float]) -> np.ndarray:
    """Quiet with loud parts from and to some seconds."""
    samples = np.ones(round(seconds * RATE), np.int16)
    for start, end in speech:
        samples[round(start * RATE) : round(end * RATE)] = 5000
    return samples


def listener(gate: Gate, *phrases: tuple[str, float, float]) -> Listener:
    return Listener(Script(*phrases), LoudIsSpeech(), ListenerSettings(gate=gate))


def heard(one: Listener, samples: np.ndarray, until: float, start: float = 0.0) -> list[Event]:
    """Events of a part of a stream, in blocks of 50 ms."""
    part = samples[round(start * RATE) : round(until * RATE)]
    return [event for at in range(0, len(part), 800) for event in one.take(part[at : at + 800])]


def test_nothing_is_an_instruction_while_the_talk_button_is_not_held() -> None:
    assert heard(listener(Gate.PUSH_TO_TALK), stream(5.0, (1.0, 3.0)), 5.0) == []


def test_what_is_said_while_the_button_is_held_is_one_utterance_with_its_pauses() -> None:
    one, samples = listener(Gate.PUSH_TO_TALK), stream(8.0, (1.2, 2.0), (4.0, 5.0))
    assert heard(one, samples, 1.0) == []
    one.press()
    assert one.is_open and heard(one, samples, 5.1, 1.0) == []
    one.release()
    (event,) = heard(one, samples, 8.0, 5.1)
    assert isinstance(event, Utterance) and not one.is_open
    assert event.begun / RATE == pytest.approx(0.85, abs=0.1)  # before the speech
    assert (event.begun + len(event.samples)) / RATE == pytest.approx(5.3, abs=0.1)
    np.testing.assert_array_equal(
        event.samples, samples[event.begun : event.begun + len(event.samples)]
    )


def test_a_button_held_in_silence_gives_no_instruction() -> None:
    one, samples = listener(Gate.PUSH_TO_TALK), stream(5.0)
    one.press()
    heard(one, samples, 2.0)
    one.release()
    (event,) = heard(one, samples, 5.0, 2.0)
    assert isinstance(event, Refused) and "Nothing was said" in event.reason


def test_a_button_that_is_never_let_go_is_bounded() -> None:
    one = listener(Gate.PUSH_TO_TALK)
    one.press()
    (event,) = heard(one, stream(15.0, (1.0, 14.0)), 15.0)
    assert isinstance(event, Refused) and "more than 10 s" in event.reason
    assert not one.is_open


def test_listening_once_ends_with_a_pause() -> None:
    one, samples = listener(Gate.PUSH_TO_TALK), stream(6.0, (1.0, 2.0), (2.4, 3.0), (4.5, 5.0))
    one.listen_once()
    (event,) = heard(one, samples, 6.0)
    assert isinstance(event, Utterance)
    assert (event.begun + len(event.samples)) / RATE == pytest.approx(3.3, abs=0.1)


def test_listening_once_has_an_end_to_its_patience() -> None:
    one = listener(Gate.PUSH_TO_TALK)
    one.listen_once()
    (event,) = heard(one, stream(8.0), 8.0)
    assert isinstance(event, Refused) and "for 5 s" in event.reason


def test_a_click_is_no_speech() -> None:
    one = listener(Gate.PUSH_TO_TALK)
    one.listen_once()
    (event,) = heard(one, stream(8.0, (1.0, 1.02), (2.0, 2.04)), 8.0)
    assert isinstance(event, Refused)


def test_the_wake_phrase_and_what_follows_in_one_breath() -> None:
    one, samples = listener(Gate.WAKE_PHRASE, ("hey robot", 1.0, 1.6)), stream(6.0, (1.0, 3.2))
    wake, said = heard(one, samples, 6.0)
    assert wake == WakeHeard()
    assert isinstance(said, Utterance)
    assert said.begun == round(0.7 * RATE)  # before the phrase itself, which the grammar knows
    assert (said.begun + len(said.samples)) / RATE == pytest.approx(3.5, abs=0.1)


def test_a_breath_after_the_wake_phrase_does_not_end_the_utterance() -> None:
    one = listener(Gate.WAKE_PHRASE, ("hey robot", 1.0, 1.6))
    wake, said = heard(one, stream(8.0, (1.0, 1.6), (3.5, 5.0)), 8.0)
    assert wake == WakeHeard()
    assert isinstance(said, Utterance)
    assert (said.begun + len(said.samples)) / RATE == pytest.approx(5.3, abs=0.1)


def test_without_the_wake_phrase_nothing_is_an_instruction() -> None:
    assert heard(listener(Gate.WAKE_PHRASE), stream(5.0, (1.0, 3.0)), 5.0) == []


def test_the_wake_phrase_is_none_where_the_button_is_the_gate() -> None:
    one = listener(Gate.PUSH_TO_TALK, ("hey robot", 1.0, 1.6))
    assert heard(one, stream(5.0, (1.0, 3.0)), 5.0) == []


@pytest.mark.parametrize("gate", Gate)
@pytest.mark.parametrize("muted", [False, True])
def test_stop_is_heard_in_every_mode(gate: Gate, muted: bool) -> None:
    one = listener(gate, ("stop", 1.0, 1.4))
    one.mute(muted)
    (event,) = heard(one, stream(4.0, (1.0, 1.4)), 4.0)
    assert isinstance(event, StopHeard)
    assert event.end == round(1.4 * RATE) and event.lag < 0.2


def test_stop_in_the_middle_ends_the_utterance() -> None:
    one, samples = listener(Gate.PUSH_TO_TALK, ("stop", 2.0, 2.4)), stream(5.0, (0.5, 2.4))
    one.press()
    (event,) = heard(one, samples, 3.0)
    assert isinstance(event, StopHeard) and not one.is_open
    one.release()
    assert heard(one, samples, 5.0, 3.0) == []


def test_while_the_robot_speaks_nothing_else_counts() -> None:
    one = listener(Gate.WAKE_PHRASE, ("hey robot", 1.0, 1.6), ("stop", 3.0, 3.4))
    one.mute(True)
    events = heard(one, stream(6.0, (1.0, 3.4)), 6.0)
    assert [type(event) for event in events] == [StopHeard]
    other = listener(Gate.PUSH_TO_TALK)
    other.press()
    other.mute(True)
    assert not other.is_open
    other.press()
    assert not other.is_open


def test_a_stream_may_come_in_blocks_of_any_size() -> None:
    samples, found = stream(6.0, (1.0, 3.2)), []
    for size in (100, 480, 999, 48_000, 96_000):
        one = listener(Gate.WAKE_PHRASE, ("hey robot", 1.0, 1.6))
        events = [
            event
            for at in range(0, len(samples), size)
            for event in one.take(samples[at : at + size])
        ]
        assert [type(event) for event in events] == [WakeHeard, Utterance]
        found.append(events[1].samples.tolist())  # type: ignore[union-attr]
    assert all(len(other) == len(found[0]) for other in found)
