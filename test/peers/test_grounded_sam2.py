# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""peers/grounded_sam2.py and peers/video_segmenter.py, on small random networks of transformers'
real classes. Whether an object is visible is set by the bias of its head.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")

import peer_samples
import torch

from referdino_core.peers.following import PeerSettings
from referdino_core.peers.grounded_sam2 import GroundedSAM2
from referdino_core.peers.loading import image_tensor
from referdino_core.peers.video_segmenter import VideoSegmenter
from referdino_core.session.peer_session import PeerSession
from referdino_core.target import Judgement, TargetState

NETWORKS = [peer_samples.sam2_network, peer_samples.edgetam_network]
NETWORK_NAMES = ["sam2", "edgetam-with-the-image-encoder-of-sam2"]


@pytest.fixture(params=NETWORKS, ids=NETWORK_NAMES)
def network(request: pytest.FixtureRequest) -> Any:
    return request.param()


def follower_of(session: PeerSession) -> GroundedSAM2:
    assert isinstance(session.follower, GroundedSAM2)
    return session.follower


def test_the_bounded_memory_gives_the_masks_of_an_unbounded_one(network: Any) -> None:
    peer_samples.set_visibility(network, 4.0)
    segmenter, unbounded = VideoSegmenter(network), VideoSegmenter(network).session()
    session: Any = None
    side = peer_samples.SIDE
    for index, image in enumerate(peer_samples.images(24)):
        segmenter.show(image)
        if session is None:
            session = segmenter.start((10.0, 10.0, 40.0, 30.0))
            started = segmenter.start((10.0, 10.0, 40.0, 30.0))
            unbounded.obj_id_to_idx(1)
            unbounded.add_point_inputs(0, 0, started.point_inputs_per_obj[0][0])
            unbounded.obj_with_new_inputs = [1]
        frame = image_tensor(image, (side, side), torch.device("cpu"))[0]
        expected = network(unbounded, frame=frame, frame_idx=index)
        segmenter.track(session)
        (outputs,) = session.output_dict_per_obj.values()
        (reference,) = unbounded.output_dict_per_obj.values()
        kind = "cond_frame_outputs" if index == 0 else "non_cond_frame_outputs"
        assert torch.equal(
            outputs[kind][index]["object_pointer"], reference[kind][index]["object_pointer"]
        )
        assert expected.pred_masks.shape[0] == 1
    assert len(reference["non_cond_frame_outputs"]) == 23
    assert len(outputs["non_cond_frame_outputs"]) == segmenter.remembered == 16


@pytest.mark.slow
def test_memory_is_flat_on_an_endless_stream(network: Any) -> None:
    session = peer_samples.grounded_sam2(network, detect_images=15, detect_interval=100.0)
    session.commands = {"a": "the red ball", "b": "the blue box"}
    used = []
    images = peer_samples.images(8)
    for number in range(60):
        session.step(images[number % 8])
        used.append(session.state_bytes)
    assert max(used[-15:]) == max(used[15:30]), "the memory of a detection interval repeats"
    state = follower_of(session)._pursuits["a"].tracks[0].session
    assert state.processed_frames is None
    assert len(state.frames_tracked_per_obj[0]) <= 1
    assert not any(state.point_inputs_per_obj.values())


def test_the_detector_runs_for_new_commands_and_after_the_interval() -> None:
    session = peer_samples.grounded_sam2(detect_images=4, detect_interval=100.0)
    follower = follower_of(session)
    session.commands = {"a": "the red ball"}
    images, counts = peer_samples.images(12), []
    for number, image in enumerate(images):
        if number == 6:
            session.commands = {"a": "the red ball", "b": "a dog"}
        session.step(image)
        counts.append(follower.detection_count)
    # For a at 0, 4, 8; for b at 6, 10.
    assert counts == [1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_the_detector_runs_after_an_interval_in_time_on_a_slow_stream() -> None:
    session = peer_samples.grounded_sam2(detect_images=20, detect_interval=2.0)
    session.commands = {"a": "the red ball"}
    for number, image in enumerate(peer_samples.images(5)):
        session.step(image, float(number))
    assert follower_of(session).detection_count == 3


def test_commands_are_added_and_removed_mid_stream_without_disturbing_others(
    network: Any,
) -> None:
    images = peer_samples.images(9)
    alone = peer_samples.grounded_sam2(network, detect_images=100, detect_interval=100.0)
    alone.commands = {"a": "the red ball"}
    expected = [alone.step(image)[0] for image in images]
    session = peer_samples.grounded_sam2(network, detect_images=100, detect_interval=100.0)
    for number, image in enumerate(images):
        session.commands = {"a": "the red ball"} | ({"b": "a dog"} if 3 <= number < 6 else {})
        targets = session.step(image)
        assert [one.command_id for one in targets] == (["a", "b"] if 3 <= number < 6 else ["a"])
        assert np.array_equal(targets[0].mask, expected[number].mask)
        assert targets[0].track_id == 1
    assert set(follower_of(session)._pursuits) == {"a"}
    session.commands = {"a": "the blue box"}
    (changed,) = session.step(images[0])
    assert changed.command == "the blue box" and changed.track_id != 1


def test_an_invisible_object_is_occluded_then_lost_then_found(network: Any) -> None:
    session = peer_samples.grounded_sam2(network, hold=0.35)
    session.command("the red ball")
    images = peer_samples.images(10)
    states = [session.step(images[0])[0].state]
    peer_samples.set_visibility(network, -4.0)
    session.settings = PeerSettings(hold=0.35, box_threshold=1.0)  # nor does the detector find it
    detections = follower_of(session).detection_count
    for image in images[1:6]:
        (target,) = session.step(image)
        assert not target.mask.any() and target.box is None and target.track_id == 1
        states.append(target.state)
    # It looks again on every image from the second invisible one on.
    assert follower_of(session).detection_count == detections + 4
    peer_samples.set_visibility(network, 4.0)
    session.settings = PeerSettings(hold=0.35)
    (found,) = session.step(images[6])
    assert [state.value for state in states] == ["tracking", *["occluded"] * 3, *["lost"] * 2]
    assert found.state is TargetState.TRACKING and found.mask.any()


def test_sam2_finds_a_lost_object_again_without_the_detector(network: Any) -> None:
    session = peer_samples.grounded_sam2(network, hold=0.15)
    session.command("the red ball")
    images = peer_samples.images(6)
    session.step(images[0])
    session.settings = PeerSettings(hold=0.15, box_threshold=1.0)
    peer_samples.set_visibility(network, -4.0)
    for image in images[1:4]:
        (target,) = session.step(image)
    assert target.state is TargetState.LOST
    peer_samples.set_visibility(network, 4.0)
    (found,) = session.step(images[4])
    assert found.state is TargetState.TRACKING and found.track_id == 1


def test_without_a_detection_it_searches_and_reports_the_best_candidate() -> None:
    session = peer_samples.grounded_sam2(box_threshold=1.0)
    session.commands = {"a": "the red ball"}
    for image in peer_samples.images(3):
        (target,) = session.step(image)
        assert target.state is TargetState.SEARCHING and target.track_id == 0
        assert 0 < target.score <= 1
    assert follower_of(session).detection_count == 3


def test_a_command_for_all_objects_gives_a_target_each() -> None:
    session = peer_samples.grounded_sam2(
        box_threshold=0.0, text_threshold=0.0, max_objects=3, duplicate=0.5
    )
    session.command("balls", "all")
    images = peer_samples.images(4)
    for image in images:
        targets = session.step(image)
        assert len(targets) == 3
        assert len({one.track_id for one in targets}) == 3


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (33, 101)])
def test_masks_have_the_size_of_the_image(size: tuple[int, int]) -> None:
    session = peer_samples.grounded_sam2()
    session.command("the red ball")
    for image in peer_samples.images(3, size):
        (target,) = session.step(image)
        assert target.mask.shape == size


def test_a_change_of_the_size_resets_the_memory() -> None:
    session = peer_samples.grounded_sam2()
    session.command("the red ball")
    (before,) = session.step(peer_samples.images(1, (48, 64))[0])
    (after,) = session.step(peer_samples.images(1, (64, 48))[0])
    assert session.judgement is Judgement.RESET and session.reset_count == 1
    assert "64x48 to 48x64" in session.reason
    assert after.mask.shape == (64, 48) and after.track_id != before.track_id


@pytest.mark.parametrize("precision", ["bf16"])
def test_it_runs_in_mixed_precision(precision: str) -> None:
    network = peer_samples.sam2_network()
    peer_samples.set_visibility(network, 4.0)
    follower = GroundedSAM2(
        peer_samples.detector(),
        VideoSegmenter(network, precision=precision),
        PeerSettings(),
        precision,
    )
    session = PeerSession(follower)
    session.command("the red ball")
    for image in peer_samples.images(3):
        (target,) = session.step(image)
    assert session.runtime == "torch bf16"
    assert target.state is TargetState.TRACKING and np.isfinite(target.score)


@pytest.mark.parametrize("network_of", NETWORKS, ids=NETWORK_NAMES)
def test_a_restored_stream_continues_as_if_it_had_not_stopped(
    network_of: Callable[[], Any],
) -> None:
    images = peer_samples.images(24)
    whole = peer_samples.grounded_sam2(network_of())
    stopped = peer_samples.grounded_sam2(network_of())
    for session in (whole, stopped):
        session.commands = {"a": "the red ball", "b": "a dog"}
    for image in images[:13]:
        whole.step(image)
        stopped.step(image)
    file = io.BytesIO()
    torch.save(stopped.snapshot(), file)
    file.seek(0)
    resumed = peer_samples.grounded_sam2(network_of())
    resumed.restore(torch.load(file, weights_only=True))
    for image in images[13:]:
        for one, other in zip(whole.step(image), resumed.step(image), strict=True):
            assert np.array_equal(one.mask, other.mask)
            assert (one.track_id, one.state, one.score) == (
                other.track_id,
                other.state,
                other.score,
            )


def test_streams_of_one_network_do_not_mix() -> None:
    first = peer_samples.grounded_sam2()
    second = first.another()
    alone = peer_samples.grounded_sam2()
    for session in (first, second, alone):
        session.command("the red ball")
    ones, others = peer_samples.images(4, seed=1), peer_samples.images(4, (40, 80), seed=2)
    for one, other in zip(ones, others, strict=True):
        (target,) = first.step(one)
        second.step(other)
        assert np.array_equal(target.mask, alone.step(one)[0].mask)
