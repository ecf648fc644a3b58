# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Training clips drawn from a benchmark's training set, the same ones in every repetition."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from referdino_core.errors import ImageError, ReferDINOError, SourceError
from referdino_core.evaluation.benchmarks.clips import Clip
from referdino_core.network.tokenizer import Tokenizer
from referdino_core.training.augmentation import (
    ClipSample,
    augmented,
    network_input,
    pseudo_clip,
)
from referdino_core.training.data_sets import Mixture, TrainingData, TrainingItem
from referdino_core.training.targets import ClipGroundTruth
from referdino_core.training.video_recipes import VideoRecipe

NEIGHBOURS = 3
"""How far the two frames beside the anchor may be from it."""
_ATTEMPTS = 20


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

    def pin_memory(self) -> TrainingClip:
        """The clip in page-locked memory, from which copies to a GPU need not wait."""
        return replace(
            self,
            pixels=self.pixels.pin_memory(),
            input_ids=self.input_ids.pin_memory(),
            truth=self.truth.pin_memory(),
        )


@dataclass(frozen=True)
class Draw:
    """Position of a clip in a run, which seeds everything that is random about it."""

    item: int
    seed: int
    step: int
    slot: int


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

    An item that cannot be read is replaced by another of its set, and named in the result.
    """

    def __init__(
        self,
        data: TrainingData,
        recipe: VideoRecipe,
        tokenizer: Tokenizer,
        short_side: int,
    ) -> None:
        self.items, self.mixture, self.recipe = data.learnt, data.mixture, recipe
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
        alike = self.mixture.same_set(draw.item)
        item = self.items[draw.item]
        while len(unreadable) < _ATTEMPTS:
            try:
                sample = read_sample(item, self.recipe, generator)
                return self._prepared(sample, generator, tuple(unreadable))
            except (SourceError, ImageError) as error:
                unreadable.append(f"{item.name}: {error}")
                item = self.items[alike[int(generator.integers(len(alike)))]]
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
    clip, objects = item.clip, item.expression.objects
    annotated = list(clip.may_be_annotated)
    for anchor in generator.permutation(annotated).tolist():
        truth = clip.truth_at(anchor)
        if truth is not None and truth.of(objects).any():
            break
    else:
        raise SourceError(f"No frame of {clip.name} shows what {item.expression.sentence!r} means.")
    indices = [anchor]
    if recipe.clip_frames > 1 and len(annotated) > 1:
        places = drawn_frames(
            len(annotated), recipe.clip_frames, annotated.index(anchor), generator
        )
        indices = [annotated[place] for place in places]
        if generator.random() < recipe.reverse:
            indices.reverse()
    sample = ClipSample(item.name, *_read(clip, objects, indices), item.expression.sentence)
    if recipe.clip_frames > 1 and len(annotated) == 1:
        return pseudo_clip(sample, recipe.clip_frames, generator)
    return sample


def _read(
    clip: Clip, objects: Collection[int], indices: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Images (T, H, W, 3) and masks (T, H, W) at some indices, in their order."""
    wanted = sorted(set(indices))
    read: dict[int, np.ndarray] = {}
    for index, image in zip(wanted, clip.open_images(wanted), strict=True):
        if isinstance(image, ImageError):
            raise image
        read[index] = image
    masks = {}
    for index in wanted:
        truth = clip.truth_at(index)
        if truth is None:
            raise SourceError(f"Frame {clip.frame_names[index]} of {clip.name} is not annotated.")
        masks[index] = truth.of(objects)
        if masks[index].shape != read[index].shape[:2]:
            raise SourceError(
                f"Frame {clip.frame_names[index]} of {clip.name} and its annotation differ in size."
            )
    if len({image.shape for image in read.values()}) > 1:
        raise SourceError(f"The frames of {clip.name} differ in size.")
    return np.stack([read[i] for i in indices]), np.stack([masks[i] for i in indices])


class Draws(Sampler[list[Draw]]):
    """Draws of every step of a run, from any step on; see `Mixture.epoch`."""

    def __init__(
        self,
        mixture: Mixture,
        recipe: VideoRecipe,
        seed: int,
        first_step: int,
        rank: int,
        processes: int,
    ) -> None:
        self.mixture, self.recipe, self.seed = mixture, recipe, seed
        self.first_step, self.rank, self.processes = first_step, rank, processes

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which all processes together go through an epoch, the last few left out."""
        drawn = sum(self.mixture.draws)
        return max(1, drawn // (self.recipe.clips_per_step * self.processes))

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.steps_per_epoch * self.recipe.epochs

    def __len__(self) -> int:
        return max(0, self.steps - self.first_step)

    def __iter__(self) -> Iterator[list[Draw]]:
        at_once = self.recipe.clips_per_step
        known, order = -1, np.empty(0, np.int64)
        for step in range(self.first_step, self.steps):
            epoch, within = divmod(step, self.steps_per_epoch)
            if epoch != known:
                known, order = epoch, self.mixture.epoch(self.seed, epoch)
            first = (within * self.processes + self.rank) * at_once
            yield [
                Draw(int(order[(first + k) % len(order)]), self.seed, step, self.rank * at_once + k)
                for k in range(at_once)
            ]
