# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""session/engine.py and session/peer_session.py: one protocol for sessions and peers."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("transformers")

import peer_samples

import referdino_core as rd
from referdino_core.errors import CommandError, ImageError
from referdino_core.peers.following import PeerSettings
from referdino_core.session.engine import Capabilities, Engine
from referdino_core.session.peer_session import PeerSession
from referdino_core.target import Judgement

IMAGE = peer_samples.images(1)[0]


def follow(engine: Engine, images: list[np.ndarray]) -> list[list[str]]:
    """Uses nothing but the protocol: adds and removes a command mid-stream."""
    engine.begin_stream()
    seen = []
    for number, image in enumerate(images):
        engine.commands = {"a": "the red ball"} | ({"b": "the blue box"} if number == 1 else {})
        targets = engine.step(image, 0.1 * number)
        assert engine.judgement is Judgement.JUDGED and engine.reason == ""
        assert all(one.mask.shape == image.shape[:2] for one in targets)
        seen.append([one.command_id for one in targets])
    assert engine.commands == {"a": "the red ball"} and engine.reset_count == 0
    return seen


@pytest.mark.parametrize(
    "make", [rd.Session, peer_samples.floor, peer_samples.grounded_sam2, peer_samples.sam3]
)
def test_sessions_and_peers_satisfy_the_protocol(make: type[rd.Session]) -> None:
    images = peer_samples.images(3, (64, 96))
    engine: Engine = make()
    assert follow(engine, images) == [["a"], ["a", "b"], ["a"]]
    assert follow(engine, images) == [["a"], ["a", "b"], ["a"]], "begin_stream starts over"


def test_engines_tell_what_they_can_do() -> None:
    assert rd.Session().capabilities == Capabilities()
    assert not rd.Session().notes and rd.Session().state_bytes is None
    peer = peer_samples.sam3()
    found = peer.capabilities
    assert found.noun_phrases_only and not found.exports and not found.snapshots
    assert peer.state_bytes == 0


def test_commands_are_all_or_nothing() -> None:
    session = peer_samples.grounded_sam2()
    session.commands = {"a": "the red ball"}
    for wrong in ({"a": ""}, {"": "the red ball"}, {"a": "the red ball", "b": "…"}):
        with pytest.raises(CommandError):
            session.commands = wrong
    with pytest.raises(CommandError, match="at most 64"):
        session.commands = {str(number): "a ball" for number in range(65)}
    assert session.commands == {"a": "the red ball"}
    session.command("")
    assert session.commands == {} and session.step(IMAGE) == ()


def test_late_images_are_dropped_and_gaps_reset_the_memory() -> None:
    session = peer_samples.grounded_sam2()
    session.command("the red ball")
    (first,) = session.step(IMAGE, 10.0)
    (late,) = session.step(IMAGE, 9.8)
    assert late.judgement is Judgement.LATE and not late.mask.any()
    assert late.track_id == first.track_id and session.late_count == 1
    session.skip(10.1)
    (after,) = session.step(IMAGE, 20.0)
    assert session.judgement is Judgement.RESET and "gap of 9.90 s" in session.reason
    assert after.track_id != first.track_id
    session.skip(5.0)
    session.step(IMAGE, 5.1)
    assert session.reset_count == 2 and "gap" in (session.first_reset or "")
    assert "jumped back" in (session.last_reset or "")


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3))]
)
def test_a_wrong_image_is_refused_and_the_next_one_works(wrong: np.ndarray) -> None:
    session = peer_samples.grounded_sam2()
    session.command("the red ball")
    with pytest.raises(ImageError):
        session.step(wrong)
    assert len(session.step(IMAGE)) == 1


def test_a_failure_of_the_network_is_counted_and_the_stream_continues(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = peer_samples.grounded_sam2()
    session.command("the red ball")
    (before,) = session.step(IMAGE)
    with monkeypatch.context() as patched:
        patched.setattr(session.follower, "follow", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            session.step(IMAGE)
    assert session.judgement is Judgement.FAILED and session.failure_count == 1
    (after,) = session.step(IMAGE)
    assert after.track_id == before.track_id


def test_cameras_share_the_networks_and_nothing_else() -> None:
    session: PeerSession = peer_samples.grounded_sam2()
    other = session.another()
    session.command("the red ball")
    assert other.commands == {}
    other.settings = PeerSettings(hold=1.0)
    assert session.settings.hold == 3.0
