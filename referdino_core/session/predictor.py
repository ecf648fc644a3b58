# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Predictor: images and commands through the network's stages, in batches; remembers nothing."""

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
from referdino_core.session.track import SlotReadings

MAX_BATCHES = 16
"""Batches of encoded sentences that are kept: one for every camera."""


@dataclass(frozen=True)
class _Read:
    """Questions whose windows are of one length, after the readout; nothing is on the host yet.

    Attributes:
        rows: of the questions. masks: their mask features. ages: (N, T) seconds, on the host.
        readings: of the slots. queries: (N, Q, d) of unit length. relevance: (N, Q).
        places, slots, logits: of the masks that are decoded already, see `probable_masks`.
        finite: whether all of it is, as a number; a scalar.
    """

    rows: list[int]
    masks: Tensor
    ages: Tensor
    readings: Readings
    queries: Tensor
    relevance: Tensor
    places: list[int]
    slots: Tensor
    logits: Tensor
    finite: Tensor

    @property
    def wanted(self) -> tuple[Tensor, ...]:
        """What the host needs."""
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

    Images of one size go through the image encoder together, all commands through the grounder
    and the readout together. A backend that takes one image at a time is called image by image.
    """

    def __init__(self, model: ReferDINO, backend: Backend) -> None:
        self.model = model
        self.backend = backend
        self._batches: OrderedDict[
            tuple[int, ...], tuple[tuple[TextFeatures, ...], TextFeatures]
        ] = OrderedDict()

    def prepare(self, height: int, width: int) -> None:
        """Get ready for images of this size, where that takes long.

        Raises:
            ReferDINOError: the runtime cannot serve this size.
        """
        self.backend.prepare(self.size_of((height, width)))

    def size_of(self, image: tuple[int, int]) -> tuple[int, int]:
        """(height, width) in pixels that an image of (height, width) is resized to."""
        return network_size(*image, self.model.configuration.image_short_side)

    @torch.inference_mode()
    def encode_text(self, input_ids: Tensor) -> TextFeatures:
        """A sentence of (L,) int64 token ids, special tokens included.

        Raises:
            CommandError: it is longer than the runtime takes.
        """
        return self.backend.encode_text([input_ids])

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
        if self.backend.takes_batches:
            return self._predict_together(images, questions)
        predictions: list[Prediction] = []
        places = dict.fromkeys(one.image for one in questions)
        for place in places:
            asked = [one for one in questions if one.image == place]
            predictions += self._predict_together(images, asked, others_follow=len(places) > 1)
        return predictions

    def _predict_together(
        self,
        images: Sequence[np.ndarray],
        questions: Sequence[Question],
        others_follow: bool = False,
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
        encoded = self.backend.encode_image(pixels)
        if 1 < len(shown) < len(questions):
            by_question = torch.tensor([rows[question.image] for question in questions])
            encoded = replace(encoded, rows=upload(by_question, device))
        grounding = self.backend.ground(encoded, self._stacked([one.text for one in questions]))
        if others_follow:
            # The next image's run may overwrite what the runtime gave for this one.
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
        """The texts as one batch; the last few batches are kept, as commands rarely change."""
        key = tuple(map(id, texts))
        if key not in self._batches:
            # The texts are kept with their batch, so that no other can have their ids.
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
        """Read the questions of a group, whose windows are of one length."""
        masks = select_rows(grounding.mask_features, group)
        windows = [questions[row].memory.window_with(frames[row]) for row in group]
        window = stack_windows(windows)
        readings = self.backend.read(window, masks)
        if others_follow:
            # The next run may overwrite what the runtime gave in this one.
            readings = Readings(*(getattr(readings, one.name).clone() for one in fields(readings)))
        newest, text = window.queries[:, -1], window.text[:, -1]
        relevance = self.model.configuration.relevance
        asked = [questions[row] for row in group]
        places, slots, logits = probable_masks(asked, readings, masks, resized)
        return _Read(
            rows=group,
            masks=masks,
            ages=window.ages if masks.device.type == "cpu" else window_ages(windows),
            readings=readings,
            queries=F.normalize(newest.float(), dim=-1),
            relevance=slot_relevance(newest, text, window.text_padding, relevance),
            places=places,
            slots=slots,
            logits=logits,
            finite=all_finite(readings.scores, readings.boxes, readings.mask_embeddings, masks),
        )


def probable_masks(
    questions: Sequence[Question], readings: Readings, masks: Tensor, resized: tuple[int, int]
) -> tuple[list[int], Tensor, Tensor]:
    """The masks that will probably be needed, which come to the host with everything else.

    Those of the slots that hold what is followed; where nothing is, of the slot that scores best.
    Where the host computes the network itself, masks are decoded once they are needed.

    Returns:
        Places of the M masks' questions, their slots (M,), and their logits (M, H, W).
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
    used = [(place, k) for place in range(count) for k in range(len(questions[place].slots) or 1)]
    chosen = upload(torch.tensor([place * most + k for place, k in used]), device)
    logits = logits.flatten(0, 1).index_select(0, chosen)
    return (
        [place for place, _ in used],
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
    """The predictions of a group, from what the host was given of it."""
    _, scores, boxes, queries, relevance, slots, logits = values
    ages = read.ages.numpy()
    decoded: list[dict[int, np.ndarray]] = [{} for _ in read.rows]
    for place, slot, mask in zip(read.places, slots, logits, strict=True):
        decoded[place][int(slot)] = mask
    for place, row in enumerate(read.rows):
        yield Prediction(
            frame=frames[row],
            readings=SlotReadings(
                stamp=questions[row].stamp,
                scores=scores[place],
                ages=ages[place],
                boxes=boxes[place],
                queries=queries[place],
            ),
            relevance=relevance[place],
            mask_embeddings=read.readings.mask_embeddings[place],
            mask_features=read.masks[place : place + 1],
            resized=resized,
            logits=decoded[place],
        )


def align(questions: Sequence[Question], grounding: FrameGrounding) -> list[RememberedFrame]:
    """Every question's queries in the order of its memory's slots.

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
        raise spoilt([one.name for one in questions], queries, references)
    if known:
        # Of all commands' queries, one after the other.
        count, slots = queries.shape[:2]
        order = np.arange(count * slots).reshape(count, slots)
        order[known] = assign_slots(costs[0]) + slots * np.array(known)[:, None]
        places = upload(torch.from_numpy(order.ravel()), queries.device)
        queries, references = (
            one.flatten(0, 1).index_select(0, places).view_as(one) for one in (queries, references)
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
    """Whether every value of some outputs is finite, as a number; a scalar of their device.

    The extremes of a tensor are not finite where one of its values is not.
    """
    extremes = [
        extreme.float() for output in outputs for extreme in torch.aminmax(in_memory_order(output))
    ]
    return torch.stack(extremes).isfinite().all().float()


def in_memory_order(tensor: Tensor) -> Tensor:
    """A view whose axes lie in memory in their order, so that reading it all needs no copy."""
    return tensor.permute(*sorted(range(tensor.ndim), key=tensor.stride, reverse=True))


def check_readings(read: _Read, finite: np.ndarray, questions: Sequence[Question]) -> None:
    """Raise InferenceError unless a group's readings are finite."""
    if not finite:
        readings = read.readings
        raise spoilt(
            [questions[row].name for row in read.rows],
            readings.scores, readings.boxes, readings.mask_embeddings, read.masks,
        )  # fmt: skip


def spoilt(names: Sequence[str], *outputs: Tensor) -> InferenceError:
    """The error that names those of N commands whose (N, …) outputs are not finite."""
    finite = torch.stack([output.isfinite().flatten(1).all(dim=1) for output in outputs])
    failed = [
        name for name, good in zip(names, finite.all(dim=0).tolist(), strict=True) if not good
    ]
    commands = ", ".join(repr(name) for name in failed)
    return InferenceError(
        f"The network's prediction for {commands} is not finite, so the image was not judged; the "
        "memories are as they were. If it happens again, choose the precision fp32."
    )


def select_rows(tensor: Tensor, rows: list[int]) -> Tensor:
    """Some rows of a tensor, ascending; all of them are not copied."""
    if len(rows) == len(tensor):
        return tensor
    return tensor.index_select(0, upload(torch.tensor(rows), tensor.device))


def rows_by_window(
    questions: Sequence[Question], frames: Sequence[RememberedFrame]
) -> list[list[int]]:
    """Rows of questions grouped by the length of their windows with the newest frame."""
    groups: dict[int, list[int]] = {}
    for row, (question, frame) in enumerate(zip(questions, frames, strict=True)):
        groups.setdefault(len(question.memory.window_with(frame)), []).append(row)
    return list(groups.values())
