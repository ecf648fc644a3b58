# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""One step of sessions that share their stages: images in one batch, commands in one batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from referdino_core.boxes import centre_to_corners
from referdino_core.errors import ImageError
from referdino_core.network.object_memory import stack_windows
from referdino_core.network.pixels import to_pixels
from referdino_core.network.text_encoder import stack_texts
from referdino_core.runtime.stages import FrameGrounding
from referdino_core.session.target import Target

if TYPE_CHECKING:
    from referdino_core.session.session import Command, Session


@dataclass(frozen=True)
class View:
    """What one session is shown in a step.

    Attributes:
        image: (H, W, 3) uint8 RGB; stamp: seconds, None for 0.1 s after the one before.
    """

    session: Session
    image: np.ndarray
    stamp: float | None

    def check(self) -> None:
        """Raise ImageError unless this is a non-empty (H, W, 3) uint8 array at a finite time."""
        image = self.image
        if not isinstance(image, np.ndarray):
            raise ImageError(f"An image is a NumPy array, not {type(image).__name__}.")
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ImageError(
                f"An image is (H, W, 3) uint8 RGB, not {image.shape} {image.dtype}; convert it "
                "first."
            )
        if not image.shape[0] or not image.shape[1]:
            raise ImageError(f"The image has no pixels: {image.shape[1]}x{image.shape[0]}.")
        if self.stamp is not None and not np.isfinite(self.stamp):
            raise ImageError(f"The stamp {self.stamp} is no time; give seconds.")


@dataclass(frozen=True)
class AskedCommand:
    """A running command in a step: of the view with this number, which is of this time."""

    view: int
    key: str
    command: Command
    stamp: float


@dataclass(frozen=True)
class CommandReading:
    """The slots of one command in the newest frame; scores and boxes are on the host.

    Attributes:
        scores: (T, Q) probabilities of the window's frames, newest last.
        boxes: (Q, 4) left, top, right, bottom in [0, 1].
        mask_embeddings: (Q, d). mask_features: (1, d, h, w) at stride 4.
        resized: (height, width) in pixels that the image was resized to.
    """

    scores: np.ndarray
    boxes: np.ndarray
    mask_embeddings: Tensor
    mask_features: Tensor
    resized: tuple[int, int]


@torch.inference_mode()
def step_together(views: Sequence[View]) -> list[tuple[Target, ...]]:
    """What the commands of every view's session refer to in its image.

    Images without commands are not encoded. Stages that take one image at a time are called view
    by view, the others once for all.

    Args:
        views: of different sessions that share their stages; checked images of one size.

    Returns:
        For every view one target per command, in the order of the commands.
    """
    stamps = [view.session.follow_stream(view.image.shape[:2], view.stamp) for view in views]
    asked = [
        AskedCommand(number, key, command, stamp)
        for number, (view, stamp) in enumerate(zip(views, stamps, strict=True))
        for key, command in view.session.running.items()
    ]
    answers: list[dict[str, Target]] = [{} for _ in views]
    for batch in image_batches(views, asked):
        for one, reading in read_commands(views, batch):
            view = views[one.view]
            size = view.image.shape[:2]
            answers[one.view][one.key] = view.session.answer(one.key, reading, size)
    return [
        tuple(found[key] for key in view.session.running)
        for view, found in zip(views, answers, strict=True)
    ]


def image_batches(
    views: Sequence[View], asked: Sequence[AskedCommand]
) -> Iterable[Sequence[AskedCommand]]:
    """The commands whose images the stages take at once."""
    if not asked or views[0].session.stages.takes_batches:
        return [asked] if asked else []
    by_view: dict[int, list[AskedCommand]] = {}
    for one in asked:
        by_view.setdefault(one.view, []).append(one)
    return by_view.values()


def read_commands(
    views: Sequence[View], asked: Sequence[AskedCommand]
) -> Iterable[tuple[AskedCommand, CommandReading]]:
    """Encode the commands' images, ground and remember, and read each command's slots."""
    numbers = list(dict.fromkeys(one.view for one in asked))
    images = [views[number].image for number in numbers]
    session = views[numbers[0]].session
    session.prepare(*images[0].shape[:2])
    stages, model = session.stages, session.model
    short_side = model.configuration.image_short_side
    pixels = to_pixels(
        images[0] if len(images) == 1 else np.stack(images), short_side, model.device
    )
    encoded = stages.encode_image(pixels)
    if 1 < len(images) < len(asked):
        rows = [numbers.index(one.view) for one in asked]
        encoded = replace(encoded, rows=torch.tensor(rows, device=model.device))
    grounding = stages.ground(encoded, stack_texts([one.command.text for one in asked]))
    remember(asked, grounding)
    height, width = pixels.shape[-2:]
    for rows in same_window(asked):
        masks = select_rows(grounding.mask_features, rows)
        window = stack_windows([asked[row].command.memory for row in rows])
        readings = stages.read(window, masks)
        scores = readings.scores.sigmoid().cpu().numpy()
        boxes = centre_to_corners(readings.boxes).clamp(0, 1).cpu().numpy()
        for place, row in enumerate(rows):
            yield (
                asked[row],
                CommandReading(
                    scores=scores[place],
                    boxes=boxes[place],
                    mask_embeddings=readings.mask_embeddings[place],
                    mask_features=masks[place : place + 1],
                    resized=(height, width),
                ),
            )


def remember(asked: Sequence[AskedCommand], grounding: FrameGrounding) -> None:
    """Let every command's memory take in what the frame says about it."""
    for row, one in enumerate(asked):
        tokens = grounding.text[row, : one.command.text.tokens.shape[1]]
        one.command.memory.update(
            grounding.queries[row], grounding.references[row], tokens, one.stamp
        )


def select_rows(tensor: Tensor, rows: list[int]) -> Tensor:
    """Some rows of a tensor, ascending; all of them are not copied."""
    return tensor if len(rows) == len(tensor) else tensor[rows]


def same_window(asked: Sequence[AskedCommand]) -> list[list[int]]:
    """Rows of commands grouped by how many frames they remember."""
    groups: dict[int, list[int]] = {}
    for row, one in enumerate(asked):
        groups.setdefault(len(one.command.memory.window), []).append(row)
    return list(groups.values())
