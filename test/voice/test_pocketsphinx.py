# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""PocketSphinx on recordings of synthetic speech: sentences, the stop word, the wake phrase."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from speech_samples import hush, in_a_room, needs_pocketsphinx, recording, with_noise

from referdino_core.errors import ReferDINOError
from referdino_core.following import Instruction, Intent, NotUnderstood
from referdino_core.following.instructions import VERBS
from referdino_core.voice import (
    RATE,
    Gate,
    Listener,
    ListenerSettings,
    StopHeard,
    Utterance,
    VoiceUnavailable,
    WakeHeard,
    description_rules,
    model_words,
    understand,
)
from referdino_core.voice.listening import Event
from referdino_core.voice.pocketsphinx_engine import (
    GrammarRecogniser,
    KeyPhraseSpotter,
    VoiceActivityDetector,
)

THRESHOLDS = {"stop": 1e-16, "hey robot": 1e-40}
SPOKEN = {verb.split()[0] for verbs in VERBS.values() for verb in verbs}
RULES = description_rules(model_words("nano"))


@pytest.fixture
def recogniser() -> GrammarRecogniser:
    return GrammarRecogniser(model_words("nano"), "hey robot")


def listener(gate: Gate) -> Listener:
    settings = ListenerSettings(gate=gate)
    return Listener(KeyPhraseSpotter(THRESHOLDS), VoiceActivityDetector(), settings)


def heard(one: Listener, samples: np.ndarray) -> list[Event]:
    """Events of a recording that comes in blocks of 20 ms."""
    return [
        event for at in range(0, len(samples), 320) for event in one.take(samples[at : at + 320])
    ]


@needs_pocketsphinx
def test_words_that_the_dictionary_lacks_are_added(recogniser: GrammarRecogniser) -> None:
    assert recogniser.grammar.pronunciations["leftmost"] == "L EH F T M OW S T"
    assert recogniser.grammar.pronunciations["rightmost"] == "R AY T M OW S T"
    assert recogniser.grammar.silent == ()


@needs_pocketsphinx
@pytest.mark.parametrize(
    ("name", "instruction"),
    [
        ("follow_the_red_ball", Instruction(Intent.FOLLOW, "the red ball")),
        ("go_to_the_blue_box", Instruction(Intent.APPROACH, "the blue box")),
        (
            "find_the_small_yellow_cube_behind_the_green_cylinder",
            Instruction(Intent.FIND, "the small yellow cube behind the green cylinder"),
        ),
        ("look_at_the_leftmost_ball", Instruction(Intent.LOOK, "the leftmost ball")),
        ("wait_here", Instruction(Intent.WAIT)),
        ("forget_it", Instruction(Intent.FORGET)),
        ("hey_robot_follow_the_green_ball", Instruction(Intent.FOLLOW, "the green ball")),
        ("follow_the_red_ball_20_db", Instruction(Intent.FOLLOW, "the red ball")),
    ],
)
def test_a_recorded_sentence_is_understood(
    recogniser: GrammarRecogniser, name: str, instruction: Instruction
) -> None:
    transcript = recogniser.transcribe(in_a_room(recording(name)))
    assert understand(transcript, RULES, "hey robot") == instruction, transcript


@needs_pocketsphinx
def test_a_sentence_that_is_cut_off_is_refused(recogniser: GrammarRecogniser) -> None:
    transcript = recogniser.transcribe(in_a_room(recording("find_the_blue_cylinder_on")))
    assert transcript.text.startswith("find the blue cylinder")
    assert isinstance(understand(transcript, RULES), NotUnderstood)


@needs_pocketsphinx
def test_the_grammar_alone_is_no_gate(recogniser: GrammarRecogniser) -> None:
    """Why push-to-talk or a wake phrase is needed: everyday speech comes out as an instruction."""
    transcript = recogniser.transcribe(in_a_room(recording("what_time_is_the_meeting")))
    assert transcript.text.split()[0] in SPOKEN  # it says a verb that nobody said
    assert (
        heard(listener(Gate.PUSH_TO_TALK), in_a_room(recording("what_time_is_the_meeting"))) == []
    )


@needs_pocketsphinx
def test_silence_and_noise_say_nothing(recogniser: GrammarRecogniser) -> None:
    for sound in (hush(2.0), np.zeros(RATE, np.int16), np.zeros(0, np.int16)):
        assert isinstance(understand(recogniser.transcribe(sound), RULES), NotUnderstood)


@needs_pocketsphinx
@pytest.mark.parametrize("name", ["stop", "stop_loud", "go_to_the_blue_box_stop"])
@pytest.mark.parametrize("gate", [Gate.PUSH_TO_TALK, Gate.WAKE_PHRASE])
def test_stop_is_spotted_within_half_a_second(name: str, gate: Gate) -> None:
    samples = in_a_room(recording(name))
    found = [event for event in heard(listener(gate), samples) if isinstance(event, StopHeard)]
    assert len(found) == 1
    assert found[0].lag < 0.3
    certain = found[0].end + found[0].lag * RATE
    assert certain < np.flatnonzero(np.abs(samples) > 500)[-1] + 0.5 * RATE


@needs_pocketsphinx
@pytest.mark.parametrize("decibels", [20.0, 10.0])
def test_stop_is_spotted_in_noise(decibels: float) -> None:
    noisy = with_noise(in_a_room(recording("stop_loud")), decibels)
    assert any(isinstance(event, StopHeard) for event in heard(listener(Gate.PUSH_TO_TALK), noisy))


@needs_pocketsphinx
def test_instructions_do_not_stop_the_robot() -> None:
    for name in ("follow_the_red_ball", "go_to_the_blue_box", "look_at_the_leftmost_ball"):
        assert heard(listener(Gate.PUSH_TO_TALK), in_a_room(recording(name))) == []


@needs_pocketsphinx
def test_stop_in_the_middle_drops_the_sentence() -> None:
    one = listener(Gate.PUSH_TO_TALK)
    one.press()
    events = heard(one, in_a_room(recording("go_to_the_blue_box_stop")))
    one.release()
    events += heard(one, hush(1.0))
    assert [type(event) for event in events] == [StopHeard]


@needs_pocketsphinx
def test_the_wake_phrase_cuts_the_instruction_out(recogniser: GrammarRecogniser) -> None:
    samples = in_a_room(recording("hey_robot_follow_the_green_ball"))
    wake, said = heard(listener(Gate.WAKE_PHRASE), np.concatenate([samples, hush(1.0)]))
    assert wake == WakeHeard() and isinstance(said, Utterance)
    transcript = recogniser.transcribe(said.samples)
    assert understand(transcript, RULES, "hey robot") == Instruction(
        Intent.FOLLOW, "the green ball"
    )


@needs_pocketsphinx
def test_a_spotter_that_runs_for_long_still_hears() -> None:
    spotter = KeyPhraseSpotter({"stop": 1e-16})
    for number in range(35):
        assert spotter.take(hush(1.0, number)) == []
    assert spotter._heard - spotter._begun < 31 * RATE  # it began anew in a pause
    (found,) = spotter.take(in_a_room(recording("stop")))
    assert found.phrase == "stop" and found.start > 35 * RATE


@needs_pocketsphinx
def test_a_phrase_that_the_dictionary_lacks_is_refused() -> None:
    with pytest.raises(ReferDINOError, match="dictionary lacks xyzzy"):
        KeyPhraseSpotter({"hey xyzzy": 1e-20})


@needs_pocketsphinx
def test_a_model_of_any_words_is_refused() -> None:
    with pytest.raises(ReferDINOError, match="reads any word"):
        GrammarRecogniser(model_words("swinb"))


def test_a_missing_package_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(VoiceUnavailable, match="pip install 'pocketsphinx"):
        KeyPhraseSpotter({"stop": 1e-16})
