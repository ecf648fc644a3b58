# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Stage 4, object memory: aligns queries to slots and keeps the window (memory-augmented tracker).

It has no parameters. Only the assignment runs on the host; everything else is computed for several
commands together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from referdino_core.errors import InferenceError
from referdino_core.network.host_copies import download, upload
from referdino_core.network.token_similarity import token_similarity


@dataclass(frozen=True)
class RememberedFrame:
    """One frame of one command, with its queries in the order of the slots.

    Attributes:
        queries: (Q, d). references: (Q, 4) boxes in [0, 1].
        text: (L, d) fused text of the frame, without padding.
        stamp: seconds.
    """

    queries: Tensor
    references: Tensor
    text: Tensor
    stamp: float


@dataclass(frozen=True)
class Window:
    """Windows of N commands, all of the same length T.

    Attributes:
        queries: (N, T, Q, d). references: (N, T, Q, 4).
        text: (N, T, L, d). text_padding: (N, L) bool.
        ages: (N, T) seconds before the newest frame.
    """

    queries: Tensor
    references: Tensor
    text: Tensor
    text_padding: Tensor
    ages: Tensor


class ObjectMemory:
    """Object slots of one command, which associate queries with objects from frame to frame.

    Attributes:
        memory: (Q, d) appearance of every slot; None before the first frame.
        window: the last frames, newest last.
    """

    def __init__(
        self,
        window: int | None,
        momentum: float,
        relevance: Literal["released", "paper"],
        interval: float = 0.0,
        place_weight: float = 0.0,
    ) -> None:
        """Initialise an empty memory.

        Args:
            window: frames to keep; None for all.
            momentum: how far a slot of relevance 1 moves per frame, in [0, 1].
            relevance: the variant of the released code or of the paper.
            interval: minimum seconds between two frames of the window, except the newest one; 0 to
                keep every frame.
            place_weight: see `alignment_costs`.
        """
        self.momentum = momentum
        self.relevance = relevance
        self.interval = interval
        self.place_weight = place_weight
        self.memory: Tensor | None = None
        self.window: deque[RememberedFrame] = deque(maxlen=window)

    def update(self, queries: Tensor, references: Tensor, text: Tensor, stamp: float) -> None:
        """Add a frame as in the paper: align, remember, and move every slot by its relevance.

        Args:
            queries: (Q, d) surviving queries. references: (Q, 4) their boxes.
            text: (L, d) fused text without padding.
            stamp: seconds.
        """
        frame = self.align(queries, references, text, stamp)
        pace = self.momentum * self.relevance_of(frame)
        self.remember(frame, move_memories([self], [frame], pace[None])[0])

    def align(
        self, queries: Tensor, references: Tensor, text: Tensor, stamp: float
    ) -> RememberedFrame:
        """The frame with its queries in the order of the slots; the memory is unchanged."""
        if self.memory is not None:
            (costs,) = download(alignment_costs([self], queries[None], references[None]))
            order = upload(torch.from_numpy(assign_slots(costs))[0], queries.device)
            queries, references = queries[order], references[order]
        return RememberedFrame(queries, references, text, stamp)

    def remember(self, frame: RememberedFrame, memory: Tensor) -> None:
        """Append an aligned frame to the window, and set the appearance of the slots, (Q, d)."""
        self.memory = memory
        self.window = self.window_with(frame)

    def window_with(self, frame: RememberedFrame) -> deque[RememberedFrame]:
        """The window after adding `frame`."""
        kept = self.window.copy()
        if len(kept) > 1 and kept[-1].stamp - kept[-2].stamp < self.interval:
            kept.pop()
        kept.append(frame)
        return kept

    def relevance_of(self, frame: RememberedFrame) -> Tensor:
        """Relevance of each slot to the sentence, (Q,) in [0, 1]."""
        padding = torch.zeros(1, len(frame.text), dtype=torch.bool, device=frame.text.device)
        return slot_relevance(frame.queries[None], frame.text[None], padding, self.relevance)[0]


def slot_relevance(
    queries: Tensor, text: Tensor, padding: Tensor, kind: Literal["released", "paper"]
) -> Tensor:
    """Relevance of the slots of N commands to their sentences, (N, Q) in [0, 1].

    The paper's cosine is clamped at 0: a negative value would push memory and query apart, and long
    streams would diverge.

    Args:
        queries: (N, Q, d) queries in the order of the slots.
        text: (N, L, d). padding: (N, L) bool.
        kind: the variant of the released code or of the paper.
    """
    if kind == "paper":
        return F.cosine_similarity(queries, text[:, :1], dim=-1).clamp(min=0)
    similarity = token_similarity(queries, text, padding)
    low, high = similarity.aminmax(dim=1, keepdim=True)
    return (similarity - low) / (high - low).clamp(min=1e-12)


def alignment_costs(
    memories: Sequence[ObjectMemory], queries: Tensor, references: Tensor
) -> Tensor:
    """Costs (N, Q, Q) of assigning queries to the slots of N commands, by appearance and position.

    The cost is one minus the cosine, as in the paper, plus `place_weight` times the distance in
    image sides between the centre of the query's box and that of the slot's last box, so that
    objects that look the same keep their slots. The weight is 0 for released weights.

    Args:
        memories: memories with at least one frame.
        queries: (N, Q, d). references: (N, Q, 4).
    """
    looks = torch.stack([memory.memory for memory in memories if memory.memory is not None])
    costs = 1 - F.normalize(looks, dim=-1) @ F.normalize(queries.detach(), dim=-1).mT
    weight = memories[0].place_weight
    if weight:
        last = torch.stack([memory.window[-1].references for memory in memories])
        # A matrix multiplication would lose small distances to rounding.
        distances = torch.cdist(
            last[..., :2],
            references[..., :2].detach(),
            compute_mode="donot_use_mm_for_euclid_dist",
        )
        costs = costs + weight * distances
    return costs


def assign_slots(costs: np.ndarray) -> np.ndarray:
    """Index (N, Q) int64 of the query for every slot: Hungarian assignment over (N, Q, Q) costs.

    Raises:
        InferenceError: a cost is not finite.
    """
    if not np.isfinite(costs).all():
        raise InferenceError("Queries cannot be aligned: they are not finite.")
    return np.stack([linear_sum_assignment(one)[1] for one in costs])


def move_memories(
    memories: Sequence[ObjectMemory], frames: Sequence[RememberedFrame], paces: Tensor
) -> Sequence[Tensor]:
    """The appearance of the slots of N commands after their frames, (Q, d) each.

    Args:
        memories: object memories, which are not changed.
        frames: aligned frames, one per memory.
        paces: (N, Q) in [0, 1], how far each slot moves from its memory to the frame's query.
    """
    queries = [frame.queries.detach() for frame in frames]
    known = [
        found if memory.memory is None else memory.memory
        for memory, found in zip(memories, queries, strict=True)
    ]
    paces = paces.detach()[..., None]
    moved = (1 - paces) * torch.stack(known) + paces * torch.stack(queries)
    return [
        found if memory.memory is None else after
        for memory, found, after in zip(memories, queries, moved, strict=True)
    ]


def stack_windows(windows: Sequence[Sequence[RememberedFrame]]) -> Window:
    """Stack windows of the same length to a batch; texts are padded."""
    device = windows[0][-1].queries.device
    lengths = [len(window[-1].text) for window in windows]
    longest = max(lengths)

    def stacked(name: str) -> Tensor:
        values = [getattr(frame, name) for window in windows for frame in window]
        if name == "text":
            values = [
                one if len(one) == longest else F.pad(one, (0, 0, 0, longest - len(one)))
                for one in values
            ]
        return torch.stack(values).unflatten(0, (len(windows), len(windows[0])))

    return Window(
        queries=stacked("queries"),
        references=stacked("references"),
        text=stacked("text"),
        text_padding=upload(
            torch.from_numpy(np.arange(longest) >= np.array(lengths)[:, None]), device
        ),
        ages=upload(window_ages(windows), device),
    )


def window_ages(windows: Sequence[Sequence[RememberedFrame]]) -> Tensor:
    """(N, T) seconds before the newest frame, on the host."""
    stamps = [[frame.stamp - window[-1].stamp for frame in window] for window in windows]
    return -torch.tensor(stamps, dtype=torch.float32)
