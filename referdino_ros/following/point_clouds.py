# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""`sensor_msgs/PointCloud2` of a target's pixels: x, y, z as float32 metres, one row."""

from __future__ import annotations

from typing import Any

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField

from referdino_ros.messages import byte_array

_SIZE = 12


def point_cloud(points: np.ndarray, header: Any) -> PointCloud2:
    """A cloud of (N, 3) points, unordered; what is not finite is left out."""
    finite = np.ascontiguousarray(points[np.isfinite(points).all(axis=1)], np.float32)
    cloud = PointCloud2()
    cloud.header = header
    cloud.height, cloud.width = 1, len(finite)
    cloud.fields = [
        PointField(name=name, offset=4 * place, datatype=PointField.FLOAT32, count=1)
        for place, name in enumerate("xyz")
    ]
    cloud.point_step, cloud.row_step = _SIZE, _SIZE * len(finite)
    cloud.is_bigendian, cloud.is_dense = False, True
    if len(finite):
        cloud.data = byte_array(finite)
    return cloud
