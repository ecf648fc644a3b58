# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Predictor: stateless, batched inference of images and commands through the network's stages."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from referdino_core.backends.backend import Backend, FrameGrounding
from referdino_core.boxes import centre_to_corners
from referdino_core.errors import InferenceError
from referdino_core.network.host_copies import download, upload
from referdino_core.network.mask_decoder import decode_masks
from referdino_core.network.object_memory import (
    RememberedFrame,
    alignment_costs,
    assign_slots,
    slot_relevance,
    stack_windows,
    window_ages,
)
from referdino_core.network.pixels import at_network_size, network_size, to_pixels
from referdino_core.network.readout import SlotReadings as Readings
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures, stack_texts
from referdino_core.session.prediction import Prediction, Question
from referdino_core.session.slot_readings import SlotReadings

MAX_BATCHES = 16
"""Batches of encoded sentences in the cache; every camera uses one."""


@dataclass(frozen=True)
class _Read:
    """Readout of questions with windows of the same length, on the device.

    Attributes:
        rows: rows of the questions.
        masks: their mask features.
        ages: (N, T) seconds, on the host.
        readings: readout of the slots.
        queries: (N, Q, d) unit vectors.
        relevance: (N, Q).
        owners, slots, logits: the masks that are already decoded, see `probable_masks`.
        finite: scalar, 1 if all values are finite.
    """

    rows: list[int]
    masks: Tensor
    ages: Tensor
    readings: Readings
    queries: Tensor
    relevance: Tensor
    owners: list[int]
    slots: Tensor
    logits: Tensor
    finite: Tensor

    @property
    def wanted(self) -> tuple[Tensor, ...]:
        """The tensors that are copied to the host."""
        return (
            self.finite,
            self.readings.scores.sigmoid(),
            centre_to_corners(self.readings.boxes).clamp(0, 1),
            self.queries,
            self.relevance,
            self.slots,
            self.logits,
        )


class Predictor:
    """Runs the stages of one model.

    Images of one size are encoded in one batch; all commands are grounded and read in one batch.
    A backend that supports only one image at a time is called image by image.
    """

    def __init__(self, model: ReferDINO, backend: Backend) -> None:
        self.model = model
        self.backend = backend
        self._batches: OrderedDict[
            tuple[int, ...], tuple[tuple[TextFeatures, ...], TextFeatures]
        ] = OrderedDict()

    def prepare(self, height: int, width: int) -> None:
        """Prepare the backend for images of this size.

        Raises:
            ReferDINOError: the runtime does not support this size.
        """
        self.backend.prepare(self.size_of((height, width)))

    def size_of(self, image: tuple[int, int]) -> tuple[int, int]:
        """(height, width) in pixels that an image of (height, width) is resized to."""
        return network_size(*image, self.model.configuration.image_short_side)

    @torch.inference_mode()
    def encode_text(self, input_ids: Tensor) -> TextFeatures:
        """Encode a sentence of (L,) int64 token ids, special tokens included.

        Raises:
            CommandError: the sentence is too long for the runtime.
        """
        return self.backend.encode_text([input_ids])

    @torch.inference_mode()
    def predict(
        self, images: Sequence[np.ndarray], questions: Sequence[Question]
    ) -> list[Prediction]:
        """One prediction per question, in the same order.

        Args:
            images: (H, W, 3) uint8 RGB of one size; images without questions are not encoded.
            questions: questions in ascending order of their images.

        Raises:
            InferenceError: a prediction is not finite; the memories are unchanged.
        """
        if not questions:
            return []
        if self.backend.takes_batches:
            return self._predict_together(images, questions)
        predictions: list[Prediction] = []
        indices = dict.fromkeys(one.image for one in questions)
        for index in indices:
            asked = [one for one in questions if one.image == index]
            predictions += self._predict_together(images, asked, others_follow=len(indices) > 1)
        return predictions

    def _predict_together(
        self,
        images: Sequence[np.ndarray],
        questions: Sequence[Question],
        others_follow: bool = False,
    ) -> list[Prediction]:
        rows = {index: row for row, index in enumerate(dict.fromkeys(q.image for q in questions))}
        shown = [images[index] for index in rows]
        self.prepare(*shown[0].shape[:2])
        device = self.model.device
        pixels = to_pixels(
            shown[0] if len(shown) == 1 else np.stack(shown),
            self.model.configuration.image_short_side,
            device,
        )
        encoded = self.backend.encode_image(pixels)
        if 1 < len(shown) < len(questions):
            by_question = torch.tensor([rows[question.image] for question in questions])
            encoded = replace(encoded, rows=upload(by_question, device))
        grounding = self.backend.ground(encoded, self._stacked([one.text for one in questions]))
        if others_follow:
            # The runtime may overwrite the outputs for this image when it runs the next one.
            grounding = replace(grounding, mask_features=grounding.mask_features.clone())
        frames = align(questions, grounding)
        height, width = pixels.shape[-2:]
        groups = rows_by_window(questions, frames)
        others_follow = others_follow or len(groups) > 1
        read = [
            self._read(group, questions, frames, grounding, (height, width), others_follow)
            for group in groups
        ]
        host = iter(download(*(tensor for one in read for tensor in one.wanted)))
        found: dict[int, Prediction] = {}
        for one in read:
            values = [next(host) for _ in one.wanted]
            check_readings(one, values[0], questions)
            predictions = predictions_of(one, values, questions, frames, (height, width))
            found |= dict(zip(one.rows, predictions, strict=True))
        return [found[row] for row in range(len(questions))]

    def _stacked(self, texts: Sequence[TextFeatures]) -> TextFeatures:
        """The texts as one batch; recent batches are cached, since commands rarely change."""
        key = tuple(map(id, texts))
        if key not in self._batches:
            # The texts are kept with their batch, so that no other objects can have their ids.
            self._batches[key] = (tuple(texts), stack_texts(texts))
            while len(self._batches) > MAX_BATCHES:
                self._batches.popitem(last=False)
        self._batches.move_to_end(key)
        return self._batches[key][1]

    def _read(
        self,
        group: list[int],
        questions: Sequence[Question],
        frames: Sequence[RememberedFrame],
        grounding: FrameGrounding,
        resized: tuple[int, int],
        others_follow: bool,
    ) -> _Read:
        """Run the readout on a group of questions with windows of the same length."""
        masks = select_rows(grounding.mask_features, group)
        windows = [questions[row].memory.window_with(frames[row]) for row in group]
        window = stack_windows(windows)
        readings = self.backend.read(window, masks)
        if others_follow:
            # The runtime may overwrite these outputs in its next run.
            readings = Readings(*(getattr(readings, one.name).clone() for one in fields(readings)))
        newest, text = window.queries[:, -1], window.text[:, -1]
        relevance = self.model.configuration.relevance
        asked = [questions[row] for row in group]
        owners, slots, logits = probable_masks(asked, readings, masks, resized)
        return _Read(
            rows=group,
            masks=masks,
            ages=window.ages if masks.device.type == "cpu" else window_ages(windows),
            readings=readings,
            queries=F.normalize(newest.float(), dim=-1),
            relevance=slot_relevance(newest, text, window.text_padding, relevance),
            owners=owners,
            slots=slots,
            logits=logits,
            finite=all_finite(readings.scores, readings.boxes, readings.mask_embeddings, masks),
        )


def probable_masks(
    questions: Sequence[Question], readings: Readings, masks: Tensor, resized: tuple[int, int]
) -> tuple[list[int], Tensor, Tensor]:
    """Decode the masks that will probably be needed, to copy them to the host with the rest.

    They are the masks of tracked slots, or of the best slot if nothing is tracked. On a CPU, masks
    are only decoded when they are needed.

    Returns:
        For M masks: the index of the question, the slot (M,), and the logits (M, H, W).
    """
    device, count = masks.device, len(questions)
    if device.type == "cpu":
        nothing = torch.zeros(0)
        return [], nothing, nothing
    most = max(1, *(len(one.slots) for one in questions))
    followed = torch.tensor([[*one.slots, *[-1] * (most - len(one.slots))] for one in questions])
    followed = upload(followed, device)
    best = readings.scores[:, -1].argmax(dim=1, keepdim=True)
    slots = torch.where(followed < 0, best, followed)
    embeddings = torch.take_along_dim(readings.mask_embeddings, slots[..., None], dim=1)
    logits = decode_masks(embeddings.to(masks.dtype), masks)
    used = [(index, k) for index in range(count) for k in range(len(questions[index].slots) or 1)]
    chosen = upload(torch.tensor([index * most + k for index, k in used]), device)
    logits = logits.flatten(0, 1).index_select(0, chosen)
    return (
        [index for index, _ in used],
        slots.flatten().index_select(0, chosen),
        at_network_size(logits[None].float(), resized)[0],
    )


def predictions_of(
    read: _Read,
    values: Sequence[np.ndarray],
    questions: Sequence[Question],
    frames: Sequence[RememberedFrame],
    resized: tuple[int, int],
) -> Iterator[Prediction]:
    """The predictions of a group, given its values on the host."""
    _, scores, boxes, queries, relevance, slots, logits = values
    ages = read.ages.numpy()
    decoded: list[dict[int, np.ndarray]] = [{} for _ in read.rows]
    for owner, slot, mask in zip(read.owners, slots, logits, strict=True):
        decoded[owner][int(slot)] = mask
    for index, row in enumerate(read.rows):
        yield Prediction(
            frame=frames[row],
            readings=SlotReadings(
                stamp=questions[row].stamp,
                scores=scores[index],
                ages=ages[index],
                boxes=boxes[index],
                queries=queries[index],
            ),
            relevance=relevance[index],
            mask_embeddings=read.readings.mask_embeddings[index],
            mask_features=read.masks[index : index + 1],
            resized=resized,
            logits=decoded[index],
        )


def align(questions: Sequence[Question], grounding: FrameGrounding) -> list[RememberedFrame]:
    """Align every question's queries to the slots of its memory.

    Raises:
        InferenceError: queries or references are not finite.
    """
    queries, references = grounding.queries, grounding.references
    known = [row for row, one in enumerate(questions) if one.memory.memory is not None]
    wanted = [all_finite(queries, references)]
    if known:
        memories = [questions[row].memory for row in known]
        wanted.append(
            alignment_costs(memories, select_rows(queries, known), select_rows(references, known))
        )
    finite, *costs = download(*wanted)
    if not finite:
        raise not_finite([one.name for one in questions], queries, references)
    if known:
        # Indices into the concatenated queries of all commands.
        count, slots = queries.shape[:2]
        order = np.arange(count * slots).reshape(count, slots)
        order[known] = assign_slots(costs[0]) + slots * np.array(known)[:, None]
        indices = upload(torch.from_numpy(order.ravel()), queries.device)
        queries, references = (
            one.flatten(0, 1).index_select(0, indices).view_as(one) for one in (queries, references)
        )
    return [
        RememberedFrame(
            queries[row],
            references[row],
            grounding.text[row, : one.text.tokens.shape[1]],
            one.stamp,
        )
        for row, one in enumerate(questions)
    ]


def all_finite(*outputs: Tensor) -> Tensor:
    """Scalar on the device: 1 if all values of the outputs are finite, 0 otherwise.

    The extremes of a tensor are finite if and only if all its values are.
    """
    extremes = [
        extreme.float() for output in outputs for extreme in torch.aminmax(in_memory_order(output))
    ]
    return torch.stack(extremes).isfinite().all().float()


def in_memory_order(tensor: Tensor) -> Tensor:
    """A view with the axes in memory order, so that reading it as a whole needs no copy."""
    return tensor.permute(*sorted(range(tensor.ndim), key=tensor.stride, reverse=True))


def check_readings(read: _Read, finite: np.ndarray, questions: Sequence[Question]) -> None:
    """Raise InferenceError unless a group's readings are finite."""
    if not finite:
        readings = read.readings
        raise not_finite(
            [questions[row].name for row in read.rows],
            readings.scores, readings.boxes, readings.mask_embeddings, read.masks,
        )  # fmt: skip


def not_finite(names: Sequence[str], *outputs: Tensor) -> InferenceError:
    """The error that names the commands, of N, whose (N, …) outputs are not finite."""
    finite = torch.stack([output.isfinite().flatten(1).all(dim=1) for output in outputs])
    failed = [
        name for name, good in zip(names, finite.all(dim=0).tolist(), strict=True) if not good
    ]
    commands = ", ".join(repr(name) for name in failed)
    return InferenceError(
        f"The network's prediction for {commands} is not finite, so the image was not judged; the "
        "memories are unchanged. If it happens again, choose the precision fp32."
    )


def select_rows(tensor: Tensor, rows: list[int]) -> Tensor:
    """Rows of a tensor, in ascending order; returns the tensor itself for all rows."""
    if len(rows) == len(tensor):
        return tensor
    return tensor.index_select(0, upload(torch.tensor(rows), tensor.device))


def rows_by_window(
    questions: Sequence[Question], frames: Sequence[RememberedFrame]
) -> list[list[int]]:
    """Rows of questions, grouped by the length of their windows including the newest frame."""
    groups: dict[int, list[int]] = {}
    for row, (question, frame) in enumerate(zip(questions, frames, strict=True)):
        groups.setdefault(len(question.memory.window_with(frame)), []).append(row)
    return list(groups.values())
