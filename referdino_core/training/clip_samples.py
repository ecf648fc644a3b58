# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Training clips drawn from a benchmark's training set, the same ones in every repetition."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from referdino_core.errors import ImageError, ReferDINOError, SourceError
from referdino_core.evaluation.benchmarks.clips import Benchmark, Clip, Expression
from referdino_core.network.tokenizer import Tokenizer
from referdino_core.training.augmentation import ClipSample, augmented, network_input
from referdino_core.training.targets import ClipGroundTruth
from referdino_core.training.video_recipes import VideoRecipe

logger = logging.getLogger("referdino.training")

NEIGHBOURS = 3
"""How far the two frames beside the anchor may be from it."""
_ATTEMPTS = 20


@dataclass(frozen=True)
class TrainingItem:
    """A sentence about a clip, of which frames are drawn."""

    clip: Clip
    expression: Expression

    @property
    def name(self) -> str:
        """The clip and the sentence, for messages."""
        return f"{self.clip.name}, {self.expression.sentence!r}"


@dataclass(frozen=True, eq=False)
class TrainingClip:
    """Input and ground truth of one clip.

    Attributes:
        name: for messages.
        pixels: (T, 3, H, W) float32, normalised.
        input_ids: (L,) int64 tokens of the sentence.
        truth: masks, boxes and visibility.
        unreadable: a line for each item that had to be replaced by this one.
    """

    name: str
    pixels: Tensor
    input_ids: Tensor
    truth: ClipGroundTruth
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class Draw:
    """Position of a clip in a run, which seeds everything that is random about it."""

    item: int
    seed: int
    step: int
    slot: int


def items_of(benchmark: Benchmark, videos: Sequence[str]) -> Iterator[list[TrainingItem]]:
    """The items of one video after another; damaged videos have none and are logged."""
    for video in videos:
        try:
            yield [
                TrainingItem(clip, expression)
                for clip in benchmark.clips(video)
                for question in clip.questions
                for expression in question.expressions
                if expression.objects
            ]
        except (SourceError, ImageError) as error:
            logger.warning("Left out: %s", error)
            yield []


def drawn_frames(count: int, wanted: int, anchor: int, generator: np.random.Generator) -> list[int]:
    """Ascending indices of the frames of a training clip.

    The anchor, two neighbours within `NEIGHBOURS` frames of it, and others from anywhere; frames
    repeat where there are too few. Source: the network's specification, section Training.
    """
    chosen = [anchor]
    near = range(max(0, anchor - NEIGHBOURS), min(count, anchor + NEIGHBOURS + 1))
    for candidates, number in ((near, min(2, wanted - 1)), (range(count), wanted - 3)):
        left = [index for index in candidates if index not in chosen]
        for _ in range(max(0, number)):
            pick = int(generator.choice(left or list(candidates)))
            chosen.append(pick)
            left = [index for index in left if index != pick]
    return sorted(chosen)


class ClipSamples(Dataset[TrainingClip]):
    """Augmented training clips, by their `Draw`.

    An item that cannot be read is replaced by another, and named in the result.
    """

    def __init__(
        self,
        items: Sequence[TrainingItem],
        recipe: VideoRecipe,
        tokenizer: Tokenizer,
        short_side: int,
    ) -> None:
        self.items, self.recipe = items, recipe
        self.tokenizer, self.short_side = tokenizer, short_side

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, draw: Draw) -> TrainingClip:
        """The clip of a draw.

        Raises:
            ReferDINOError: one item after another cannot be read.
        """
        generator = np.random.default_rng([draw.seed, draw.step, draw.slot])
        unreadable: list[str] = []
        item = self.items[draw.item]
        while len(unreadable) < _ATTEMPTS:
            try:
                sample = read_sample(item, self.recipe, generator)
                return self._prepared(sample, generator, tuple(unreadable))
            except (SourceError, ImageError) as error:
                unreadable.append(f"{item.name}: {error}")
                item = self.items[int(generator.integers(len(self.items)))]
        raise ReferDINOError(
            f"{_ATTEMPTS} training items in a row cannot be read; the last: {unreadable[-1]}"
        )

    def _prepared(
        self, sample: ClipSample, generator: np.random.Generator, unreadable: tuple[str, ...]
    ) -> TrainingClip:
        sample = augmented(sample, self.recipe, generator)
        pixels, masks = network_input(sample, self.short_side, self.recipe.scales, generator)
        return TrainingClip(
            name=sample.name,
            pixels=pixels,
            input_ids=self.tokenizer.encode(sample.sentence),
            truth=ClipGroundTruth.from_masks(masks),
            unreadable=unreadable,
        )


def read_sample(
    item: TrainingItem, recipe: VideoRecipe, generator: np.random.Generator
) -> ClipSample:
    """Frames of an item with the masks of its object, around a frame that shows it.

    Raises:
        ImageError, SourceError: an image or an annotation is damaged, or no frame shows it.
    """
    clip = item.clip
    annotated = range(len(clip.frame_names)) if clip.only_frame is None else [clip.only_frame]
    for anchor in generator.permutation(list(annotated)).tolist():
        truth = clip.truth_at(anchor)
        if truth is not None and truth.of(item.expression.objects).any():
            break
    else:
        raise SourceError(f"No frame of {clip.name} shows what {item.expression.sentence!r} means.")
    known = [index for index in range(len(clip.frame_names)) if index == anchor]
    if recipe.clip_frames > 1:
        known = drawn_frames(len(clip.frame_names), recipe.clip_frames, anchor, generator)
        if generator.random() < recipe.reverse:
            known.reverse()
    images, masks = _read(clip, item.expression, known)
    return ClipSample(item.name, images, masks, item.expression.sentence)


def _read(
    clip: Clip, expression: Expression, indices: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Images (T, H, W, 3) and masks (T, H, W) at some indices, in their order."""
    wanted = set(indices)
    read: dict[int, np.ndarray] = {}
    for index, image in enumerate(clip.open_images()):
        if index in wanted:
            if isinstance(image, ImageError):
                raise image
            read[index] = image
        if len(read) == len(wanted):
            break
    masks = {}
    for index in wanted:
        truth = clip.truth_at(index)
        if truth is None:
            raise SourceError(f"Frame {clip.frame_names[index]} of {clip.name} is not annotated.")
        masks[index] = truth.of(expression.objects)
        if masks[index].shape != read[index].shape[:2]:
            raise SourceError(
                f"Frame {clip.frame_names[index]} of {clip.name} and its annotation differ in size."
            )
    if len({image.shape for image in read.values()}) > 1:
        raise SourceError(f"The frames of {clip.name} differ in size.")
    return np.stack([read[i] for i in indices]), np.stack([masks[i] for i in indices])


class Draws(Sampler[list[Draw]]):
    """Draws of every step of a run, from any step on: each epoch is a permutation of the items."""

    def __init__(
        self, items: int, recipe: VideoRecipe, seed: int, first_step: int, rank: int, processes: int
    ) -> None:
        self.items, self.recipe, self.seed = items, recipe, seed
        self.first_step, self.rank, self.processes = first_step, rank, processes

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which all processes together go through all items, the last few left out."""
        return max(1, self.items // (self.recipe.clips_per_step * self.processes))

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.steps_per_epoch * self.recipe.epochs

    def __len__(self) -> int:
        return max(0, self.steps - self.first_step)

    def __iter__(self) -> Iterator[list[Draw]]:
        at_once = self.recipe.clips_per_step
        for step in range(self.first_step, self.steps):
            epoch, within = divmod(step, self.steps_per_epoch)
            order = np.random.default_rng([self.seed, epoch]).permutation(self.items)
            first = (within * self.processes + self.rank) * at_once
            yield [
                Draw(int(order[(first + k) % self.items]), self.seed, step, self.rank * at_once + k)
                for k in range(at_once)
            ]
