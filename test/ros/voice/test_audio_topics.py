# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Audio and recognised speech from topics, with processes of their own on a real graph.

Where ROS brings no audio_common_msgs or hri_msgs, packages of the documented fields are built from
`interfaces/`. Two packages have the first name, so each has a prefix of its own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from interface_packages import built_interfaces
from repository import REPOSITORY
from ros_harness import SETTLING, Client, ros_environment
from speech_samples import SPEECH, needs_pocketsphinx
from std_msgs.msg import String

pytestmark = [pytest.mark.slow, pytest.mark.ros]
ROS_DRIVERS = "audio_common_msgs_of_ros_drivers"
MGONZS13 = "audio_common_msgs_of_mgonzs13"

# In a process of its own, whose environment knows the prefix: holds the talk button and speaks.
SPEAKER = """
import sys, time
import numpy as np
import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from std_msgs.msg import Bool
import audio_common_msgs.msg as audio
from referdino_core.voice import read_wav

flavour, coding, path = sys.argv[1:]
samples = np.repeat(read_wav(path), 3)  # to 48 kHz, with what a player of steps adds
samples = np.stack([samples, samples], axis=1)  # stereo
quiet = np.random.default_rng(0).normal(0, 5, (36_000, 2)).astype(np.int16)
stream = np.concatenate([quiet, samples, quiet, quiet])
rclpy.init()
node = rclpy.create_node("speaker")
talk = node.create_publisher(Bool, "/voice/talk", 10)
if flavour == "ros_drivers":
    sound = node.create_publisher(audio.AudioDataStamped, "audio_stamped", 10)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    info = node.create_publisher(audio.AudioInfo, "audio_info", latched)
    info.publish(audio.AudioInfo(channels=2, sample_rate=48000, sample_format="S16LE",
                                 bitrate=192, coding_format=coding))
else:
    sound = node.create_publisher(audio.AudioStamped, "audio", qos_profile_sensor_data)

def message(block):
    if flavour == "ros_drivers":
        sent = audio.AudioDataStamped()
        sent.audio.data = block.tobytes()
        return sent
    sent = audio.AudioStamped()
    sent.audio.audio_data.int16_data = block.ravel().tolist()
    sent.audio.info.format, sent.audio.info.channels = int(coding), 2
    sent.audio.info.rate, sent.audio.info.chunk = 48000, len(block)
    return sent

while not (sound.get_subscription_count() and talk.get_subscription_count()):
    time.sleep(0.1)
time.sleep(1.0)
due = time.monotonic()
while True:
    for at in range(0, len(stream), 1440):
        time.sleep(max(0.0, due - time.monotonic()))
        due = max(due + 0.03, time.monotonic() - 0.3)
        if at == 17 * 1440:
            talk.publish(Bool(data=True))
        sound.publish(message(stream[at : at + 1440]))
        if 0 <= at - len(quiet) - len(samples) - 4800 < 1440:
            talk.publish(Bool(data=False))
"""

LIVE_SPEECH = """
import sys, time
import rclpy
from hri_msgs.msg import LiveSpeech

rclpy.init()
node = rclpy.create_node("recogniser")
publisher = node.create_publisher(LiveSpeech, "/voice/live_speech", 10)
while not publisher.get_subscription_count():
    time.sleep(0.1)
print("connected", flush=True)
for line in sys.stdin:
    kind, text = line.strip().split(": ")
    publisher.publish(LiveSpeech(**{kind: text}))
"""


@contextlib.contextmanager
def process(prefix: Path | None, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program on the tests' graph; its output is read at the end."""
    environment = ros_environment(prefix)
    environment["PYTHONPATH"] = f"{REPOSITORY}:{environment['PYTHONPATH']}"
    running = subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield running
    finally:
        assert running.stdin is not None
        running.stdin.close()
        running.terminate()
        running.wait(30)


def voice(prefix: Path | None, **parameters: str) -> contextlib.AbstractContextManager[object]:
    """The node `voice` in a process of its own."""
    given = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
    return process(prefix, "-m", "referdino_ros.voice.voice_node", "--ros-args", *given)


@pytest.fixture
def prefixes(pytestconfig: pytest.Config) -> dict[str, Path | None]:
    """Prefixes of both packages called audio_common_msgs."""
    if importlib.util.find_spec("audio_common_msgs") is not None:
        pytest.skip("audio_common_msgs is installed; another of that name would shadow it")
    return {
        folder: built_interfaces(folder, pytestconfig, "audio_common_msgs")
        for folder in (ROS_DRIVERS, MGONZS13)
    }


@needs_pocketsphinx
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("folder", "flavour", "coding"),
    [(ROS_DRIVERS, "ros_drivers", "wave"), (MGONZS13, "mgonzs13", "8")],
)
def test_audio_of_either_package_is_understood(
    prefixes: dict[str, Path], folder: str, flavour: str, coding: str
) -> None:
    path = str(SPEECH / "follow_the_red_ball.wav")
    prefix = prefixes[folder]
    with voice(prefix, audio="topic"), process(prefix, "-c", SPEAKER, flavour, coding, path):
        client = Client()
        said = client.collect(String, "/follower/instruction")
        assert said.wait_for(lambda message: message.data == "follow the red ball", 60.0)
        client.close()


@needs_pocketsphinx
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("folder", "flavour", "coding", "told"),
    [
        (ROS_DRIVERS, "ros_drivers", "mp3", "carries mp3, which is not decoded here"),
        (MGONZS13, "mgonzs13", "4", "PortAudio's format 4"),
    ],
)
def test_audio_that_cannot_be_decoded_is_told_in_one_line(
    prefixes: dict[str, Path], folder: str, flavour: str, coding: str, told: str
) -> None:
    path = str(SPEECH / "follow_the_red_ball.wav")
    prefix = prefixes[folder]
    with (
        voice(prefix, audio="topic") as node,
        process(prefix, "-c", SPEAKER, flavour, coding, path),
    ):
        assert isinstance(node, subprocess.Popen) and node.stdout is not None
        line = next(line for line in node.stdout if told in line)
    assert "WARN" in line


@pytest.mark.timeout(900)
def test_live_speech_final_counts_and_of_the_rest_only_stop(pytestconfig: pytest.Config) -> None:
    prefix = built_interfaces("hri_msgs", pytestconfig)
    parameters = {"audio": "none", "recogniser": "outside", "gate": "outside"}
    with voice(prefix, **parameters), process(prefix, "-c", LIVE_SPEECH) as recogniser:
        assert recogniser.stdin is not None and recogniser.stdout is not None
        client = Client()
        said = client.collect(String, "/follower/instruction")
        assert recogniser.stdout.readline() == "connected\n"
        time.sleep(SETTLING)
        print("incremental: go to the blue box", file=recogniser.stdin)
        print("final: Follow the red ball.", file=recogniser.stdin, flush=True)
        assert said.wait_for(lambda message: True, 60.0).data == "follow the red ball"
        print("incremental: the red ball please stop", file=recogniser.stdin, flush=True)
        assert said.wait_for(lambda message: message.data == "stop", 60.0)
        texts = [message.data for message in said.messages]
        client.close()
    assert set(texts[1:]) == {"stop"}


def test_a_missing_audio_package_is_told_with_what_to_install() -> None:
    if importlib.util.find_spec("audio_common_msgs") is not None:
        pytest.skip("audio_common_msgs is installed")
    if importlib.util.find_spec("pocketsphinx") is None:
        pytest.skip("pocketsphinx is not installed: pip install '.[voice]'")
    with voice(None, audio="topic") as node:
        assert isinstance(node, subprocess.Popen) and node.stdout is not None
        line = next(line for line in node.stdout if "Cannot be configured" in line)
    assert "audio_common_msgs is not installed" in line
