# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Scenes as a robot sees them: how the camera moves, what comes and goes, plural sentences."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from world_reader import is_described, read_sentence

from referdino_core.errors import ReferDINOError
from referdino_core.world import VOCABULARY, Clip, WorldRenderer, WorldSettings
from referdino_core.world.renderer import clip_generator
from referdino_core.world.robot_scene import sample_robot_scene

SEEDS = range(30)
SINGULAR = {
    **{"balls": "ball", "spheres": "sphere", "boxes": "box", "cubes": "cube", "ones": "one"},
    **{"cylinders": "cylinder", "capsules": "capsule", "objects": "object", "things": "thing"},
}
TREMBLE = 0.03
"""Radians that a moving camera's direction may differ from its smooth path."""


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    with WorldRenderer(WorldSettings(scenes="robot")) as renderer:
        return [renderer.clip("validation", index) for index in SEEDS]


def yaws(settings: WorldSettings, index: int) -> np.ndarray:
    """Of the camera, (T,) radians to the left."""
    camera = sample_robot_scene(clip_generator("validation", index), settings).camera
    backward = camera.rotations[:, :, 2]
    return np.arctan2(backward[:, 0], -backward[:, 1])


@pytest.mark.parametrize("rate", [0.2, 1.2])
def test_the_camera_turns_to_and_fro_at_the_rate_that_is_set(rate: float) -> None:
    settings = WorldSettings(scenes="robot", frames=60, turn=rate, drive=0.0)
    for index in SEEDS[:5]:
        angles = yaws(settings, index)
        steps = np.abs(np.diff(angles)) * settings.frame_rate
        assert np.median(steps) == pytest.approx(rate, abs=0.1)
        assert np.abs(angles).max() < 0.5 + TREMBLE


def test_the_camera_drives_at_the_speed_that_is_set_from_low_above_the_floor() -> None:
    settings = WorldSettings(scenes="robot", frames=20, turn=0.0, drive=0.3)
    for index in SEEDS[:5]:
        camera = sample_robot_scene(clip_generator("validation", index), settings).camera
        way = camera.positions[-1] - camera.positions[0]
        assert np.hypot(*way[:2]) == pytest.approx(0.3 * 1.9, abs=0.02) and way[2] == 0
        assert 0.25 <= camera.positions[0, 2] <= 0.6 and camera.moving


def test_a_camera_configured_to_stand_still_does() -> None:
    settings = WorldSettings(scenes="robot", turn=0.0, drive=0.0)
    camera = sample_robot_scene(clip_generator("validation", 3), settings).camera
    assert not camera.moving
    assert_array_equal(camera.rotations[0], camera.rotations[-1])


def test_objects_come_late_leave_and_hide_and_some_are_twins(clips: list[Clip]) -> None:
    shown = [item.areas >= 15 for clip in clips for item in clip.objects]
    assert sum(not one[0] and one[-1] for one in shown) > 5, "come into view"
    assert sum(one[0] and not one[-1] for one in shown) > 5, "leave or hide"
    twins = 0
    for clip in clips:
        looks = [(item.shape, item.colour, item.size) for item in clip.objects]
        twins += len(set(looks)) < len(looks)
    assert twins > len(clips) / 5
    moving = sum(clip.camera_moves for clip in clips)
    assert 0.3 * len(clips) < moving < 0.85 * len(clips)


def test_plural_sentences_mean_every_object_that_fits_their_words(clips: list[Clip]) -> None:
    seen = 0
    for clip in clips:
        for sentence in clip.expressions:
            words = sentence.text.split()
            assert set(words) <= set(VOCABULARY)
            if sentence.kind != "plural":
                assert sentence.others == ()
                assert sentence.targets == (() if sentence.target is None else (sentence.target,))
                continue
            named = words[2:] if words[:2] == ["all", "the"] else words[1:]
            read = read_sentence(" ".join(["the", *named[:-1], SINGULAR[named[-1]]]))
            fitting = [
                number
                for number, item in enumerate(clip.objects, start=1)
                if item.areas.max() >= 5 and is_described(read.described, item)
            ]
            assert list(sentence.targets) == fitting and len(fitting) > 1
            seen += 1
    assert seen > 20


def test_the_same_clip_comes_again_and_a_room_is_another_scene(clips: list[Clip]) -> None:
    with WorldRenderer(WorldSettings(scenes="robot")) as renderer:
        assert_array_equal(renderer.clip("validation", 4).frames, clips[4].frames)
    with WorldRenderer() as renderer:
        assert (renderer.clip("validation", 4).frames != clips[4].frames).any()


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"scenes": "street"}, "scenes"),
        ({"turn": 0.5}, "turn"),
        ({"scenes": "robot", "turn": 9.0}, "turn"),
        ({"scenes": "robot", "drive": float("nan")}, "drive"),
    ],
)
def test_wrong_settings_are_refused_by_name(values: dict, word: str) -> None:
    with pytest.raises(ReferDINOError, match=word):
        WorldSettings(**values)
