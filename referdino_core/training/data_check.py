# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Check of a data set before training: what is wrong with it, and pictures of samples."""

from __future__ import annotations

import html
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from referdino_core.errors import CommandError, ImageError, SourceError
from referdino_core.evaluation.benchmarks.clips import Benchmark, Clip, Expression
from referdino_core.files import AtomicFile
from referdino_core.network.tokenizer import Tokenizer
from referdino_core.sentences import plain
from referdino_core.training.data_sets import Watch

PAGE_NAME = "index.html"
SMALLEST = 16
"""Pixels that a mask should have, which is a cell of the network's finest features."""

_TINT = np.array([255, 90, 30])
_OUTLINE = (255, 255, 255)
_STYLE = "body{font-family:sans-serif;margin:2em}figure{display:inline-block;margin:.5em}"


@dataclass
class DataReport:
    """Findings of a check.

    Attributes:
        clips, sentences, objects, frames: numbers of what can be used; frames are annotated ones.
        problems: a line each, with the file and what to do.
        unknown_words: sentences by word that the vocabulary lacks.
    """

    clips: int = 0
    sentences: int = 0
    objects: int = 0
    frames: int = 0
    problems: list[str] = field(default_factory=list)
    unknown_words: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class SamplePicture:
    """An image (H, W, 3) uint8 RGB with the mask (H, W) bool of a sentence."""

    name: str
    sentence: str
    image: np.ndarray
    mask: np.ndarray


def check_data(
    benchmark: Benchmark,
    tokenizer: Tokenizer,
    watch: Watch,
    samples: int,
    keep: Callable[[SamplePicture], None],
) -> DataReport:
    """Read every annotated frame of a data set.

    Args:
        keep: takes pictures of `samples` clips, evenly spaced.
    """
    report = DataReport(problems=list(benchmark.problems))
    step = max(1, len(benchmark.videos) // max(1, samples))
    for number, video in enumerate(watch(benchmark.videos, "checking")):
        wanted = number % step == 0 and number // step < samples
        try:
            for clip in benchmark.clips(video):
                _check_clip(clip, tokenizer, report, keep if wanted else None)
        except (SourceError, ImageError) as error:
            report.problems.append(str(error))
    skipped = (*benchmark.clips_skipped, *benchmark.expressions_skipped)
    report.problems = list(dict.fromkeys((*report.problems, *skipped)))
    return report


def _check_clip(
    clip: Clip,
    tokenizer: Tokenizer,
    report: DataReport,
    keep: Callable[[SamplePicture], None] | None,
) -> None:
    expressions = [one for question in clip.questions for one in question.expressions]
    usable = [one for one in expressions if one.objects and _check_words(one, tokenizer, report)]
    _check_meanings(clip, usable, report)
    seen: dict[tuple[int, ...], int] = dict.fromkeys((one.objects for one in usable), 0)
    best: dict[tuple[int, ...], SamplePicture] = {}
    frames = 0
    for image, index in _readable(clip, report):
        masks = _masks(clip, index, image, seen, report)
        if masks is None:
            continue
        frames += 1
        for expression in usable:
            area = int(masks[expression.objects].sum())
            if area > seen[expression.objects]:
                seen[expression.objects] = area
                if keep is not None:
                    best[expression.objects] = SamplePicture(
                        f"{clip.name}, frame {clip.frame_names[index]}",
                        expression.sentence,
                        image,
                        masks[expression.objects],
                    )
    if frames == 0:
        report.problems.append(f"Clip {clip.name}: no annotated frame can be used.")
        return
    for expression in usable:
        _check_area(clip, expression, seen[expression.objects], report)
    for picture in best.values():
        if keep is not None:
            keep(picture)
    report.clips += 1
    report.frames += frames
    report.sentences += len(usable)
    report.objects += len({number for one in usable for number in one.objects})


def _readable(clip: Clip, report: DataReport) -> Iterator[tuple[np.ndarray, int]]:
    """The annotated images that can be read, and their indices."""
    indices = list(clip.may_be_annotated)
    size = None
    for index, image in zip(indices, clip.open_images(indices), strict=True):
        if isinstance(image, ImageError):
            report.problems.append(f"Clip {clip.name}: {image}")
        elif size not in (None, image.shape):
            report.problems.append(
                f"Clip {clip.name}: frame {clip.frame_names[index]} has another size than the "
                "first; give all frames of a clip the same size."
            )
        else:
            size = image.shape
            yield image, index


def _masks(
    clip: Clip,
    index: int,
    image: np.ndarray,
    meant: Collection[tuple[int, ...]],
    report: DataReport,
) -> dict[tuple[int, ...], np.ndarray] | None:
    """Masks of the objects of sentences in a frame; None if they cannot be used."""
    try:
        truth = clip.truth_at(index)
    except (SourceError, ImageError) as error:
        report.problems.append(str(error))
        return None
    if truth is None:
        return None
    if truth.size != image.shape[:2]:
        report.problems.append(
            f"Clip {clip.name}: the masks of frame {clip.frame_names[index]} are "
            f"{truth.size[1]}x{truth.size[0]}, its image is {image.shape[1]}x{image.shape[0]}; "
            "annotate the images that the clip's source holds."
        )
        return None
    return {objects: truth.of(objects) for objects in meant}


def _check_words(expression: Expression, tokenizer: Tokenizer, report: DataReport) -> bool:
    """Whether the network can read a sentence."""
    try:
        tokenizer.encode(expression.sentence)
        for word in dict.fromkeys(tokenizer.unknown_words(expression.sentence)):
            report.unknown_words[word] = report.unknown_words.get(word, 0) + 1
    except CommandError as error:
        report.problems.append(f"The sentence {expression.sentence!r} cannot be read: {error}")
        return False
    return True


def _check_meanings(clip: Clip, expressions: Sequence[Expression], report: DataReport) -> None:
    """A sentence must not mean one thing in one place and another in the next."""
    meanings: dict[str, tuple[int, ...]] = {}
    for expression in expressions:
        known = meanings.setdefault(plain(expression.sentence), expression.objects)
        if set(known) != set(expression.objects):
            report.problems.append(
                f"Clip {clip.name}: {expression.sentence!r} means objects {_listed(known)}, and "
                f"also {_listed(expression.objects)}; say what sets them apart, or leave one out."
            )


def _listed(objects: Sequence[int]) -> str:
    return ", ".join(map(str, objects))


def _check_area(clip: Clip, expression: Expression, area: int, report: DataReport) -> None:
    if area == 0:
        report.problems.append(
            f"Clip {clip.name}: no annotated frame shows what {expression.sentence!r} means "
            f"(objects {_listed(expression.objects)}); annotate it where it is visible."
        )
    elif area < SMALLEST:
        report.problems.append(
            f"Clip {clip.name}: what {expression.sentence!r} means has never more than {area} "
            "pixels; leave the sentence out, or use larger images."
        )


class SamplePage:
    """A folder of pictures with masks drawn, and a page that shows them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._figures: list[str] = []

    def add(self, picture: SamplePicture) -> None:
        """Write a picture.

        Raises:
            OutputError: it cannot be written.
        """
        name = f"{len(self._figures):03d}.jpg"
        encoded = cv2.imencode(".jpg", drawn(picture)[..., ::-1])[1].tobytes()
        self._write(name, encoded)
        self._figures.append(
            f'<figure><img src="{name}" alt=""><figcaption>{html.escape(picture.sentence)}<br>'
            f"<small>{html.escape(picture.name)}</small></figcaption></figure>"
        )

    def finish(self, title: str, lines: Sequence[str]) -> Path:
        """Write the page with some lines above the pictures, and return its path."""
        listed = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
        page = (
            f'<!doctype html><meta charset="utf-8"><title>{html.escape(title)}</title>'
            f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1><ul>{listed}</ul>"
            f"{''.join(self._figures)}\n"
        )
        self._write(PAGE_NAME, page.encode())
        return self.folder / PAGE_NAME

    def _write(self, name: str, content: bytes) -> None:
        AtomicFile(self.folder / name).write(content)


def drawn(picture: SamplePicture) -> np.ndarray:
    """The image with the mask tinted and outlined."""
    image = picture.image.copy()
    image[picture.mask] = (0.5 * image[picture.mask] + 0.5 * _TINT).astype(np.uint8)
    mask = picture.mask.astype(np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, outlines, -1, _OUTLINE, 1)
    return image
