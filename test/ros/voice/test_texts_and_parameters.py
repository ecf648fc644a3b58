# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The node `voice` with texts from a recogniser outside, its life cycle and its parameters."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest
from follow_graph import wait_until
from node_in_process import context_of_tests
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from repository import REPOSITORY
from std_msgs.msg import Bool, String
from voice_graph import voice_and_speaker

from referdino_core.errors import ReferDINOError
from referdino_ros.voice.voice_node import VoiceNode
from referdino_ros.voice.voice_parameters import DECLARATIONS, page_with_table

pytestmark = pytest.mark.ros
TEXTS = {"audio": "none", "recogniser": "outside"}
_SETTLED = 2.0


def test_a_text_while_the_button_is_held_becomes_an_instruction() -> None:
    with voice_and_speaker(**TEXTS) as (_, speaker):
        speaker.speech.publish(String(data="Follow the red ball."))
        time.sleep(_SETTLED)
        assert speaker.texts == [] and speaker.heard == []
        assert any("button was not held" in text for _, text in speaker.states)
        speaker.talk.publish(Bool(data=True))
        time.sleep(0.3)
        speaker.speech.publish(String(data="Follow the red ball."))
        assert wait_until(lambda: speaker.texts == ["follow the red ball"], 20.0)


def test_a_gate_outside_lets_every_text_in() -> None:
    with voice_and_speaker(gate="outside", **TEXTS) as (_, speaker):
        speaker.speech.publish(String(data="go to the blue box"))
        assert wait_until(lambda: speaker.texts == ["approach the blue box"], 20.0)
        speaker.speech.publish(String(data="find the blue cylinder on"))
        assert wait_until(lambda: speaker.has_heard("It breaks off after 'on'"), 20.0)
        speaker.speech.publish(String(data="follow the mug"))
        assert wait_until(lambda: speaker.has_heard("does not know 'mug'"), 20.0)
        time.sleep(_SETTLED)
        assert speaker.texts == ["approach the blue box"]


def test_a_text_with_the_wake_phrase() -> None:
    with voice_and_speaker(gate="wake_phrase", **TEXTS) as (_, speaker):
        speaker.speech.publish(String(data="follow the red ball"))
        speaker.speech.publish(String(data="Hey, robot: go to the blue box!"))
        assert wait_until(lambda: speaker.texts == ["approach the blue box"], 20.0)


@pytest.mark.parametrize("gate", ["push_to_talk", "wake_phrase", "outside"])
def test_stop_as_a_text_passes_every_gate_at_once(gate: str) -> None:
    with voice_and_speaker(gate=gate, **TEXTS) as (_, speaker):
        speaker.speaking.publish(Bool(data=True))
        time.sleep(0.3)
        sent = time.monotonic()
        speaker.speech.publish(String(data="Stop!"))
        assert wait_until(lambda: bool(speaker.stops) and speaker.texts == ["stop"], 20.0)
        assert speaker.stops[0] - sent < 0.5


def test_any_words_pass_for_a_model_that_reads_any_word() -> None:
    with voice_and_speaker(gate="outside", model="swinb", **TEXTS) as (_, speaker):
        speaker.speech.publish(String(data="follow the dog in the red coat"))
        assert wait_until(lambda: speaker.texts == ["follow the dog in the red coat"], 20.0)


def test_wait_and_forget_are_passed_on_at_once() -> None:
    with voice_and_speaker(gate="outside", confirm_delay=30.0, **TEXTS) as (_, speaker):
        speaker.speech.publish(String(data="follow the red ball"))
        assert wait_until(lambda: speaker.has_heard("follow the red ball"), 20.0)
        speaker.speech.publish(String(data="wait here please"))
        assert wait_until(lambda: speaker.texts == ["wait"], 20.0)
        speaker.speech.publish(String(data="never mind"))
        assert wait_until(lambda: speaker.texts == ["wait", "forget it"], 20.0)


def test_the_topic_of_instructions_is_a_parameter() -> None:
    with voice_and_speaker(gate="outside", **TEXTS) as (node, speaker):
        assert node._instruction.topic_name == "/follower/instruction"
        assert speaker.count_publishers("/follower/instruction") == 1
    with context_of_tests() as context:
        given = {"instruction_topic": "/base/say", "autostart": False, **TEXTS}
        node = made(context, given)
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert node._instruction.topic_name == "/base/say"
        node.close()
        node.destroy_node()


def test_the_life_cycle_opens_and_closes_everything() -> None:
    with context_of_tests() as context:
        node = made(context, {"autostart": False, **TEXTS})
        before = {one.topic_name for one in (*node.publishers, *node.subscriptions)}
        for _ in range(2):
            assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
            assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
            assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
            assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
            assert {one.topic_name for one in (*node.publishers, *node.subscriptions)} == before
        node.destroy_node()


def test_a_deactivated_node_passes_nothing_on() -> None:
    with voice_and_speaker(gate="outside", confirm_delay=1.0, **TEXTS) as (node, speaker):
        speaker.speech.publish(String(data="follow the red ball"))
        assert wait_until(lambda: speaker.has_heard("follow the red ball"), 20.0)
        node.trigger_deactivate()
        speaker.speech.publish(String(data="go to the blue box"))
        time.sleep(_SETTLED)
        assert speaker.texts == []


def made(context: Any, given: dict[str, Any]) -> VoiceNode:
    overrides = [Parameter(name, value=value) for name, value in given.items()]
    return VoiceNode(context=context, parameter_overrides=overrides)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"audio": "radio"}, "must be one of microphone, topic, files, none"),
        ({"audio": "none"}, "nothing for pocketsphinx to recognise"),
        ({"gate": "outside"}, "holds for texts alone"),
        ({"recogniser": "whisper"}, "whisper_model must be"),
        ({"confirm_delay": -1.0}, "from 0 to 60"),
        ({"confirm_delay": "long"}, "give a number"),
        ({"wake_phrase": "robot", "gate": "wake_phrase"}, "two or more words"),
        ({"stop_phrase": " "}, "stop_phrase is empty"),
        ({"audio_format": "mp3 16000 1"}, "'mp3'"),
        ({"audio_format": "loud"}, "S16LE 16000 1"),
        ({"instruction_topic": "say it"}, "instruction_topic"),
    ],
)
def test_a_wrong_parameter_is_told_at_the_start(given: dict[str, Any], word: str) -> None:
    with context_of_tests() as context, pytest.raises(ReferDINOError, match=word):
        made(context, {"autostart": False, **given})


def test_an_integer_passes_for_a_double_and_changes_wait_for_a_clean_up() -> None:
    with context_of_tests() as context:
        node = made(context, {"autostart": False, "confirm_delay": 2, **TEXTS})
        assert node._settings["confirm_delay"] == 2.0
        (done,) = node.set_parameters([Parameter("confirm_delay", value=3)])
        assert done.successful
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        (refused,) = node.set_parameters([Parameter("confirm_delay", value=1.0)])
        assert not refused.successful and "clean up" in refused.reason
        node.close()
        node.destroy_node()


def test_what_is_missing_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with context_of_tests() as context:
        node = made(context, {"autostart": False, "audio": "files"})
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
        assert node.lifecycle_label == "unconfigured"
        node.destroy_node()


def test_the_page_has_the_declared_parameters() -> None:
    page = (REPOSITORY / "docs" / "voice.md").read_text(encoding="utf-8")
    assert page_with_table(page) == page
    assert all(f"| `{one.name}` |" in page for one in DECLARATIONS)
