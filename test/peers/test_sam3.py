# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""peers/sam3.py, on a small random network of transformers' real class.

Its detector finds two instances of every phrase in the first image of a window.
"""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("transformers.models.sam3_video")

import peer_samples

from referdino_core.errors import CommandError
from referdino_core.peers.following import PeerSettings
from referdino_core.peers.sam3 import SAM3
from referdino_core.session.peer_session import PeerSession
from referdino_core.target import TargetState


def follower_of(session: PeerSession) -> SAM3:
    assert isinstance(session.follower, SAM3)
    return session.follower


def test_a_sentence_is_answered_for_its_head_noun_phrase_and_a_note_says_so() -> None:
    session = peer_samples.sam3()
    session.commands = {"a": "the dog that jumps", "b": "the red ball"}
    assert set(follower_of(session)._phrases) == set()
    targets = session.step(peer_samples.images(1)[0])
    assert set(follower_of(session)._phrases) == {"dog", "red ball"}
    assert [one.command for one in targets] == ["the dog that jumps", "the red ball"]
    assert session.notes == [
        "SAM 3 reads noun phrases only: 'the dog that jumps' is answered for 'dog'."
    ]
    assert session.capabilities.noun_phrases_only
    with pytest.raises(CommandError, match="reads 32"):
        session.command("red " * 40 + "ball")


def test_one_object_is_the_instance_with_the_highest_score_and_stays() -> None:
    session = peer_samples.sam3()
    session.command("the red ball")
    identities = []
    for image in peer_samples.images(5):
        (target,) = session.step(image)
        identities.append(target.track_id)
        instances = follower_of(session)._phrases["red ball"].instances.values()
        assert target.score == max(one.score for one in instances)
    assert len(set(identities)) == 1
    session.command("the red ball", "all")
    assert len(session.step(peer_samples.images(1)[0])) == 2


def test_the_memory_grows_within_a_window_and_is_rebuilt_after_it() -> None:
    session = peer_samples.sam3(window=5)
    session.commands = {"a": "the red ball"}
    used, identities, images = [], [], peer_samples.images(5)
    for number in range(20):
        (target,) = session.step(images[number % 5])
        used.append(session.state_bytes)
        identities.append(target.track_id)
    assert follower_of(session).window_count >= 4
    assert used[4] > used[0], "it grows"
    assert used[5] < used[4] and used[15:20] == used[5:10] == used[10:15], "it is bounded"
    # The masks before and after overlap, so that the instance keeps its identity.
    assert len(set(identities)) == 1
    frames = follower_of(session)._session.processed_frames
    assert sum(frame.numel() for frame in frames.values()) == 0


def test_an_instance_that_is_not_found_again_in_a_new_window_is_occluded() -> None:
    session = peer_samples.sam3(window=3, hold=0.25)
    session.command("the red ball")
    images = peer_samples.images(7)
    (found,) = [session.step(image)[0] for image in images[:3]][-1:]
    follower_of(session).network.score_threshold_detection = 1.0
    states = []
    for image in images[3:]:
        (target,) = session.step(image)
        assert not target.mask.any() and target.box is None
        assert target.track_id == found.track_id and target.frame_score == 0
        states.append(target.state.value)
    assert found.state is TargetState.TRACKING
    assert states == ["occluded", "occluded", "lost", "lost"]


def test_commands_are_added_and_removed_mid_stream() -> None:
    session = peer_samples.sam3()
    images = peer_samples.images(6)
    session.commands = {"a": "the red ball"}
    (first,) = session.step(images[0])
    session.commands = {"a": "the red ball", "b": "a dog", "c": "the dog on the table"}
    network = follower_of(session).network
    network.new_det_thresh = 0.1
    found = session.step(images[1])
    network.new_det_thresh = 0.9
    assert [one.command_id for one in found] == ["a", "b", "c"]
    assert found[0].track_id == first.track_id
    # Commands with one phrase share its prompt and its instances.
    assert set(follower_of(session)._phrases) == {"red ball", "dog"}
    assert found[1].track_id == found[2].track_id != first.track_id
    session.commands = {"b": "a dog"}
    (kept,) = session.step(images[2])
    assert kept.command_id == "b" and kept.track_id == found[1].track_id
    assert set(follower_of(session)._phrases) == {"dog"}
    session.commands = {}
    assert session.step(images[3]) == ()
    session.commands = {"b": "a dog"}
    assert len(session.step(images[4])) == 1


def test_invisible_instances_are_occluded_then_lost() -> None:
    session = peer_samples.sam3(hold=0.25)
    follower = follower_of(session)
    session.command("the red ball")
    images = peer_samples.images(7)
    states = [session.step(images[0])[0].state]
    # Masks of an invisible object are empty; a detector that finds nothing adds none.
    follower.network.score_threshold_detection = 1.0
    decoder = follower.network.tracker_model.mask_decoder
    peer_samples.set_visibility(follower.network, -4.0)
    for image in images[1:5]:
        (target,) = session.step(image)
        assert not target.mask.any()
        states.append(target.state)
    assert decoder is follower.network.tracker_model.mask_decoder
    assert [state.value for state in states] == [
        "tracking",
        "occluded",
        "occluded",
        "lost",
        "lost",
    ]
    follower.network.score_threshold_detection = 0.1
    follower.network.new_det_thresh = 0.1
    peer_samples.set_visibility(follower.network, 4.0)
    (found,) = session.step(images[5])
    assert found.state is TargetState.TRACKING


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (33, 101)])
def test_masks_have_the_size_of_the_image(size: tuple[int, int]) -> None:
    session = peer_samples.sam3()
    session.command("the red ball")
    for image in peer_samples.images(2, size):
        (target,) = session.step(image)
        assert target.mask.shape == size


def test_identities_start_anew_with_a_stream() -> None:
    session = peer_samples.sam3()
    images = peer_samples.images(3)
    runs = []
    for _ in range(2):
        session.begin_stream()
        session.command("the red ball")
        runs.append([session.step(image)[0] for image in images])
    for one, other in zip(*runs, strict=True):
        assert one.track_id == other.track_id and np.array_equal(one.mask, other.mask)


def test_its_settings_are_checked() -> None:
    with pytest.raises(Exception, match="window is 0"):
        PeerSettings(window=0)
