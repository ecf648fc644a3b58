# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""TargetTracker: tracks the objects of one command from slot scores, with states and identities."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from referdino_core.configuration import SessionSettings
from referdino_core.session.slot_readings import (
    SAME_OBJECT_OVERLAP,
    Objects,
    SlotReadings,
    camera_shift,
)
from referdino_core.session.track import Track
from referdino_core.target import TargetState, box_overlaps

EVIDENCE_SLACK = 0.15
"""Seconds beyond `take_up` in which an unseen target may return to its slot."""
MAX_REMEMBERED_TRACKS = 8
"""Most unseen tracks whose identity is remembered."""


@dataclass(frozen=True)
class SlotChoice:
    """The slot and track of one object of a command in one frame.

    Attributes:
        slot: index of its slot; that of the best candidate while nothing is tracked.
        track: its track, also after it was lost; None if there has never been one.
        score, frame_score: probabilities, averaged over recent frames and of this frame alone.
    """

    slot: int
    track: Track | None
    score: float
    frame_score: float

    @property
    def track_id(self) -> int:
        """Identity of the object; 0 before one is chosen."""
        return 0 if self.track is None else self.track.track_id

    @property
    def state(self) -> TargetState:
        """State of the target."""
        return TargetState.SEARCHING if self.track is None else self.track.state

    @property
    def is_seen(self) -> bool:
        """Whether the frame shows the object."""
        return self.track is not None and self.track.is_seen


class TargetTracker(abc.ABC):
    """Tracks the objects of one command from frame to frame.

    Attributes:
        tracks: lost tracks that may be resumed, followed by the active ones.
        latest: the choices of the newest frame.
        shown: the objects in the slots of the newest frame; None before the first one.
        shown_at: stamp of that frame in seconds.
    """

    def __init__(self, new_track_id: Callable[[], int]) -> None:
        self.new_track_id = new_track_id
        self.tracks: list[Track] = []
        self.latest: tuple[SlotChoice, ...] = ()
        self.shown: Objects | None = None
        self.shown_at = 0.0

    def update(self, readings: SlotReadings, settings: SessionSettings) -> tuple[SlotChoice, ...]:
        """The command's objects in the newest frame."""
        if self.shown is not None:
            elapsed = readings.stamp - self.shown_at
            shift = camera_shift(self.shown, readings.objects, elapsed, settings.same_appearance)
            for track in self.tracks:
                track.shift = track.shift + shift
        self.shown, self.shown_at = readings.objects, readings.stamp
        self.latest = self.choose(readings, settings)
        self.forget_old_tracks()
        return self.latest

    @abc.abstractmethod
    def choose(self, readings: SlotReadings, settings: SessionSettings) -> tuple[SlotChoice, ...]:
        """Continue, switch and start tracks; returns the command's objects."""

    @property
    def standing(self) -> tuple[SlotChoice, ...]:
        """The choices that remain valid until the next image is judged."""
        return self.latest

    def seen_slots(self) -> tuple[int, ...]:
        """Slots of the targets that the newest frame shows, and the next one probably will."""
        return tuple(dict.fromkeys(track.slot for track in self.tracks if track.is_seen))

    def frozen_slots(self) -> list[int]:
        """Slots whose target is not visible in the newest frame; they hold something else."""
        seen = {track.slot for track in self.tracks if track.is_seen}
        return [one.slot for one in self.tracks if not one.is_seen and one.slot not in seen]

    def follow(
        self, tracks: Sequence[Track], readings: SlotReadings, settings: SessionSettings
    ) -> None:
        """Assign a slot to each track, visible targets first; no two tracks share an object."""
        taken: list[int] = []
        for track in sorted(tracks, key=lambda one: (not one.is_seen, -one.seen)):
            slot = self.slot_of(track, readings, settings, taken)
            track.follow(slot, readings, settings)
            if track.is_seen:
                taken.append(track.slot)

    def slot_of(
        self,
        track: Track,
        readings: SlotReadings,
        settings: SessionSettings,
        taken: Sequence[int],
    ) -> int | None:
        """The slot of a track's target: its own, or the best other one that passes the gates."""
        passing = track.gate(readings, settings)
        for slot in taken:
            passing &= box_overlaps(readings.boxes, readings.boxes[slot]) <= SAME_OBJECT_OVERLAP
        if track.is_seen and passing[track.slot]:
            return track.slot
        candidates = np.flatnonzero(passing & (readings.newest >= settings.accept))
        if not len(candidates):
            return None
        return int(candidates[readings.newest[candidates].argmax()])

    def take_up(self, slot: int, readings: SlotReadings, settings: SessionSettings) -> Track:
        """Track the object in a slot: resume the lost track that it belongs to, or start one."""
        for track in reversed(self.tracks):
            if track.state is TargetState.LOST and track.gate(readings, settings)[slot]:
                self.tracks.remove(track)
                track.revive(slot, readings, settings)
                break
        else:
            track = Track.begin(self.new_track_id(), slot, readings)
        self.tracks.append(track)
        return track

    def snapshot(self) -> dict[str, Any]:
        """The state of the tracker as plain data."""
        indices = {id(track): index for index, track in enumerate(self.tracks)}
        return {
            "tracks": [track.snapshot() for track in self.tracks],
            "shown": None if self.shown is None else self.shown.snapshot(),
            "shown_at": self.shown_at,
            "latest": [
                (one.slot, indices.get(id(one.track)), one.score, one.frame_score)
                for one in self.latest
            ],
        }

    def restore(self, plain: Mapping[str, Any]) -> None:
        """Restore the state from a snapshot of a tracker of the same kind."""
        self.tracks = [Track.from_snapshot(track) for track in plain["tracks"]]
        self.shown = None if plain["shown"] is None else Objects.from_snapshot(plain["shown"])
        self.shown_at = plain["shown_at"]
        self.latest = tuple(
            SlotChoice(slot, None if index is None else self.tracks[index], score, frame_score)
            for slot, index, score, frame_score in plain["latest"]
        )

    def forget_old_tracks(self) -> None:
        """Limit the number of unseen tracks: lost ones are dropped first, oldest first."""
        unseen = [track for track in self.tracks if not track.is_seen]
        unseen.sort(key=lambda track: (track.state is not TargetState.LOST, track.seen))
        for track in unseen[: max(len(unseen) - MAX_REMEMBERED_TRACKS, 0)]:
            self.tracks.remove(track)


class SingleTargetTracker(TargetTracker):
    """Tracks the one object that fits the sentence best."""

    def __init__(self, new_track_id: Callable[[], int]) -> None:
        super().__init__(new_track_id)
        self.switched = -math.inf

    @property
    def standing(self) -> tuple[SlotChoice, ...]:
        """As the base class; an untracked choice before the first image."""
        return self.latest or (SlotChoice(0, None, 0.0, 0.0),)

    def snapshot(self) -> dict[str, Any]:
        """As the base class, with the stamp of the last switch."""
        return super().snapshot() | {"switched": self.switched}

    def restore(self, plain: Mapping[str, Any]) -> None:
        """As the base class."""
        super().restore(plain)
        self.switched = plain["switched"]

    def choose(self, readings: SlotReadings, settings: SessionSettings) -> tuple[SlotChoice, ...]:
        """The target, or the best candidate while there is none."""
        average = readings.average(settings.average)
        current = self.tracks[-1] if self.tracks else None
        if current is not None and current.state is not TargetState.LOST:
            self.follow([current], readings, settings)
            if current.is_seen:
                self.consider_switch(current, average, readings, settings)
        if not self.tracks or self.tracks[-1].state is TargetState.LOST:
            best = best_supported(readings, average, settings)
            if best is not None:
                self.take_up(best, readings, settings)
                self.switched = readings.stamp
        return (self.choice(average, readings),)

    def consider_switch(
        self,
        current: Track,
        average: np.ndarray,
        readings: SlotReadings,
        settings: SessionSettings,
    ) -> None:
        """Switch to a slot that is better by the margin; another object gets a track of its own."""
        best = best_supported(readings, average, settings)
        if (
            best is None
            or best == current.slot
            or readings.stamp - self.switched < settings.switch_interval
            or average[best] < average[current.slot] + settings.switch_margin
        ):
            return
        self.switched = readings.stamp
        boxes = readings.boxes
        if box_overlaps(boxes[best : best + 1], boxes[current.slot])[0] > SAME_OBJECT_OVERLAP:
            current.move_to(best, readings)
        else:
            current.state = TargetState.LOST
            current.unseen_since = readings.stamp
            self.take_up(best, readings, settings)

    def choice(self, average: np.ndarray, readings: SlotReadings) -> SlotChoice:
        """The newest track's slot, or the best candidate if there is no track or it is lost."""
        track = self.tracks[-1] if self.tracks else None
        is_open = track is None or track.state is TargetState.LOST
        slot = track.slot if track and not is_open else int(average.argmax())
        return choice_of(slot, track, average, readings)


class AllTargetsTracker(TargetTracker):
    """Tracks every object that fits the sentence."""

    def choose(self, readings: SlotReadings, settings: SessionSettings) -> tuple[SlotChoice, ...]:
        """A choice for each track that is not lost, in the order of their ids."""
        average = readings.average(settings.average)
        live = [track for track in self.tracks if track.state is not TargetState.LOST]
        self.follow(live, readings, settings)
        free = readings.supported(settings)
        for track in self.tracks:
            if track.is_seen:
                own = readings.boxes[track.slot]
                free &= box_overlaps(readings.boxes, own) <= SAME_OBJECT_OVERLAP
            elif track.state is not TargetState.LOST:
                free &= ~self.reserved(track, readings, settings)
        while free.any():
            best = int(np.where(free, average, -1.0).argmax())
            self.take_up(best, readings, settings)
            free &= box_overlaps(readings.boxes, readings.boxes[best]) <= SAME_OBJECT_OVERLAP
        followed = [track for track in self.tracks if track.state is not TargetState.LOST]
        return tuple(
            choice_of(track.slot, track, average, readings)
            for track in sorted(followed, key=lambda one: one.own_id)
        )

    def reserved(
        self, track: Track, readings: SlotReadings, settings: SessionSettings
    ) -> np.ndarray:
        """(Q,) bool: slots that may hold an occluded target, where no new track may start.

        These are the slots that pass its gates, and for a short time its previous slot, which may
        only look different in one bad image.
        """
        held: np.ndarray = track.gate(readings, settings)
        if readings.stamp - track.seen <= settings.take_up + EVIDENCE_SLACK:
            held |= box_overlaps(readings.boxes, readings.boxes[track.slot]) > SAME_OBJECT_OVERLAP
        return held


def choice_of(
    slot: int, track: Track | None, average: np.ndarray, readings: SlotReadings
) -> SlotChoice:
    """The choice of a slot, with the slot's scores."""
    return SlotChoice(slot, track, float(average[slot]), float(readings.newest[slot]))


def best_supported(
    readings: SlotReadings, average: np.ndarray, settings: SessionSettings
) -> int | None:
    """The slot with the best average among the supported ones; None if there are none."""
    supported = readings.supported(settings)
    return int(np.where(supported, average, -1.0).argmax()) if supported.any() else None
