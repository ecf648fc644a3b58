# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Predictor: images and commands through the network's stages, in batches; remembers nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from referdino_core.boxes import centre_to_corners
from referdino_core.errors import InferenceError
from referdino_core.network.mask_decoder import decode_masks
from referdino_core.network.object_memory import ObjectMemory, RememberedFrame, stack_windows
from referdino_core.network.pixels import network_size, threshold_masks, to_pixels
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures, stack_texts
from referdino_core.runtime.stages import FrameGrounding, Stages
from referdino_core.session.track import SlotReadings


@dataclass(frozen=True)
class Question:
    """A sentence that is asked of an image.

    Attributes:
        image: place of the image in its batch.
        name: of the command, for messages.
        text: the encoded sentence.
        memory: of the command; it is read and stays as it is.
        stamp: of the image, seconds.
    """

    image: int
    name: str
    text: TextFeatures
    memory: ObjectMemory
    stamp: float


@dataclass(frozen=True)
class Prediction:
    """What the network says of one question.

    Attributes:
        frame: the image's queries in the order of the memory's slots, not yet remembered.
        readings: of the slots, on the host.
        mask_embeddings: (Q, d). mask_features: (1, d, h, w) at stride 4.
        resized: (height, width) in pixels that the image was resized to.
    """

    frame: RememberedFrame
    readings: SlotReadings
    mask_embeddings: Tensor
    mask_features: Tensor
    resized: tuple[int, int]

    @torch.inference_mode()
    def mask(self, slot: int, size: tuple[int, int], threshold: float) -> np.ndarray:
        """The mask (H, W) of a slot, bool: where its probability exceeds the threshold."""
        features = self.mask_features
        embedding = self.mask_embeddings[slot][None, None].to(features.dtype)
        logits = decode_masks(embedding, features)
        mask: np.ndarray = threshold_masks(logits.float(), self.resized, size, threshold)[0, 0]
        return mask


class Predictor:
    """Runs the stages of one model.

    Images of one size go through the image encoder together, all commands through the grounder
    and the readout together. Stages that take one image at a time are called image by image.
    """

    def __init__(self, model: ReferDINO, stages: Stages) -> None:
        self.model = model
        self.stages = stages

    def prepare(self, height: int, width: int) -> None:
        """Get ready for images of this size, where that takes long.

        Raises:
            ReferDINOError: the runtime cannot serve this size.
        """
        self.stages.fit(network_size(height, width, self.model.configuration.image_short_side))

    @torch.inference_mode()
    def encode_text(self, input_ids: Tensor) -> TextFeatures:
        """A sentence of (L,) int64 token ids, special tokens included.

        Raises:
            CommandError: it is longer than the runtime takes.
        """
        return self.stages.encode_text([input_ids])

    @torch.inference_mode()
    def predict(
        self, images: Sequence[np.ndarray], questions: Sequence[Question]
    ) -> list[Prediction]:
        """One prediction per question, in their order.

        Args:
            images: (H, W, 3) uint8 RGB of one size; those that nobody asks about are not encoded.
            questions: in ascending order of their images.

        Raises:
            InferenceError: a prediction is not finite; no memory has changed.
        """
        if not questions:
            return []
        if self.stages.takes_batches:
            return self._predict_together(images, questions)
        predictions: list[Prediction] = []
        for place in dict.fromkeys(one.image for one in questions):
            asked = [one for one in questions if one.image == place]
            predictions += self._predict_together(images, asked)
        return predictions

    def _predict_together(
        self, images: Sequence[np.ndarray], questions: Sequence[Question]
    ) -> list[Prediction]:
        rows = {place: row for row, place in enumerate(dict.fromkeys(q.image for q in questions))}
        shown = [images[place] for place in rows]
        self.prepare(*shown[0].shape[:2])
        device = self.model.device
        pixels = to_pixels(
            shown[0] if len(shown) == 1 else np.stack(shown),
            self.model.configuration.image_short_side,
            device,
        )
        encoded = self.stages.encode_image(pixels)
        if 1 < len(shown) < len(questions):
            by_question = [rows[question.image] for question in questions]
            encoded = replace(encoded, rows=torch.tensor(by_question, device=device))
        grounding = self.stages.ground(encoded, stack_texts([one.text for one in questions]))
        frames = align(questions, grounding)
        height, width = pixels.shape[-2:]
        found: dict[int, Prediction] = {}
        for group in rows_by_window(questions, frames):
            predictions = self._read(group, questions, frames, grounding, (height, width))
            found |= dict(zip(group, predictions, strict=True))
        return [found[row] for row in range(len(questions))]

    def _read(
        self,
        group: list[int],
        questions: Sequence[Question],
        frames: Sequence[RememberedFrame],
        grounding: FrameGrounding,
        resized: tuple[int, int],
    ) -> Iterator[Prediction]:
        """Read the questions of a group, whose windows are of one length."""
        masks = select_rows(grounding.mask_features, group)
        window = stack_windows([questions[row].memory.window_with(frames[row]) for row in group])
        readings = self.stages.read(window, masks)
        check_finite(
            [questions[row].name for row in group],
            readings.scores,
            readings.boxes,
            readings.mask_embeddings,
            masks,
        )
        scores = readings.scores.sigmoid().cpu().numpy()
        boxes = centre_to_corners(readings.boxes).clamp(0, 1).cpu().numpy()
        queries = F.normalize(window.queries[:, -1].float(), dim=-1).cpu().numpy()
        ages = window.ages.cpu().numpy()
        for place, row in enumerate(group):
            yield Prediction(
                frame=frames[row],
                readings=SlotReadings(
                    stamp=questions[row].stamp,
                    scores=scores[place],
                    ages=ages[place],
                    boxes=boxes[place],
                    queries=queries[place],
                ),
                mask_embeddings=readings.mask_embeddings[place],
                mask_features=masks[place : place + 1],
                resized=resized,
            )


def align(questions: Sequence[Question], grounding: FrameGrounding) -> list[RememberedFrame]:
    """Every question's queries in the order of its memory's slots.

    Raises:
        InferenceError: queries or references are not finite.
    """
    names = [question.name for question in questions]
    check_finite(names, grounding.queries, grounding.references)
    return [
        one.memory.align(
            grounding.queries[row],
            grounding.references[row],
            grounding.text[row, : one.text.tokens.shape[1]],
            one.stamp,
        )
        for row, one in enumerate(questions)
    ]


def check_finite(names: Sequence[str], *outputs: Tensor) -> None:
    """Raise InferenceError unless every value of some (N, …) outputs of N commands is finite.

    The extremes of a tensor are not finite where one of its values is not.
    """
    extremes = [extreme for output in outputs for extreme in torch.aminmax(output)]
    if bool(torch.stack([extreme.float() for extreme in extremes]).isfinite().all()):
        return
    finite = torch.stack([output.isfinite().flatten(1).all(dim=1) for output in outputs])
    spoilt = [
        name for name, good in zip(names, finite.all(dim=0).tolist(), strict=True) if not good
    ]
    commands = ", ".join(repr(name) for name in spoilt)
    raise InferenceError(
        f"The network's prediction for {commands} is not finite, so the image was not judged; the "
        "memories are as they were. If it happens again, choose the precision fp32."
    )


def select_rows(tensor: Tensor, rows: list[int]) -> Tensor:
    """Some rows of a tensor, ascending; all of them are not copied."""
    return tensor if len(rows) == len(tensor) else tensor[rows]


def rows_by_window(
    questions: Sequence[Question], frames: Sequence[RememberedFrame]
) -> list[list[int]]:
    """Rows of questions grouped by the length of their windows with the newest frame."""
    groups: dict[int, list[int]] = {}
    for row, (question, frame) in enumerate(zip(questions, frames, strict=True)):
        groups.setdefault(len(question.memory.window_with(frame)), []).append(row)
    return list(groups.values())
