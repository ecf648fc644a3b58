# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What this installation can do."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from referdino_core.configuration import CONFIGURATIONS
from referdino_core.kernels import kernel_status
from referdino_core.models import weights_file


def capabilities() -> dict[str, str | bool | int | tuple[str, ...]]:
    """Kernels, devices, models and optional parts by name."""
    cuda = torch.cuda.is_available()
    return {
        "fused CPU kernel": kernel_status(),
        "CPU threads": torch.get_num_threads(),
        "CUDA": torch.cuda.get_device_name() if cuda else False,
        "models": tuple(CONFIGURATIONS),
        "bundled weights": tuple(name for name in CONFIGURATIONS if weights_file(name).exists()),
        "world (MuJoCo)": find_spec("mujoco") is not None,
        "ROS 2 (rclpy)": find_spec("rclpy") is not None,
    }
