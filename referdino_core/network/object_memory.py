# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Stage 4, object memory: aligns queries to slots and keeps the window (memory-augmented tracker).

Runs on the host and has no parameters.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from referdino_core.network.token_similarity import token_similarity


@dataclass(frozen=True)
class RememberedFrame:
    """One frame of one command, with its queries in the order of the slots.

    Attributes:
        queries: (Q, d); references: (Q, 4) boxes in [0, 1].
        text: (L, d) fused text of the frame, without padding.
        stamp: seconds.
    """

    queries: Tensor
    references: Tensor
    text: Tensor
    stamp: float


@dataclass(frozen=True)
class Window:
    """Windows of equal length of N commands.

    Attributes:
        queries: (N, T, Q, d); references: (N, T, Q, 4).
        text: (N, T, L, d); text_padding: (N, L) bool.
        ages: (N, T) seconds before the newest frame.
    """

    queries: Tensor
    references: Tensor
    text: Tensor
    text_padding: Tensor
    ages: Tensor


class ObjectMemory:
    """Slots of one command: who is who from frame to frame."""

    def __init__(
        self, window: int | None, momentum: float, relevance: Literal["released", "paper"]
    ) -> None:
        self.momentum = momentum
        self.relevance = relevance
        self.memory: Tensor | None = None
        self.window: deque[RememberedFrame] = deque(maxlen=window)

    def update(self, queries: Tensor, references: Tensor, text: Tensor, stamp: float) -> None:
        """Align a frame's queries to the slots, remember them, and move the memory along.

        Args:
            queries: (Q, d) surviving queries; references: (Q, 4) their boxes.
            text: (L, d) fused text without padding; stamp: seconds.
        """
        if self.memory is None:
            self.memory = queries.detach()
        else:
            order = assign_slots(self.memory, queries)
            queries, references = queries[order], references[order]
            pace = self.momentum * self.relevance_of(queries, text).detach()[:, None]
            self.memory = (1 - pace) * self.memory + pace * queries.detach()
        self.window.append(RememberedFrame(queries, references, text, stamp))

    def relevance_of(self, queries: Tensor, text: Tensor) -> Tensor:
        """(Q,) in [0, 1] (released) or [-1, 1] (paper): how much a slot concerns the sentence."""
        if self.relevance == "paper":
            return F.cosine_similarity(queries, text[:1], dim=-1)
        padding = torch.zeros(len(text), dtype=torch.bool, device=text.device)
        fit = token_similarity(queries, text, padding)
        return (fit - fit.min()) / (fit.max() - fit.min()).clamp(min=1e-12)


def assign_slots(memory: Tensor, queries: Tensor) -> Tensor:
    """(Q,) int64 index of the query for every slot: Hungarian over cosine distance."""
    similarity = F.normalize(memory, dim=-1) @ F.normalize(queries.detach(), dim=-1).T
    _, columns = linear_sum_assignment((1 - similarity).float().cpu().numpy())
    return torch.as_tensor(columns, device=queries.device)


def stack_windows(memories: Sequence[ObjectMemory]) -> Window:
    """Batch the windows of memories that hold equally many frames; texts are padded."""
    length = max(len(memory.window[-1].text) for memory in memories)
    newest = memories[0].window[-1]
    device, dtype = newest.queries.device, newest.queries.dtype
    text = torch.zeros(
        len(memories), len(memories[0].window), length, newest.text.shape[-1],
        device=device, dtype=dtype,
    )  # fmt: skip
    padding = torch.ones(len(memories), length, dtype=torch.bool, device=device)
    for row, memory in enumerate(memories):
        tokens = len(memory.window[-1].text)
        text[row, :, :tokens] = torch.stack([frame.text for frame in memory.window])
        padding[row, :tokens] = False
    stamps = [[frame.stamp - m.window[-1].stamp for frame in m.window] for m in memories]
    return Window(
        queries=torch.stack([torch.stack([f.queries for f in m.window]) for m in memories]),
        references=torch.stack([torch.stack([f.references for f in m.window]) for m in memories]),
        text=text,
        text_padding=padding,
        ages=-torch.tensor(stamps, device=device, dtype=torch.float32),
    )
