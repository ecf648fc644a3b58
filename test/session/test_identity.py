# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""One id for one object among several commands, several objects for one command, and absence."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from session_samples import session_that_tracks, small_model, steady_images

import referdino_core as rd
from referdino_core.network.object_memory import ObjectMemory
from referdino_core.session.command import Command
from referdino_core.session.shared_identities import SharedIdentities, Sighting
from referdino_core.session.slot_readings import SlotReadings
from referdino_core.session.target_tracker import SingleTargetTracker
from referdino_core.session.track import Track
from referdino_core.target import box_around

IMAGES = steady_images(8)


@pytest.fixture(scope="module")
def model() -> rd.ReferDINO:
    return small_model()


def sighting(command_id: str, track: Track, left: int) -> Sighting:
    mask = np.zeros((20, 60), dtype=bool)
    mask[5:15, left : left + 10] = True
    box = box_around(mask)
    assert box is not None
    return Sighting(command_id, track, mask, box)


def track_of(number: int) -> Track:
    boxes, queries = np.array([[0.1, 0.1, 0.2, 0.2]]), np.ones((1, 1), np.float32)
    readings = SlotReadings(0.0, np.ones((1, 1)), np.zeros(1), boxes, queries)
    return Track.begin(number, 0, readings)


def update(shared: SharedIdentities, *seen: Sighting) -> None:
    tracks: dict[str, list[Track]] = {}
    for one in seen:
        tracks.setdefault(one.command_id, []).append(one.track)
    shared.update(seen, tracks)


def test_masks_that_agree_over_several_images_are_one_object_under_the_older_id() -> None:
    shared = SharedIdentities()
    first, second = track_of(7), track_of(3)
    ids = []
    for _ in range(4):
        update(shared, sighting("a", first, 5), sighting("b", second, 6))
        ids.append((first.track_id, second.track_id))
    assert ids == [(7, 3), (7, 3), (3, 3), (3, 3)]


def test_masks_that_agree_now_and_then_are_two_objects() -> None:
    shared = SharedIdentities()
    first, second = track_of(1), track_of(2)
    for left in (5, 5, 30, 5, 5, 30, 5, 5):
        update(shared, sighting("a", first, 5), sighting("b", second, left))
    assert (first.track_id, second.track_id) == (1, 2)


def test_objects_that_passed_each_other_report_their_own_ids_again() -> None:
    shared = SharedIdentities()
    first, second = track_of(1), track_of(2)
    ids = []
    for left in (40, 5, 5, 5, 5, 40, 40, 40):
        update(shared, sighting("a", first, 5), sighting("b", second, left))
        ids.append((first.track_id, second.track_id))
    assert ids == [(1, 2)] * 3 + [(1, 1)] * 4 + [(1, 2)]


def test_an_id_that_the_command_has_on_another_object_is_not_shared() -> None:
    shared = SharedIdentities()
    elsewhere, agreeing, follower = track_of(1), track_of(2), track_of(3)
    follower.shared_id = 1
    tracks = {"all": [elsewhere, agreeing], "one": [follower]}
    for _ in range(3):
        seen = [sighting("all", agreeing, 5), sighting("one", follower, 5)]
        shared.update(seen, tracks)
    assert (elsewhere.track_id, agreeing.track_id) == (1, 2), "though the other one is hidden"


def test_two_targets_of_one_command_are_never_one_object() -> None:
    shared = SharedIdentities()
    first, second = track_of(1), track_of(2)
    for _ in range(5):
        update(shared, sighting("a", first, 5), sighting("a", second, 5))
    assert (first.track_id, second.track_id) == (1, 2)


def test_two_commands_of_one_sentence_end_under_one_id(model: rd.ReferDINO) -> None:
    session = session_that_tracks(model, mask_threshold=0.4)
    session.commands = {"a": "the red ball", "b": "the red ball"}
    ids = [tuple(target.track_id for target in session.step(IMAGES[0])) for _ in range(6)]
    assert ids[0] == (1, 2)
    assert ids[-1] == (1, 1)
    restored = session_that_tracks(model, mask_threshold=0.4)
    restored.restore(session.snapshot())
    assert [target.track_id for target in restored.step(IMAGES[0])] == [1, 1]


def test_a_command_may_select_all_that_fits(model: rd.ReferDINO) -> None:
    session = session_that_tracks(model)
    session.commands = {
        "every": rd.CommandRequest("the red balls", "all"),
        "best": rd.CommandRequest("the red ball"),
    }
    targets = session.step(IMAGES[0])
    every = [target for target in targets if target.command_id == "every"]
    assert len(every) > 1 and len(targets) == len(every) + 1
    assert len({target.track_id for target in targets}) == len(targets)
    assert session.requests["every"].select == "all"
    again = session.step(IMAGES[0])
    kept = {one.track_id for one in again if one.command_id == "every"}
    assert {one.track_id for one in every} <= kept


def test_selecting_all_may_find_nothing(model: rd.ReferDINO) -> None:
    session = rd.Session(model, settings=rd.SessionSettings(select="all", accept=1.0))
    session.command("the red balls")
    assert session.step(IMAGES[0]) == ()
    session.command("the red ball", select="one")
    (target,) = session.step(IMAGES[1])
    assert target.state is rd.TargetState.SEARCHING


def test_another_selection_begins_a_command_anew(model: rd.ReferDINO) -> None:
    session = session_that_tracks(model)
    session.command("the red ball")
    session.step(IMAGES[0])
    session.command("the red ball", select="all")
    assert len(session.running["command"].memory.window) == 0
    with pytest.raises(rd.CommandError, match="select is 'some'"):
        session.command("the red ball", select="some")
    assert session.commands == {"command": "the red ball"}


def moved_memory(settings: rd.SessionSettings, images: int) -> float:
    """Cosine of a target's memory before and after images in which clutter takes its slot."""
    generator = torch.Generator().manual_seed(0)
    width, slots = 32, 6
    looks = F.normalize(torch.randn(slots, width, generator=generator), dim=-1)
    boxes = np.tile([0.1, 0.1, 0.3, 0.3], (slots, 1))
    command = Command(
        rd.CommandRequest("the red ball"),
        text=None,  # type: ignore[arg-type]
        new_memory=lambda: ObjectMemory(8, 0.1, "released"),
        new_tracker=lambda _: SingleTargetTracker(itertools.count(1).__next__),
    )
    before = torch.zeros(width)
    for number in range(10 + images):
        present = number < 10
        queries = looks + 0.05 * torch.randn(slots, width, generator=generator)
        if not present:
            queries[0] = F.normalize(looks[0] + 2.0 * looks[1], dim=-1)  # clutter, somewhat alike
        scores = np.full((1, slots), 0.02)
        scores[0, 0] = 0.9 if present else 0.15
        frame = command.memory.align(queries, torch.rand(slots, 4), looks[:2], 0.1 * number)
        unit = F.normalize(frame.queries, dim=-1).numpy()
        readings = SlotReadings(0.1 * number, scores, np.zeros(1), boxes, unit)
        command.tracker.update(readings, settings)
        command.remember(frame, readings, settings)
        assert command.memory.memory is not None
        if number == 9:
            before = command.memory.memory[0].clone()
    assert command.memory.memory is not None
    return float(F.cosine_similarity(before, command.memory.memory[0], dim=0))


@pytest.mark.slow
def test_the_memory_of_an_absent_target_does_not_drift() -> None:
    assert moved_memory(rd.SessionSettings(), images=10_000) >= 0.95
    assert moved_memory(rd.SessionSettings(memory="released"), images=100) < 0.9


def test_momentum_follows_elapsed_time() -> None:
    """Ten images in a second move a memory as far as thirty do."""
    ends = []
    for rate in (10, 30):
        memory = ObjectMemory(8, 0.1, "released")
        command = Command(
            rd.CommandRequest("the red ball"),
            text=None,  # type: ignore[arg-type]
            new_memory=lambda kept=memory: kept,  # type: ignore[misc]
            new_tracker=lambda _: SingleTargetTracker(itertools.count(1).__next__),
        )
        start, end = torch.eye(4)[:2], torch.eye(4)[2:]
        for number in range(rate + 1):
            queries = start if number == 0 else end
            frame = memory.align(queries, torch.rand(2, 4), end, number / rate)
            boxes = np.array([[0.1, 0.1, 0.3, 0.3], [0.6, 0.6, 0.9, 0.9]])
            readings = SlotReadings(
                number / rate, np.full((1, 2), 0.9), np.zeros(1), boxes, frame.queries.numpy()
            )
            command.remember(frame, readings, rd.SessionSettings())
        assert memory.memory is not None
        ends.append(memory.memory)
    torch.testing.assert_close(ends[0], ends[1], atol=1e-5, rtol=0)
