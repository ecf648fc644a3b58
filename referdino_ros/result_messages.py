# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Targets of the session as messages; the header is the image's own, untouched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from referdino.msg import ReferredObject, ReferredObjectArray, RunLengthMask
from sensor_msgs.msg import RegionOfInterest

from referdino_core.media import run_lengths

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


def label_image(targets: Sequence[Target], height: int, width: int) -> np.ndarray:
    """The pixels of `~/mask`: (H, W) uint8, 0 background, k where the k-th target is.

    Where masks overlap, the target that is listed first wins.
    """
    labels = np.zeros((height, width), np.uint8)
    for number, target in reversed(list(enumerate(targets, start=1))):
        labels[target.mask] = number
    return labels


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
    for target in targets:
        if target.box is None:
            continue
        left, top, right, bottom = target.box
        detection = messages.Detection2D(header=header, id=str(target.track_id))
        detection.bbox.center.position.x = (left + right) / 2.0
        detection.bbox.center.position.y = (top + bottom) / 2.0
        detection.bbox.size_x = float(right - left)
        detection.bbox.size_y = float(bottom - top)
        result = messages.ObjectHypothesisWithPose()
        result.hypothesis.class_id = target.command
        result.hypothesis.score = float(target.score)
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
        box=_region(target.box, height, width),
        mask=RunLengthMask(height=height, width=width, counts=run_lengths.encode(target.mask)),
    )


def _region(
    box: tuple[float, float, float, float] | None, height: int, width: int
) -> RegionOfInterest:
    """Whole pixels that cover the box, inside the image; all zero without a box."""
    if box is None:
        return RegionOfInterest()
    left, top = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    right, bottom = min(width, math.ceil(box[2])), min(height, math.ceil(box[3]))
    return RegionOfInterest(
        x_offset=left, y_offset=top, width=max(0, right - left), height=max(0, bottom - top)
    )
