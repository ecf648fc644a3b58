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
    ) -> None:
        """Remember nothing yet.

        Args:
            window: frames to keep; None for all.
            momentum: how far a slot of relevance 1 moves per frame, in [0, 1].
            relevance: the released or the paper's.
            interval: seconds between two frames of the window, at least; the newest frame is kept
                whenever it came. With 0 every frame is.
        """
        self.momentum = momentum
        self.relevance = relevance
        self.interval = interval
        self.memory: Tensor | None = None
        self.window: deque[RememberedFrame] = deque(maxlen=window)

    def update(self, queries: Tensor, references: Tensor, text: Tensor, stamp: float) -> None:
        """Take in a frame as the paper does: align, remember, and move every slot by its relevance.

        Args:
            queries: (Q, d) surviving queries; references: (Q, 4) their boxes.
            text: (L, d) fused text without padding; stamp: seconds.
        """
        frame = self.align(queries, references, text, stamp)
        self.remember(frame, self.momentum * self.relevance_of(frame))

    def align(
        self, queries: Tensor, references: Tensor, text: Tensor, stamp: float
    ) -> RememberedFrame:
        """The frame with its queries in the order of the slots; nothing is remembered yet."""
        if self.memory is not None:
            order = assign_slots(self.memory, queries)
            queries, references = queries[order], references[order]
        return RememberedFrame(queries, references, text, stamp)

    def remember(self, frame: RememberedFrame, pace: Tensor) -> None:
        """Append an aligned frame to the window and move the memory along.

        Args:
            pace: (Q,) in [0, 1], how far each slot moves from its memory to the frame's query.
        """
        queries = frame.queries.detach()
        if self.memory is None:
            self.memory = queries
        else:
            pace = pace.detach()[:, None]
            self.memory = (1 - pace) * self.memory + pace * queries
        self.window = self.window_with(frame)

    def window_with(self, frame: RememberedFrame) -> deque[RememberedFrame]:
        """The window as it will be once `frame` is remembered."""
        kept = self.window.copy()
        if len(kept) > 1 and kept[-1].stamp - kept[-2].stamp < self.interval:
            kept.pop()
        kept.append(frame)
        return kept

    def relevance_of(self, frame: RememberedFrame) -> Tensor:
        """(Q,) in [0, 1]: how much a slot concerns the sentence.

        The paper's cosine is clamped at 0: a negative one would push memory and query apart, and a
        long stream would diverge.
        """
        if self.relevance == "paper":
            return F.cosine_similarity(frame.queries, frame.text[:1], dim=-1).clamp(min=0)
        padding = torch.zeros(len(frame.text), dtype=torch.bool, device=frame.text.device)
        fit = token_similarity(frame.queries, frame.text, padding)
        return (fit - fit.min()) / (fit.max() - fit.min()).clamp(min=1e-12)


def assign_slots(memory: Tensor, queries: Tensor) -> Tensor:
    """(Q,) int64 index of the query for every slot: Hungarian over cosine distance."""
    similarity = F.normalize(memory, dim=-1) @ F.normalize(queries.detach(), dim=-1).T
    _, columns = linear_sum_assignment((1 - similarity).float().cpu().numpy())
    return torch.as_tensor(columns, device=queries.device)


def stack_windows(windows: Sequence[Sequence[RememberedFrame]]) -> Window:
    """Batch windows of equally many frames; texts are padded."""
    newest = windows[0][-1]
    length = max(len(window[-1].text) for window in windows)
    device, dtype = newest.queries.device, newest.queries.dtype
    text = torch.zeros(
        len(windows), len(windows[0]), length, newest.text.shape[-1], device=device, dtype=dtype
    )
    padding = torch.ones(len(windows), length, dtype=torch.bool, device=device)
    for row, window in enumerate(windows):
        tokens = len(window[-1].text)
        text[row, :, :tokens] = torch.stack([frame.text for frame in window])
        padding[row, :tokens] = False
    stamps = [[frame.stamp - window[-1].stamp for frame in window] for window in windows]
    return Window(
        queries=torch.stack([torch.stack([f.queries for f in window]) for window in windows]),
        references=torch.stack([torch.stack([f.references for f in window]) for window in windows]),
        text=text,
        text_padding=padding,
        ages=-torch.tensor(stamps, device=device, dtype=torch.float32),
    )
