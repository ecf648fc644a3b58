# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The processes of a training run, as `torchrun` starts them; one where it does not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Processes:
    """This process among those of a run.

    Attributes:
        rank: its number, from 0. count: of all processes. device: where it computes.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and draws progress."""
        return self.rank == 0

    def mean(self, value: Tensor) -> float:
        """Mean over all processes of a scalar."""
        if self.count > 1:
            value = value.detach().clone()
            distributed.all_reduce(value)
            value = value / self.count
        return float(value.detach())

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return self.mean(torch.tensor(float(flag), device=self.device)) > 0

    def wait(self) -> None:
        """Wait for all others."""
        if self.count > 1:
            distributed.barrier()


ALONE = Processes(0, 1, torch.device("cpu"))
"""One process on the CPU."""


@contextmanager
def joined_processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that `torchrun` started; each gets a GPU of its own where there are."""
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if count == 1:
        yield Processes(0, 1, device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(rank, count, device)
    finally:
        distributed.destroy_process_group()
