# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Targets of the session as messages; the header is the image's own, untouched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from referdino.msg import ReferredObject, ReferredObjectArray, RunLengthMask
from sensor_msgs.msg import RegionOfInterest

from referdino_core.media import run_lengths
from referdino_core.media.result_contents import detections_of, region_around

if TYPE_CHECKING:
    from referdino_core.session import Target

_STATES = {
    "searching": ReferredObject.SEARCHING,
    "tracking": ReferredObject.TRACKING,
    "occluded": ReferredObject.OCCLUDED,
    "lost": ReferredObject.LOST,
}


def objects_message(header: Any, targets: Sequence[Target]) -> ReferredObjectArray:
    """The `~/objects` message: one entry per target, in their order."""
    return ReferredObjectArray(header=header, objects=[_object(target) for target in targets])


def detections_message(header: Any, targets: Sequence[Target], messages: Any) -> Any:
    """The `~/detections` message: one `Detection2D` per target that is seen in the image.

    Args:
        header: of the image.
        targets: of the session; those without a box have no detection.
        messages: the module `vision_msgs.msg` (4.x), which is not installed everywhere.

    Returns:
        A `vision_msgs/Detection2DArray`; `id` is the track id, `class_id` the command's text.
    """
    array = messages.Detection2DArray(header=header)
    for seen in detections_of(targets):
        detection = messages.Detection2D(header=header, id=seen.track_id)
        detection.bbox.center.position.x, detection.bbox.center.position.y = seen.centre
        detection.bbox.size_x, detection.bbox.size_y = seen.size
        result = messages.ObjectHypothesisWithPose()
        result.hypothesis.class_id = seen.sentence
        result.hypothesis.score = seen.score
        detection.results.append(result)
        array.detections.append(detection)
    return array


def _object(target: Target) -> ReferredObject:
    height, width = target.mask.shape
    return ReferredObject(
        command_id=target.command_id,
        command=target.command,
        track_id=int(target.track_id),
        state=_STATES[str(target.state.value)],
        score=float(target.score),
        frame_score=float(target.frame_score),
        box=RegionOfInterest(**asdict(region_around(target.box, height, width))),
        mask=RunLengthMask(height=height, width=width, counts=run_lengths.encode(target.mask)),
    )
