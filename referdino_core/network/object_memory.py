# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Stage 4, object memory: aligns queries to slots and keeps the window (memory-augmented tracker).

It has no parameters. Only the assignment runs on the host. What several commands' memories have in
common is computed for all of them together.
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

from referdino_core.network.host_copies import download, upload
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
    """Slots of one command: which query is which object from frame to frame.

    Attributes:
        memory: (Q, d), what every slot looked like; None before the first frame.
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
        """Remember nothing yet.

        Args:
            window: frames to keep; None for all.
            momentum: how far a slot of relevance 1 moves per frame, in [0, 1].
            relevance: the released or the paper's.
            interval: seconds between two frames of the window, at least; the newest frame is kept
                whenever it came. With 0 every frame is.
            place_weight: see `alignment_costs`.
        """
        self.momentum = momentum
        self.relevance = relevance
        self.interval = interval
        self.place_weight = place_weight
        self.memory: Tensor | None = None
        self.window: deque[RememberedFrame] = deque(maxlen=window)

    def update(self, queries: Tensor, references: Tensor, text: Tensor, stamp: float) -> None:
        """Take in a frame as the paper does: align, remember, and move every slot by its relevance.

        Args:
            queries: (Q, d) surviving queries; references: (Q, 4) their boxes.
            text: (L, d) fused text without padding; stamp: seconds.
        """
        frame = self.align(queries, references, text, stamp)
        pace = self.momentum * self.relevance_of(frame)
        self.remember(frame, move_memories([self], [frame], pace[None])[0])

    def align(
        self, queries: Tensor, references: Tensor, text: Tensor, stamp: float
    ) -> RememberedFrame:
        """The frame with its queries in the order of the slots; nothing is remembered yet."""
        if self.memory is not None:
            (costs,) = download(alignment_costs([self], queries[None], references[None]))
            order = upload(torch.from_numpy(assign_slots(costs))[0], queries.device)
            queries, references = queries[order], references[order]
        return RememberedFrame(queries, references, text, stamp)

    def remember(self, frame: RememberedFrame, memory: Tensor) -> None:
        """Append an aligned frame to the window, and take (Q, d) as what the slots look like."""
        self.memory = memory
        self.window = self.window_with(frame)

    def window_with(self, frame: RememberedFrame) -> deque[RememberedFrame]:
        """The window as it will be once `frame` is remembered."""
        kept = self.window.copy()
        if len(kept) > 1 and kept[-1].stamp - kept[-2].stamp < self.interval:
            kept.pop()
        kept.append(frame)
        return kept

    def relevance_of(self, frame: RememberedFrame) -> Tensor:
        """(Q,) in [0, 1]: how much a slot concerns the sentence."""
        padding = torch.zeros(1, len(frame.text), dtype=torch.bool, device=frame.text.device)
        return slot_relevance(frame.queries[None], frame.text[None], padding, self.relevance)[0]


def slot_relevance(
    queries: Tensor, text: Tensor, padding: Tensor, kind: Literal["released", "paper"]
) -> Tensor:
    """(N, Q) in [0, 1]: how much each command's slots concern its sentence.

    The paper's cosine is clamped at 0: a negative one would push memory and query apart, and a long
    stream would diverge.

    Args:
        queries: (N, Q, d) of the slots. text: (N, L, d); padding: (N, L) bool.
        kind: the released or the paper's.
    """
    if kind == "paper":
        return F.cosine_similarity(queries, text[:, :1], dim=-1).clamp(min=0)
    fit = token_similarity(queries, text, padding)
    least, most = fit.aminmax(dim=1, keepdim=True)
    return (fit - least) / (most - least).clamp(min=1e-12)


def alignment_costs(
    memories: Sequence[ObjectMemory], queries: Tensor, references: Tensor
) -> Tensor:
    """(N, Q, Q) distance of N commands' slots from queries: how unlike they are, and how far apart.

    One minus the cosine, as in the paper. The distance between the centres of a query's box and of
    the slot's last one, in image sides, adds to it `place_weight` times: of two objects that look
    the same, each then keeps its slot. It is 0 for released weights.

    Args:
        memories: each of them remembers a frame. queries: (N, Q, d); references: (N, Q, 4).
    """
    looks = torch.stack([memory.memory for memory in memories if memory.memory is not None])
    costs = 1 - F.normalize(looks, dim=-1) @ F.normalize(queries.detach(), dim=-1).mT
    weight = memories[0].place_weight
    if weight:
        last = torch.stack([memory.window[-1].references for memory in memories])
        # By matrix multiplication, the distance of neighbours would be lost in rounding.
        distances = torch.cdist(
            last[..., :2],
            references[..., :2].detach(),
            compute_mode="donot_use_mm_for_euclid_dist",
        )
        costs = costs + weight * distances
    return costs


def assign_slots(costs: np.ndarray) -> np.ndarray:
    """(N, Q) int64 index of the query for every slot: Hungarian over (N, Q, Q) costs."""
    return np.stack([linear_sum_assignment(one)[1] for one in costs])


def move_memories(
    memories: Sequence[ObjectMemory], frames: Sequence[RememberedFrame], paces: Tensor
) -> Sequence[Tensor]:
    """What the slots of N commands look like after their frames, (Q, d) each.

    Args:
        memories: stay as they are. frames: aligned, one for each.
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
    """Batch windows of equally many frames; texts are padded."""
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
