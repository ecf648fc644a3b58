# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The node `voice` on a real graph, spoken to through WAV files in real time."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from follow_graph import wait_until
from speech_samples import hush, needs_pocketsphinx, recording, with_noise, write_wav
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger
from voice_graph import voice_and_speaker

from referdino_core.voice import RATE

pytestmark = [pytest.mark.ros, needs_pocketsphinx]
_AT_ONCE = {"audio": "files", "confirm_delay": 0.1}
_SETTLED = 1.6
"""Seconds after which what has not come will not come, with so short a delay."""


def test_a_spoken_instruction_is_echoed_and_starts_after_the_delay() -> None:
    with voice_and_speaker(audio="files") as (_, speaker):
        speaker.say_with_button("follow_the_red_ball")
        assert wait_until(lambda: speaker.texts == ["follow the red ball"], 20.0), speaker.heard
        (heard, text), (began, _) = speaker.heard[-1], speaker.instructions[0]
        assert text == "follow the red ball"
        # The delay is 1 s; either message may come late on a busy machine.
        assert 0.6 < began - heard < 4.0


def test_without_the_button_nothing_moves() -> None:
    with voice_and_speaker(**_AT_ONCE) as (_, speaker):
        time.sleep(max(0.0, speaker.say("follow_the_red_ball") - time.monotonic()) + _SETTLED)
        assert speaker.texts == []


@pytest.mark.parametrize("speaking", [False, True])
def test_stop_alone_stops_without_a_button_within_half_a_second(speaking: bool) -> None:
    with voice_and_speaker(audio="files") as (_, speaker):
        speaker.speaking.publish(Bool(data=speaking))
        time.sleep(0.5)
        end = speaker.say("stop")
        assert wait_until(lambda: bool(speaker.stops and speaker.texts), 20.0), speaker.heard
        assert speaker.texts[0] == "stop"
        # The recording ends in quiet, so the word ended earlier still.
        assert speaker.stops[0] - end < 0.5


def test_stop_cancels_what_was_understood() -> None:
    with voice_and_speaker(audio="files", confirm_delay=4.0) as (_, speaker):
        speaker.say_with_button("follow_the_red_ball")
        assert wait_until(lambda: speaker.has_heard("follow the red ball"), 20.0), speaker.heard
        understood = time.monotonic()
        speaker.say("stop")
        assert wait_until(lambda: bool(speaker.stops), 20.0)
        time.sleep(max(0.0, understood + 4.5 - time.monotonic()))
        assert set(speaker.texts) == {"stop"}


def test_stop_in_the_middle_of_a_sentence_stops_and_the_sentence_is_dropped() -> None:
    with voice_and_speaker(audio="files") as (_, speaker):
        speaker.say_with_button("go_to_the_blue_box_stop")
        assert wait_until(lambda: bool(speaker.stops), 20.0), speaker.heard
        time.sleep(1.0 + _SETTLED)
        assert set(speaker.texts) == {"stop"}


def test_pressing_the_button_again_drops_what_was_understood() -> None:
    with voice_and_speaker(audio="files", confirm_delay=4.0) as (_, speaker):
        speaker.say_with_button("follow_the_red_ball")
        assert wait_until(lambda: speaker.has_heard("follow the red ball"), 20.0), speaker.heard
        understood = time.monotonic()
        speaker.talk.publish(Bool(data=True))
        assert wait_until(lambda: speaker.has_heard("Dropped: 'follow the red ball'"), 20.0)
        time.sleep(max(0.0, understood + 4.5 - time.monotonic()))
        assert speaker.texts == []


def test_a_sentence_that_is_cut_off_moves_nothing_and_says_what_was_heard() -> None:
    with voice_and_speaker(**_AT_ONCE) as (_, speaker):
        speaker.say_with_button("find_the_blue_cylinder_on")
        assert wait_until(
            lambda: speaker.has_heard("Not understood: 'find the blue cylinder"), 20.0
        )
        time.sleep(_SETTLED)
        assert speaker.texts == []


def test_a_press_in_silence_says_so() -> None:
    with voice_and_speaker(audio="files") as (_, speaker):
        speaker.talk.publish(Bool(data=True))
        time.sleep(0.5)
        speaker.talk.publish(Bool(data=False))
        assert wait_until(lambda: speaker.has_heard("Nothing was said"), 20.0)
        assert speaker.texts == []


def test_the_wake_phrase_opens_the_gate() -> None:
    with voice_and_speaker(audio="files", gate="wake_phrase") as (_, speaker):
        time.sleep(max(0.0, speaker.say("go_to_the_blue_box") - time.monotonic()) + 1.0 + _SETTLED)
        assert speaker.texts == []
        speaker.say("hey_robot_follow_the_green_ball")
        assert wait_until(lambda: speaker.texts == ["follow the green ball"], 20.0), speaker.heard


def test_while_the_robot_speaks_the_button_does_nothing() -> None:
    with voice_and_speaker(audio="files") as (_, speaker):
        speaker.speaking.publish(Bool(data=True))
        time.sleep(0.3)
        speaker.say_with_button("follow_the_red_ball")
        time.sleep(1.0 + _SETTLED)
        assert speaker.texts == []
        speaker.speaking.publish(Bool(data=False))
        time.sleep(0.5)
        speaker.say_with_button("follow_the_red_ball")
        assert wait_until(lambda: speaker.texts == ["follow the red ball"], 20.0), speaker.heard


def test_the_service_takes_the_next_thing_said() -> None:
    with voice_and_speaker(**_AT_ONCE) as (_, speaker):
        client = speaker.create_client(Trigger, "/voice/listen")
        assert client.wait_for_service(30.0)
        answer = client.call_async(Trigger.Request())
        assert wait_until(answer.done, 30.0) and answer.result().success
        speaker.say("go_to_the_blue_box")
        assert wait_until(lambda: speaker.texts == ["approach the blue box"], 20.0), speaker.heard


def test_a_recording_of_another_rate_in_stereo_is_understood(tmp_path: Path) -> None:
    samples = recording("follow_the_red_ball").astype(np.float64)
    places = np.arange(round(len(samples) * 44_100 / RATE)) * RATE / 44_100
    stretched = np.interp(places, np.arange(len(samples)), samples).astype(np.int16)
    write_wav(tmp_path / "stereo.wav", np.stack([stretched, stretched], axis=1), 44_100)
    with voice_and_speaker(**_AT_ONCE) as (_, speaker):
        speaker.say_with_button("stereo", tmp_path)
        assert wait_until(lambda: speaker.texts == ["follow the red ball"], 20.0), speaker.heard


def test_noise_alone_moves_nothing(tmp_path: Path) -> None:
    write_wav(tmp_path / "noise.wav", with_noise(recording("stop"), -40.0)[:RATE])
    write_wav(tmp_path / "quiet.wav", hush(1.0))
    with voice_and_speaker(**_AT_ONCE) as (_, speaker):
        for name in ("noise", "quiet"):
            speaker.say_with_button(name, tmp_path)
            time.sleep(1.0)
        time.sleep(_SETTLED)
        assert all(text == "stop" for text in speaker.texts), speaker.heard


def test_a_file_that_cannot_be_read_is_told_and_the_next_one_is_heard(tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    with voice_and_speaker(**_AT_ONCE) as (node, speaker):
        speaker.play.publish(String(data=str(tmp_path / "broken.wav")))
        assert wait_until(lambda: node.errors.count > 0, 20.0)
        assert "broken.wav cannot be read as WAV" in node.errors.last.message  # type: ignore[union-attr]
        speaker.say_with_button("follow_the_red_ball")
        assert wait_until(lambda: speaker.texts == ["follow the red ball"], 20.0), speaker.heard
