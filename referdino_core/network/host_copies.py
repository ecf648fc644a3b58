# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Tensor copies between host and device, with as few synchronisations as possible."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a host tensor to a device asynchronously; returns the tensor itself on the CPU.

    Copies to a GPU go through pinned memory, so that the host does not wait.
    """
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=device.type != "cpu")


def download(*tensors: Tensor) -> list[np.ndarray]:
    """Copy tensors of one device to float32 arrays on the host, with one synchronisation."""
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return [tensor.float().numpy() for tensor in tensors]
    packed = torch.cat([tensor.float().flatten() for tensor in tensors]).cpu()
    parts = packed.split([tensor.numel() for tensor in tensors])
    return [part.view(one.shape).numpy() for part, one in zip(parts, tensors, strict=True)]
