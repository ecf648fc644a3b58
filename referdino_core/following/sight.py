# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Estimate of the target: its identity, position and motion.

An identity is bound once, after several images agree. From then on only observations of that
identity, at a place where it can be, count as a sight of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from referdino_core.following.geometry import Pose, wrap_angle
from referdino_core.following.goals import OnSwitch
from referdino_core.following.kalman import FilterSettings, Track, begin_track, predict, update
from referdino_core.following.measurement import Measured
from referdino_core.following.observation import Observation, PlaceEvidence
from referdino_core.following.ranges import Ranged, quantity
from referdino_core.target import Judgement, TargetState

_RATE_SHARE = 0.3
"""Weight of the newest interval in the average of the image rate."""
_MOVES_ON = 1.0
"""Seconds for which a target that is not seen is believed to go on as it went."""
_BORDER = 0.75
"""Fraction of half the field of view beyond which a target is near the image's border."""
_BEGAN_ANEW = "The stream of results began anew: a break in the images, or another node referdino."

_PLACES = {
    PlaceEvidence.UNKNOWN: "",
    PlaceEvidence.HIDDEN: ": something nearer hides its place",
    PlaceEvidence.PRESENT: ": something stands at its place, but is not recognised",
    PlaceEvidence.EMPTY: ": its place is empty",
}


@dataclass(frozen=True)
class SightSettings(Ranged):
    """Criteria of a valid observation of the target.

    Attributes:
        max_age: of an image that is driven by, from its stamp.
        future: by which an image's stamp may be ahead of the clock.
        bind_duration: for which images must agree on an identity before it is bound.
        bind_images: how many of them there must be.
        bind_spread: distance that a target may jump between them.
        bind_score: score below which an image is no evidence.
        same_place: distance from where the target is expected within which another identity may be
            the same object, which was only named anew.
        switch_confirm: for which it must stay there before it is followed on.
    """

    max_age: float = quantity(0.5, 0.05, 5.0, "s")
    future: float = quantity(0.1, 0.0, 2.0, "s")
    bind_duration: float = quantity(0.8, 0.0, 10.0, "s")
    bind_images: int = quantity(3, 1, 100, "images")
    bind_spread: float = quantity(0.4, 0.01, 10.0, "m")
    bind_score: float = quantity(0.6, 0.0, 1.0)
    same_place: float = quantity(0.35, 0.0, 5.0, "m")
    switch_confirm: float = quantity(1.0, 0.0, 60.0, "s")


@dataclass(frozen=True)
class Switch:
    """Another identity that the sentence went to.

    track_id: the newest. began: stamp since which the bound one was not seen for it. since: stamp
    since which this one stays where the target is expected, or stays elsewhere. same_place: which
    of the two.
    """

    track_id: int
    began: float
    since: float
    same_place: bool


@dataclass(frozen=True, eq=False)
class Sight:
    """Estimate of the target's identity, position and motion.

    Attributes:
        track_id: the bound identity; 0 before.
        candidate: the newest observation of an identity that may be bound; since: the stamp of its
            first image; images: how many agreed.
        track: its place and velocity; None before it was measured.
        radius: metres from its centre to its surface.
        bearing: newest direction in the odometry frame, radians.
        bearing_only: whether the newest sight had no depth.
        seen: stamp of the newest image that showed it; None before.
        seen_since: stamp since which it was seen without a gap.
        side: where it left the view, +1 left, -1 right, 0 within the view.
        image: stamp of the newest image; None before. image_rate: images per second.
        visible: whether the newest image shows it where it can be.
        free_distance: of the newest image that showed it, as in `Observation`.
        stream: of the newest image; None before. Identities of another stream mean nothing.
        switch: where the sentence went, while that is another identity; None while it has not.
        place: what depth shows where it was, while it is not seen.
        was_reset: whether the stream forgot its identities.
        complaint: what is wrong with the newest image, or why it does not show the target.
    """

    track_id: int = 0
    candidate: Observation | None = None
    since: float = 0.0
    images: int = 0
    track: Track | None = None
    radius: float = 0.0
    bearing: float | None = None
    bearing_only: bool = False
    seen: float | None = None
    seen_since: float | None = None
    side: float = 0.0
    image: float | None = None
    image_rate: float = 0.0
    visible: bool = False
    free_distance: float | None = None
    stream: int | None = None
    switch: Switch | None = None
    place: PlaceEvidence = PlaceEvidence.UNKNOWN
    was_reset: bool = False
    complaint: str = ""


def note_observation(
    sight: Sight,
    observation: Observation,
    now: float,
    pose: Pose,
    field_of_view: float,
    on_switch: OnSwitch,
    settings: SightSettings,
    motion: FilterSettings,
) -> Sight:
    """Update the estimate with an observation.

    Args:
        now: seconds, of the clock that stamps the images.
        pose: of the base in the odometry frame.
        field_of_view: horizontal, radians.
    """
    complaint = stamp_complaint(observation.stamp, sight.image, now, settings)
    if not observation.is_finite:
        complaint = "An image's measurement holds a number that is not finite; it is left out."
    if complaint:
        return replace(sight, complaint=complaint)
    begins = sight.stream not in (None, observation.stream)
    sight = replace(
        sight,
        image_rate=_rate(sight, observation.stamp),
        image=observation.stamp,
        stream=observation.stream,
    )
    if begins or observation.judgement is Judgement.RESET:
        if sight.track_id:
            return replace(sight, visible=False, was_reset=True, complaint=_BEGAN_ANEW)
        sight = replace(sight, candidate=None, images=0)
    if observation.judgement in (Judgement.LATE, Judgement.FAILED):
        return replace(
            sight, complaint=f"An image could not be judged ({observation.judgement.value})."
        )
    if sight.track_id == 0:
        return _gather(sight, observation, pose, field_of_view, settings, motion)
    if observation.track_id not in (0, sight.track_id):
        sight = _other_identity(sight, observation, on_switch, settings, motion)
        if sight.track_id != observation.track_id:
            return sight
    elif sight.switch is not None and observation.track_id:
        sight = replace(sight, switch=None)
    if observation.state is not TargetState.TRACKING or observation.kind is Measured.NOTHING:
        told = f"The target is {observation.state.value}{_PLACES[observation.place]}."
        return replace(sight, visible=False, place=observation.place, complaint=told)
    return _see(sight, observation, pose, field_of_view, motion)


def stamp_complaint(
    stamp: float, previous: float | None, now: float, settings: SightSettings
) -> str:
    """Reason why an image's stamp is invalid; "" if it is valid."""
    if stamp <= 0:
        return "Images have no stamp (0). Let the camera driver stamp them."
    if stamp - now > settings.future:
        return (
            f"An image is stamped {stamp - now:.3f} s in the future. Let camera and robot have one "
            "clock, and set use_sim_time alike everywhere."
        )
    if previous is not None and stamp <= previous:
        return f"An image came {previous - stamp:.3f} s after a newer one; it is left out."
    if now - stamp > 3600.0:
        return (
            f"An image is stamped {now - stamp:.0f} s in the past: another clock. Set use_sim_time "
            "alike everywhere."
        )
    return ""


def _rate(sight: Sight, stamp: float) -> float:
    if sight.image is None:
        return 0.0
    newest = 1.0 / max(stamp - sight.image, 1e-3)
    if sight.image_rate == 0.0:
        return newest
    return (1 - _RATE_SHARE) * sight.image_rate + _RATE_SHARE * newest


def _gather(
    sight: Sight,
    observation: Observation,
    pose: Pose,
    field_of_view: float,
    settings: SightSettings,
    motion: FilterSettings,
) -> Sight:
    """Evidence for binding an identity, and the binding once there is enough."""
    shown = (
        observation.track_id > 0
        and observation.state is TargetState.TRACKING
        and observation.kind is not Measured.NOTHING
    )
    if not shown or observation.score < settings.bind_score:
        told = f"No object is picked for the sentence ({observation.state.value})."
        if shown:
            told = (
                f"Object {observation.track_id} may be meant, with a score of "
                f"{observation.score:.2f}; {settings.bind_score:g} are asked for."
            )
        return replace(sight, candidate=None, images=0, complaint=told)
    before = sight.candidate
    agrees = before is not None and before.track_id == observation.track_id
    if agrees and before is not None and before.position is not None:
        jump = 0.0
        if observation.position is not None:
            jump = float(np.hypot(*(observation.position - before.position)))
        agrees = jump <= settings.bind_spread
    since = sight.since if agrees else observation.stamp
    images = sight.images + 1 if agrees else 1
    sight = replace(sight, candidate=observation, since=since, images=images)
    enough = images >= settings.bind_images
    if not enough or observation.stamp - since < settings.bind_duration:
        told = f"Making sure of object {observation.track_id}: {images} images agree."
        return replace(sight, complaint=told)
    bound = replace(sight, track_id=observation.track_id, candidate=None)
    return _see(bound, observation, pose, field_of_view, motion)


def _other_identity(
    sight: Sight,
    observation: Observation,
    on_switch: OnSwitch,
    settings: SightSettings,
    motion: FilterSettings,
) -> Sight:
    """The sight after an image in which the sentence means another identity.

    It is bound in place of the old one where that was asked for, or after it stayed for a while
    exactly where the target is: then the same object was named anew. A twin is somewhere else.
    """
    if on_switch is OnSwitch.ACCEPT:
        return replace(sight, track_id=observation.track_id, track=None, switch=None)
    if observation.kind is Measured.NOTHING:
        told = f"The sentence went to object {observation.track_id}, which is not seen."
        return replace(sight, visible=False, switch=None, complaint=told)
    away = _distance_from_expected(sight, observation, motion)
    same = away is not None and away <= settings.same_place
    stamp, before = observation.stamp, sight.switch
    began = stamp if before is None else before.began
    goes_on = before is not None and (before.track_id, before.same_place) == (
        observation.track_id,
        same,
    )
    since = before.since if goes_on and before is not None else stamp
    if same and stamp - since >= settings.switch_confirm:
        return replace(sight, track_id=observation.track_id, switch=None)
    where = "an unknown distance" if away is None else f"{away:.2f} m"
    told = (
        f"The sentence went from object {sight.track_id} to object {observation.track_id}, "
        f"{where} from where the target is expected; it is not chased."
    )
    switch = Switch(observation.track_id, began, since, same)
    return replace(sight, visible=False, switch=switch, complaint=told)


def _distance_from_expected(
    sight: Sight, observation: Observation, motion: FilterSettings
) -> float | None:
    """Metres from where the target is expected; None where nothing was measured.

    What was not seen for a while may have stopped anywhere on the way that it was going.
    """
    if sight.track is None or observation.position is None:
        return None
    until = min(observation.stamp, sight.track.stamp + _MOVES_ON)
    start, end = sight.track.position, predict(sight.track, until, motion).position
    way = end - start
    share = float((observation.position - start) @ way) / max(float(way @ way), 1e-9)
    expected = start + np.clip(share, 0.0, 1.0) * way
    return float(np.hypot(*(observation.position - expected)))


def _see(
    sight: Sight,
    observation: Observation,
    pose: Pose,
    field_of_view: float,
    motion: FilterSettings,
) -> Sight:
    """The sight after an image that shows the bound identity."""
    track = sight.track
    if observation.place is PlaceEvidence.PRESENT and track is not None:
        told = f"Object {sight.track_id} was recognised elsewhere, but something is at its place."
        return replace(sight, visible=False, place=observation.place, complaint=told)
    if observation.position is not None and observation.covariance is not None:
        if track is None:
            track = begin_track(
                observation.stamp, observation.position, observation.covariance, motion
            )
        else:
            done = update(
                track, observation.stamp, observation.position, observation.covariance, motion
            )
            if not done.accepted:
                away = float(np.hypot(*(observation.position - track.position)))
                told = (
                    f"Object {sight.track_id} was measured {away:.2f} m from where it was: "
                    f"{done.distance**0.5:.1f} sigma, where 3.4 are believed."
                )
                return replace(sight, visible=False, complaint=told)
            track = done.track
    bearing = observation.bearing
    if bearing is None and track is not None:
        bearing = math.atan2(track.position[1] - pose.y, track.position[0] - pose.x)
    relative = wrap_angle((bearing or 0.0) - pose.yaw)
    near_border = abs(relative) > _BORDER * field_of_view / 2
    gap = sight.seen is None or not sight.visible
    return replace(
        sight,
        track=track,
        radius=_radius(sight, observation),
        bearing=bearing,
        bearing_only=observation.kind is Measured.BEARING,
        seen=observation.stamp,
        seen_since=observation.stamp if gap else sight.seen_since,
        side=float(np.sign(relative)) if near_border else 0.0,
        visible=True,
        free_distance=observation.free_distance,
        complaint=observation.reason,
    )


def _radius(sight: Sight, observation: Observation) -> float:
    if observation.kind is not Measured.POSITION:
        return sight.radius
    if sight.radius == 0.0:
        return observation.radius
    if observation.truncated:
        return sight.radius
    return 0.9 * sight.radius + 0.1 * observation.radius
