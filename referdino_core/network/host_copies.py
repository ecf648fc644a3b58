# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Copies between the host and a device, as few as can be: each download makes the host wait."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """A host tensor on a device, on its way when this returns; itself where the device is the host.

    On a GPU it goes through pinned memory, so that the host does not wait.
    """
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=device.type != "cpu")


def download(*tensors: Tensor) -> list[np.ndarray]:
    """Tensors of one device as float32 arrays of the host, in one copy; the host waits once."""
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return [tensor.float().numpy() for tensor in tensors]
    packed = torch.cat([tensor.float().flatten() for tensor in tensors]).cpu()
    parts = packed.split([tensor.numel() for tensor in tensors])
    return [part.view(one.shape).numpy() for part, one in zip(parts, tensors, strict=True)]
