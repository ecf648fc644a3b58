# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""How images travel between the processes of one machine."""

from __future__ import annotations

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory

_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


def use_roomy_shared_memory() -> None:
    """Let what this process, and those it starts, publish through Fast DDS fit shared memory.

    A profile that the user has chosen stays. Call it before `rclpy.init`.
    """
    if any(os.environ.get(variable) for variable in _VARIABLES):
        return
    profile = Path(get_package_share_directory("referdino"), "config", "fastdds.xml")
    for variable in _VARIABLES:
        os.environ[variable] = str(profile)
