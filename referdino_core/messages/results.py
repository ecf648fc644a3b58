# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Result messages, built once for the node (rclpy) and for the bags of replay (rosbags)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from referdino_core.messages import run_lengths
from referdino_core.target import Box, Judgement, Target, TargetState

MakeMessage = Callable[..., Any]
"""make(name, **fields): a message of the type with this name, such as "std_msgs/msg/String"."""

STATES = {
    TargetState.SEARCHING: 0,
    TargetState.TRACKING: 1,
    TargetState.OCCLUDED: 2,
    TargetState.LOST: 3,
}
"""Constants of referdino/msg/ReferredObject."""

JUDGEMENTS = {
    Judgement.JUDGED: 0,
    Judgement.RESET: 1,
    Judgement.LATE: 2,
    Judgement.FAILED: 3,
}
"""Constants of referdino/msg/ReferredObjectArray."""

MAX_LABEL = 255
_COVARIANCE_SIZE = 36


@dataclass(frozen=True)
class Verdict:
    """Status of a result as a whole.

    Attributes:
        judgement: whether the model judged the image.
        reason: why it did not, or why memories were reset; "" otherwise.
        dropped: camera images since the previous result that were not judged.
        stream: number of the stream of results; track ids of different streams do not compare.
    """

    judgement: Judgement = Judgement.JUDGED
    reason: str = ""
    dropped: int = 0
    stream: int = 1

    @property
    def is_judged(self) -> bool:
        """Whether the model judged the image."""
        return self.judgement in (Judgement.JUDGED, Judgement.RESET)


@dataclass(frozen=True)
class Region:
    """Box in whole pixels, as in `sensor_msgs/RegionOfInterest`."""

    x_offset: int
    y_offset: int
    width: int
    height: int


def region_around(box: Box | None, height: int, width: int) -> Region:
    """The smallest box in whole pixels around a box, clipped to the image; zero without a box."""
    if box is None:
        return Region(0, 0, 0, 0)
    left, top = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    right, bottom = min(width, math.ceil(box[2])), min(height, math.ceil(box[3]))
    return Region(left, top, max(0, right - left), max(0, bottom - top))


def labels_of(targets: Sequence[Target]) -> list[int]:
    """The value of each target in the label image.

    It is the target's position, counted from 1; targets with the same track id are one object and
    share the value of the first, so that none of them is hidden. Values beyond 255 become 0.
    """
    labels: list[int] = []
    first: dict[int, int] = {}
    for place, target in enumerate(targets, start=1):
        label = first.setdefault(target.track_id, place) if target.track_id else place
        labels.append(label if label <= MAX_LABEL else 0)
    return labels


def label_image(targets: Sequence[Target], height: int, width: int) -> np.ndarray:
    """The pixels of `~/mask`: (H, W) uint8, 0 background, otherwise the label of a target.

    If masks of different objects overlap, the target that is listed first wins.
    """
    pixels = np.zeros((height, width), np.uint8)
    for label, target in reversed(list(zip(labels_of(targets), targets, strict=True))):
        pixels[target.mask] = label
    return pixels


def objects_message(
    make: MakeMessage, header: Any, targets: Sequence[Target], verdict: Verdict
) -> Any:
    """The `~/objects` message: one entry per target, in order."""
    labels = labels_of(targets)
    return make(
        "referdino/msg/ReferredObjectArray",
        header=header,
        judgement=JUDGEMENTS[verdict.judgement],
        stream=verdict.stream,
        reason=verdict.reason,
        dropped=verdict.dropped,
        objects=[
            _object(make, target, label) for target, label in zip(targets, labels, strict=True)
        ],
    )


def _object(make: MakeMessage, target: Target, label: int) -> Any:
    height, width = target.mask.shape
    return make(
        "referdino/msg/ReferredObject",
        command_id=target.command_id,
        command=target.command,
        track_id=target.track_id,
        state=STATES[target.state],
        score=float(target.score),
        frame_score=float(target.frame_score),
        box=_region(make, target.box, height, width),
        predicted_box=_region(make, target.predicted_box, height, width),
        label=label,
        mask=make(
            "referdino/msg/RunLengthMask",
            height=height,
            width=width,
            counts=run_lengths.encode(target.mask) if target.mask.size else "",
        ),
    )


def _region(make: MakeMessage, box: Box | None, height: int, width: int) -> Any:
    region = region_around(box, height, width)
    return make("sensor_msgs/msg/RegionOfInterest", **vars(region), do_rectify=False)


def detections_message(make: MakeMessage, header: Any, targets: Sequence[Target]) -> Any:
    """The `~/detections` message (vision_msgs 4.x): a `Detection2D` per visible target.

    `id` is the track id, `class_id` the command's text, the box is the mask's own.
    """
    return make(
        "vision_msgs/msg/Detection2DArray",
        header=header,
        detections=[
            _detection(make, header, target, target.box)
            for target in targets
            if target.box is not None
        ],
    )


def _detection(make: MakeMessage, header: Any, target: Target, box: Box) -> Any:
    left, top, right, bottom = box
    centre = make("vision_msgs/msg/Point2D", x=(left + right) / 2.0, y=(top + bottom) / 2.0)
    hypothesis = make(
        "vision_msgs/msg/ObjectHypothesis", class_id=target.command, score=float(target.score)
    )
    return make(
        "vision_msgs/msg/Detection2D",
        header=header,
        results=[
            make(
                "vision_msgs/msg/ObjectHypothesisWithPose",
                hypothesis=hypothesis,
                pose=_unknown_pose(make),
            )
        ],
        bbox=make(
            "vision_msgs/msg/BoundingBox2D",
            center=make("vision_msgs/msg/Pose2D", position=centre, theta=0.0),
            size_x=float(right - left),
            size_y=float(bottom - top),
        ),
        id=str(target.track_id),
    )


def _unknown_pose(make: MakeMessage) -> Any:
    """The default pose of a message, for an unknown pose."""
    position = make("geometry_msgs/msg/Point", x=0.0, y=0.0, z=0.0)
    orientation = make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0)
    return make(
        "geometry_msgs/msg/PoseWithCovariance",
        pose=make("geometry_msgs/msg/Pose", position=position, orientation=orientation),
        covariance=np.zeros(_COVARIANCE_SIZE),
    )
