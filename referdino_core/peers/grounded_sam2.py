# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Grounded-SAM-2: Grounding DINO finds objects, SAM 2 or EdgeTAM follows them.

As in the demos of IDEA-Research/Grounded-SAM-2 the detector runs for a new command, again after an
interval, and on every image while nothing is tracked; each detection's box starts the object's
memory anew. In its camera demo an image in which the detector runs and finds nothing has no result
at all; here the tracked objects go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from referdino_core.peers.following import Followed, PeerFollower, PeerSettings, Sought, searching
from referdino_core.peers.grounding_dino import Detections, GroundingDINO
from referdino_core.peers.video_segmenter import SegmentedObject, VideoSegmenter
from referdino_core.target import Box, TargetState, box_around, box_overlaps, mask_overlap


@dataclass
class _Track:
    """One object that SAM 2 follows.

    Attributes:
        session: its memory. score: of its newest detection. mask: the newest that is not empty.
        seen: stamp of that mask. presence: probability that the newest image shows the object.
        detected: its box in the newest image, if the detector ran.
    """

    identity: int
    session: Any
    score: float
    mask: np.ndarray
    seen: float
    presence: float
    is_visible: bool = True
    detected: Box | None = None


@dataclass
class _Pursuit:
    """A command with its objects.

    Attributes:
        images, stamp: since the detector ran; None before it did.
        best: score of the best candidate, while there is no object.
    """

    sought: Sought
    tracks: list[_Track] = field(default_factory=list)
    images: int = 0
    stamp: float | None = None
    best: float = 0.0

    def needs_detection(self, stamp: float, settings: PeerSettings) -> bool:
        """Whether the detector runs on the next image."""
        if self.stamp is None or not any(track.is_visible for track in self.tracks):
            return True
        elapsed = stamp - self.stamp
        return self.images >= settings.detect_images or elapsed >= settings.detect_interval


class GroundedSAM2(PeerFollower):
    """Grounding DINO with SAM 2 or EdgeTAM.

    Args:
        detector: Grounding DINO.
        segmenter: SAM 2 or EdgeTAM, for this stream alone.
    """

    def __init__(
        self,
        detector: GroundingDINO,
        segmenter: VideoSegmenter,
        settings: PeerSettings,
        precision: str = "fp32",
    ) -> None:
        self.detector, self.segmenter = detector, segmenter
        self.settings, self.precision = settings, precision
        self.name, self.device = "grounded-sam2", str(segmenter.device)
        self.detection_count = 0
        self._count = 0
        self._pursuits: dict[str, _Pursuit] = {}

    def another(self) -> GroundedSAM2:
        return GroundedSAM2(self.detector, self.segmenter.another(), self.settings, self.precision)

    def check(self, sentence: str) -> object:
        return self.detector.phrase(sentence)

    def forget(self) -> None:
        self._pursuits = {}

    def restart(self) -> None:
        self.forget()
        self.segmenter.restart()
        self._count = self.detection_count = 0

    def follow(
        self, image: np.ndarray, stamp: float, sought: Mapping[str, Sought]
    ) -> dict[str, list[Followed]]:
        self._pursuits = {
            key: kept if (kept := self._pursuits.get(key)) and kept.sought == one else _Pursuit(one)
            for key, one in sought.items()
        }
        self.segmenter.show(image)
        due = [one for one in self._pursuits.values() if one.needs_detection(stamp, self.settings)]
        found = self._detect(image, due)
        for pursuit in self._pursuits.values():
            for track in pursuit.tracks:
                track.detected = None
            detections = found.get(id(pursuit))
            if detections is not None:
                pursuit.images, pursuit.stamp, pursuit.best = 0, stamp, detections.best
            pursuit.images += 1
            started = [] if detections is None else self._start(pursuit, detections, stamp)
            self._continue(pursuit, started, stamp)
        size = image.shape[0], image.shape[1]
        return {key: self._followed(one, size, stamp) for key, one in self._pursuits.items()}

    def _detect(self, image: np.ndarray, due: list[_Pursuit]) -> dict[int, Detections]:
        if not due:
            return {}
        self.detection_count += 1
        sentences = [pursuit.sought.sentence for pursuit in due]
        found = self.detector.detect(image, sentences, self.settings, self.precision)
        return {id(pursuit): one for pursuit, one in zip(due, found, strict=True)}

    def _start(self, pursuit: _Pursuit, detections: Detections, stamp: float) -> list[_Track]:
        """Tracks for the detections of a command; those of earlier objects keep their identity."""
        places = (
            list(range(len(detections.scores)))
            if pursuit.sought.every
            else self._chosen(pursuit, detections)
        )
        before = list(pursuit.tracks)
        started = []
        for place in places:
            session = self.segmenter.start(detections.box(place))
            segmented = self.segmenter.track(session)
            if not segmented.mask.any():
                continue
            earlier = self._same_object(segmented.mask, before)
            if earlier is None:
                self._count += 1
            else:
                before.remove(earlier)
            started.append(
                _Track(
                    self._count if earlier is None else earlier.identity,
                    session,
                    float(detections.scores[place]),
                    segmented.mask,
                    stamp,
                    segmented.presence,
                    detected=detections.box(place),
                )
            )
        return started

    def _chosen(self, pursuit: _Pursuit, detections: Detections) -> list[int]:
        """The detection of a command that selects one object: the tracked one, or a better one."""
        if not len(detections.scores):
            return []
        visible = [track for track in pursuit.tracks if track.is_visible]
        here = box_around(visible[0].mask) if visible else None
        if here is None:
            return [0]
        is_close = detections.scores[0] - detections.scores <= self.settings.switch_margin
        is_same = box_overlaps(detections.boxes, here) >= self.settings.same_object
        return np.flatnonzero(is_close & is_same)[:1].tolist() or [0]

    def _same_object(self, mask: np.ndarray, tracks: list[_Track]) -> _Track | None:
        overlaps = [(mask_overlap(mask, track.mask), track) for track in tracks]
        best = max(overlaps, key=lambda one: one[0], default=None)
        return best[1] if best is not None and best[0] >= self.settings.same_object else None

    def _continue(self, pursuit: _Pursuit, started: list[_Track], stamp: float) -> None:
        """Follow the objects that were not detected anew; started ones replace the same objects.

        A detection of a command that selects one object replaces what was tracked; where every
        object is selected, earlier ones stay until they are lost.
        """
        known = {track.identity for track in started}
        kept: list[_Track] = []
        for track in pursuit.tracks:
            if track.identity in known or (started and not pursuit.sought.every):
                continue
            segmented: SegmentedObject = self.segmenter.track(track.session)
            track.presence = segmented.presence
            track.is_visible = bool(segmented.mask.any())
            if track.is_visible:
                track.mask, track.seen = segmented.mask, stamp
            is_lost = stamp - track.seen >= self.settings.hold
            if pursuit.sought.every and is_lost and (kept or started):
                continue
            kept.append(track)
        tracks = [*started, *kept]
        if pursuit.sought.every:
            visible = [track for track in tracks if track.is_visible]
            others = [track for track in tracks if not track.is_visible]
            tracks = [*visible, *others][: self.settings.max_objects]
        pursuit.tracks = tracks

    def _followed(self, pursuit: _Pursuit, size: tuple[int, int], stamp: float) -> list[Followed]:
        if not pursuit.tracks:
            return [searching(size, pursuit.best)]
        return [
            Followed(
                track.identity,
                self._state(track, stamp),
                track.score,
                track.score * track.presence,
                track.mask if track.is_visible else np.zeros(size, dtype=bool),
                track.detected,
            )
            for track in pursuit.tracks
        ]

    def _state(self, track: _Track, stamp: float) -> TargetState:
        if track.is_visible:
            return TargetState.TRACKING
        is_lost = stamp - track.seen >= self.settings.hold
        return TargetState.LOST if is_lost else TargetState.OCCLUDED

    @property
    def state_bytes(self) -> int:
        return sum(
            self.segmenter.state_bytes(track.session) + track.mask.nbytes
            for pursuit in self._pursuits.values()
            for track in pursuit.tracks
        )

    def snapshot(self) -> dict[str, Any]:
        return {
            "count": self._count,
            "index": self.segmenter.index,
            "pursuits": {
                key: {
                    "sought": [one.sought.sentence, one.sought.every],
                    "images": one.images,
                    "stamp": one.stamp,
                    "best": one.best,
                    "tracks": [self._plain(track) for track in one.tracks],
                }
                for key, one in self._pursuits.items()
            },
        }

    def _plain(self, track: _Track) -> dict[str, Any]:
        return {
            **{name: value for name, value in vars(track).items() if name != "session"},
            "mask": torch.from_numpy(track.mask),
            "memory": self.segmenter.snapshot(track.session),
        }

    def restore(self, remembered: Mapping[str, Any]) -> None:
        self._count = remembered["count"]
        self.segmenter.restart(remembered["index"])
        self._pursuits = {}
        for key, plain in remembered["pursuits"].items():
            tracks = []
            for one in plain["tracks"]:
                values = {name: value for name, value in one.items() if name != "memory"}
                values["mask"] = values["mask"].numpy()
                tracks.append(_Track(session=self.segmenter.restore(one["memory"]), **values))
            sentence, every = plain["sought"]
            self._pursuits[key] = _Pursuit(
                Sought(sentence, every), tracks, plain["images"], plain["stamp"], plain["best"]
            )
