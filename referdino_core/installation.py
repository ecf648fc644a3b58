# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Capabilities of this installation."""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch
from torch import nn

from referdino_core.backends.selection import runtimes_here
from referdino_core.configuration import CONFIGURATIONS
from referdino_core.models import weights_file
from referdino_core.ops.library import kernel_status

SHARED_FROM = 20_000_000
"""Parameters from which a network's operators are large enough to run on several CPU threads."""


def capabilities() -> dict[str, str | bool | int | tuple[str, ...] | dict[str, str]]:
    """Kernels, devices, models and optional parts of this installation, by name."""
    cuda = torch.cuda.is_available()
    return {
        "fused CPU kernel": kernel_status(),
        "CPU threads": torch.get_num_threads(),
        "runtimes": runtimes_here(),
        "CUDA": torch.cuda.get_device_name() if cuda else False,
        "models": tuple(CONFIGURATIONS),
        "bundled weights": tuple(name for name in CONFIGURATIONS if weights_file(name).exists()),
        "world (MuJoCo)": find_spec("mujoco") is not None,
        "ROS 2 (rclpy)": find_spec("rclpy") is not None,
    }


def choose_threads(model: nn.Module) -> int:
    """Limit a small network to one CPU thread in the calling thread; returns the thread count.

    Operators of `nano` take microseconds: a second thread costs more than it saves, and much more
    on a busy machine. If `OMP_NUM_THREADS` is set, nothing is changed.
    """
    small = sum(parameter.numel() for parameter in model.parameters()) < SHARED_FROM
    if small and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    return torch.get_num_threads()
