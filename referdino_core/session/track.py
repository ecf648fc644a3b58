# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Track: one followed object, with its identity, appearance, position and state."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from referdino_core.configuration import SessionSettings
from referdino_core.session.slot_readings import (
    MIN_EVIDENCE,
    SAME_OBJECT_OVERLAP,
    Objects,
    SlotReadings,
)
from referdino_core.target import TargetState, box_overlaps

MAX_EVIDENCE = 64
"""Most images kept as evidence, which bounds it for cameras whose stamps do not advance."""
APPEARANCE_SECONDS = 0.5
"""Time constant of the moving average of a target's appearance."""
PROOF_SECONDS = 0.5
"""How long a target must have been followed to be held while it is occluded."""
MOTION_SECONDS = 0.15
"""Time constant of the moving average of a target's motion."""
EXTRAPOLATION_SECONDS = 0.5
"""How long an unseen target is expected to keep its velocity."""
MAX_DIFFERENCE = 1.25
"""Limit of the summed differences in appearance, position and size, each relative to its own."""


class Evidence:
    """Record of which recent images showed a target."""

    def __init__(self, images: Iterable[tuple[float, bool]] = ()) -> None:
        self.images: deque[tuple[float, bool]] = deque(images, maxlen=MAX_EVIDENCE)

    def add(self, stamp: float, shows: bool, seconds: float) -> None:
        """Add the newest image and drop those older than `seconds`, but keep at least two."""
        self.images.append((stamp, shows))
        while len(self.images) > MIN_EVIDENCE and self.images[0][0] < stamp - seconds:
            self.images.popleft()

    def says(self, shows: bool, fraction: float) -> bool:
        """Whether the newest image and this fraction of all images agree with `shows`.

        A single image never suffices to say that a target is gone.
        """
        votes = [one == shows for _, one in self.images]
        needed = fraction * len(votes)
        return votes[-1] and sum(votes) >= (needed if shows else max(needed, MIN_EVIDENCE))

    def weak_since(self) -> float:
        """Stamp of the first image of the latest run of images without the target."""
        since = self.images[-1][0]
        for stamp, shows in reversed(self.images):
            if shows:
                break
            since = stamp
        return since


@dataclass(eq=False)
class Track:
    """One object with one identity.

    Two gates guard the identity. A slot holds something else, however well that fits the sentence,
    if its query does not look like the target (the prototype, a moving average over confident
    frames), or if the target cannot have reached the position and size of its box by now. The same
    holds for a slot that is closer to one of the target's rivals: the other objects in the frame
    that last showed it.

    Attributes:
        own_id: identity within the session, from 1.
        shared_id: the older identity of another command's track on the same object; None without.
        slot: the slot of the object memory that held the target last.
        target: the object itself: its prototype, and the position where it was last seen.
        rivals: the other objects in the frame that last showed it.
        velocity: (3,) change per second of the target's centre, relative to the scene, and of the
            logarithm of its area.
        shift: (2,) displacement of the scene since the target was last seen.
        begun: stamp of the first sighting. seen: stamp of the last one.
        evidence: which recent images showed the target.
        state: TRACKING, OCCLUDED or LOST.
        unseen_since: stamp of the first image without the target; None while it is seen.
    """

    own_id: int
    slot: int
    target: Objects
    rivals: Objects
    velocity: np.ndarray
    begun: float
    seen: float
    evidence: Evidence
    shift: np.ndarray = field(default_factory=lambda: np.zeros(2))
    state: TargetState = TargetState.TRACKING
    unseen_since: float | None = None
    shared_id: int | None = None

    @property
    def track_id(self) -> int:
        """The reported identity."""
        return self.own_id if self.shared_id is None else self.shared_id

    @classmethod
    def begin(cls, track_id: int, slot: int, readings: SlotReadings) -> Track:
        """A new track of the object in a slot of the newest frame."""
        return cls(
            own_id=track_id,
            slot=slot,
            target=Objects.of(readings, slice(slot, slot + 1)),
            rivals=rivals_of(slot, readings),
            velocity=np.zeros(3),
            begun=readings.stamp,
            seen=readings.stamp,
            evidence=Evidence([(readings.stamp, True)]),
        )

    def move_to(self, slot: int, readings: SlotReadings) -> None:
        """Switch to another slot that holds the same object in the newest frame."""
        self.slot = slot
        self.target = Objects.of(readings, slice(slot, slot + 1))
        self.rivals = rivals_of(slot, readings)
        self.shift = np.zeros(2)

    @property
    def is_seen(self) -> bool:
        """Whether the newest frame shows the target."""
        return self.unseen_since is None

    def gate(self, readings: SlotReadings, settings: SessionSettings) -> np.ndarray:
        """(Q,) bool: which slots may hold this target, by appearance, position and size.

        Positions are expected where they were, or displaced with the scene: a displacement that was
        missed or measured wrongly while few objects were visible excludes no slot.
        """
        passes = self._gate(readings, settings, np.zeros(2))
        return passes | self._gate(readings, settings, self.shift) if self.shift.any() else passes

    def _gate(
        self, readings: SlotReadings, settings: SessionSettings, shift: np.ndarray
    ) -> np.ndarray:
        unseen = max(readings.stamp - self.seen, 0.0)
        widening = settings.place_growth * unseen
        limits = np.array(
            [
                max(1.0 - settings.same_appearance, 1e-6),
                settings.same_place + widening,
                settings.same_size + widening,
            ]
        )[:, None, None]
        shown = readings.objects
        target = self.target.changed(shift)
        ahead = self.velocity * min(unseen, EXTRAPOLATION_SECONDS)
        expected = target.changed(ahead[:2], ahead[2])
        own = np.minimum(shown.differences(target), shown.differences(expected)) / limits
        difference = own.sum(axis=0)[:, 0]
        passes: np.ndarray = (own <= 1.0).all(axis=0)[:, 0] & (difference <= MAX_DIFFERENCE)
        slots = np.flatnonzero(passes)
        others = Objects.of(readings, slots).differences(self.rivals.changed(shift)) / limits
        passes[slots] = difference[slots] <= others.sum(axis=0).min(axis=1, initial=np.inf)
        return passes

    def follow(self, slot: int | None, readings: SlotReadings, settings: SessionSettings) -> None:
        """Update the track with the newest frame.

        Without a slot the target counts as unseen at once. A low score is tolerated until enough
        of the recent images score low, and an unseen target is seen again once enough of them
        show it.

        Args:
            slot: the slot that may hold the target; None if none passes the gates.
        """
        score = 0.0 if slot is None else float(readings.newest[slot])
        needed = settings.keep if self.is_seen else settings.accept
        shows = slot is not None and bool(score >= needed)
        self.evidence.add(readings.stamp, shows, settings.take_up)
        fraction = settings.take_up_share
        if self.is_seen:
            stays = slot is not None and not self.evidence.says(False, fraction)
        else:
            stays = self.evidence.says(True, fraction)
        if stays and slot is not None:
            self.sight(slot, score, readings, settings)
        else:
            self.miss(readings.stamp, settings)

    def sight(
        self, slot: int, score: float, readings: SlotReadings, settings: SessionSettings
    ) -> None:
        """Record that the newest frame shows the target in this slot."""
        shown = Objects.of(readings, slice(slot, slot + 1))
        elapsed = max(readings.stamp - self.seen, 0.0)
        if 0 < elapsed <= EXTRAPOLATION_SECONDS:
            change = shown.changes(self.target.changed(self.shift))[0, 0]
            weight = 1.0 - math.exp(-elapsed / MOTION_SECONDS)
            self.velocity = self.velocity + weight * (change / elapsed - self.velocity)
        elif elapsed > 0:
            self.velocity = np.zeros(3)
        prototype = self.target.queries
        if score >= settings.accept:
            weight = 1.0 - math.exp(-elapsed / APPEARANCE_SECONDS)
            prototype = (1 - weight) * prototype + weight * shown.queries
            prototype = prototype / max(float(np.linalg.norm(prototype)), 1e-9)
        self.target = replace(shown, queries=prototype)
        self.shift = np.zeros(2)
        self.rivals = rivals_of(slot, readings)
        self.slot, self.seen = slot, readings.stamp
        self.unseen_since = None
        self.state = TargetState.TRACKING

    def revive(self, slot: int, readings: SlotReadings, settings: SessionSettings) -> None:
        """Resume following a lost target in the slot that holds it now."""
        self.evidence = Evidence([(readings.stamp, True)])
        self.sight(slot, float(readings.newest[slot]), readings, settings)

    def miss(self, stamp: float, settings: SessionSettings) -> None:
        """Record that the newest frame does not show the target: occluded at first, then lost."""
        if self.unseen_since is None:
            self.unseen_since = self.evidence.weak_since()
        proven = self.seen - self.begun >= PROOF_SECONDS - 1e-6
        held = proven and stamp - self.unseen_since <= settings.hold
        if self.state is not TargetState.LOST:
            self.state = TargetState.OCCLUDED if held else TargetState.LOST

    def snapshot(self) -> dict[str, Any]:
        """The track as plain data for `torch.save`, exact to the bit."""
        plain = dict(vars(self))
        plain |= {name: plain[name].snapshot() for name in ("target", "rivals")}
        plain |= {name: torch.from_numpy(plain[name].copy()) for name in ("velocity", "shift")}
        return plain | {"state": self.state.value, "evidence": list(self.evidence.images)}

    @classmethod
    def from_snapshot(cls, plain: Mapping[str, Any]) -> Track:
        """The track of a snapshot."""
        values = dict(plain)
        values |= {name: Objects.from_snapshot(plain[name]) for name in ("target", "rivals")}
        values |= {name: plain[name].numpy() for name in ("velocity", "shift")}
        values["state"] = TargetState(plain["state"])
        values["evidence"] = Evidence(plain["evidence"])
        return cls(**values)


def rivals_of(slot: int, readings: SlotReadings) -> Objects:
    """All objects but the one in a slot."""
    apart = box_overlaps(readings.boxes, readings.boxes[slot]) <= SAME_OBJECT_OVERLAP
    return Objects.of(readings, apart)
