# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""RefCOCO, RefCOCO+ (Yu et al., ECCV 2016) and RefCOCOg (Mao et al., CVPR 2016): single images."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from referdino_core.errors import ImageError, SourceError
from referdino_core.evaluation.benchmarks.clips import (
    Benchmark,
    Clip,
    Expression,
    Question,
    require,
)
from referdino_core.evaluation.ground_truth import FrameGroundTruth
from referdino_core.evaluation.ground_truth.mevis import decode_entry, read_json
from referdino_core.media.frame_access import read_images
from referdino_core.messages import run_lengths

IMAGE_FOLDERS = (
    "train2014",
    "images/train2014",
    "images/mscoco/images/train2014",
    "coco/train2014",
)
"""Places of COCO's images of 2014 below the folder of the data, in the order of the search."""
PARTITIONS = ("unc", "umd", "google")
"""Authors of the splits, in the order of preference; published results use the first two."""
TITLES = {"refcoco": "RefCOCO", "refcoco+": "RefCOCO+", "refcocog": "RefCOCOg"}

_FRAME_RATE = 1.0


@dataclass(frozen=True)
class _Image:
    """An image of COCO: its file, its size, and the outlines of its referred objects."""

    file_name: str
    height: int
    width: int
    outlines: dict[int, Any]


class RefCOCO(Benchmark):
    """Reader of NAME/refs(PARTITION).p, NAME/instances.json and COCO's images of 2014.

    NAME is refcoco, refcoco+ or refcocog. A clip is an image with the sentences of all objects in
    it; the splits are train, val, and testA and testB (RefCOCO, RefCOCO+) or test (RefCOCOg).
    """

    def __init__(self, folder: Path, split: str = "val", *, name: str = "refcoco") -> None:
        """Read the annotations.

        Raises:
            SourceError: they are missing or damaged, or there is no such split.
        """
        super().__init__()
        self.title, self.folder, self.split = TITLES[name], folder, split
        place = folder / name
        self._path = _references_of(place)
        references = read_plain_pickle(self._path)
        if not isinstance(references, list) or not references:
            raise SourceError(f"{self._path} holds no list of references.")
        chosen = [one for one in references if isinstance(one, dict) and one.get("split") == split]
        if not chosen:
            known = {str(one.get("split")) for one in references if isinstance(one, dict)}
            raise SourceError(
                f"{self._path} has no split {split}; there are: {', '.join(sorted(known))}."
            )
        by_image = self._by_image(chosen)
        images = _read_images(place / "instances.json", by_image)
        self._clips: dict[str, tuple[_Image, list[Any]]] = {}
        for number, found in by_image.items():
            if number in images:
                self._clips[Path(images[number].file_name).stem] = (images[number], found)
            else:
                self.clips_skipped.append(f"{place / 'instances.json'} has no image {number}.")
        self.videos = tuple(self._clips)
        self._images = _images_of(folder)

    def clips(self, video: str) -> Iterator[Clip]:
        """The image as a clip of one frame."""
        image, references = self._clips[video]
        yield Clip(
            video,
            (video,),
            tuple(self._questions(image, references)),
            _FRAME_RATE,
            partial(read_images, [self._images / image.file_name]),
            partial(_truth_at, image),
            only_frame=0,
        )

    def _by_image(self, references: Sequence[dict[str, Any]]) -> dict[int, list[Any]]:
        by_image: dict[int, list[Any]] = {}
        for reference in references:
            try:
                by_image.setdefault(int(reference["image_id"]), []).append(reference)
            except (KeyError, TypeError, ValueError):
                self.expressions_skipped.append(
                    f"{self._path}: reference {reference.get('ref_id')!r} names no image."
                )
        return by_image

    def _questions(self, image: _Image, references: Sequence[Any]) -> Iterator[Question]:
        for reference in references:
            try:
                number = int(reference["ann_id"])
                sentences = [
                    (str(one["sent_id"]), str(one["sent"])) for one in reference["sentences"]
                ]
            except (KeyError, TypeError, ValueError) as error:
                self.expressions_skipped.append(
                    f"{self._path}: reference {reference.get('ref_id')!r} is damaged ({error!r})."
                )
                continue
            if number not in image.outlines:
                self.expressions_skipped.append(
                    f"instances.json has no annotation {number} of {image.file_name}."
                )
                continue
            for name, sentence in sentences:
                yield Question(name, (Expression(sentence, (number,)),))


class _PlainUnpickler(pickle.Unpickler):
    """Unpickler that creates lists, dictionaries, texts and numbers, and calls nothing."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it would call {module}.{name}, which data does not need")

    def persistent_load(self, identity: Any) -> Any:
        raise pickle.UnpicklingError("it refers to an object outside the file")


def read_plain_pickle(path: Path) -> Any:
    """The containers, texts and numbers in a pickle, also of Python 2; it cannot run code.

    Raises:
        SourceError: the file cannot be read, is damaged, or holds anything else.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file, encoding="latin1").load()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
    except Exception as error:  # damaged pickles raise errors of every type
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SourceError(f"{path} is refused: {reason}.") from error


def decode_outline(outline: Any, height: int, width: int) -> np.ndarray:
    """The mask (height, width) bool of a COCO annotation: polygons or run lengths.

    Raises:
        ImageError: it is neither.
    """
    if isinstance(outline, dict):
        return decode_entry(outline)
    try:
        polygons = [np.asarray(polygon, dtype=float) for polygon in outline]
    except (TypeError, ValueError):
        polygons = []
    if not polygons or not all(map(_is_polygon, polygons)):
        raise ImageError("its segmentation is neither polygons nor run lengths.")
    codes = coco_mask.frPyObjects([one.tolist() for one in polygons], height, width)
    return run_lengths.decode(coco_mask.merge(codes)["counts"].decode("ascii"), height, width)


def _is_polygon(points: np.ndarray) -> bool:
    """Whether these are x and y of three corners or more."""
    sized = points.ndim == 1 and points.size >= 6 and points.size % 2 == 0
    return sized and bool(np.isfinite(points).all())


def _truth_at(image: _Image, index: int) -> FrameGroundTruth:
    masks = {}
    for number, outline in image.outlines.items():
        try:
            masks[number] = decode_outline(outline, image.height, image.width)
        except ImageError as error:
            raise ImageError(f"annotation {number} of {image.file_name}: {error}") from error
        if masks[number].shape != (image.height, image.width):
            raise ImageError(f"annotation {number} of {image.file_name} has another size.")
    return FrameGroundTruth(masks, (image.height, image.width))


def _references_of(folder: Path) -> Path:
    require(folder, "refs(...).p and instances.json")
    for partition in PARTITIONS:
        path = folder / f"refs({partition}).p"
        if path.is_file():
            return path
    raise SourceError(f"{folder} holds no refs(unc).p, refs(umd).p or refs(google).p.")


def _images_of(folder: Path) -> Path:
    for place in IMAGE_FOLDERS:
        if (folder / place).is_dir():
            return folder / place
    raise SourceError(f"{folder / IMAGE_FOLDERS[0]} does not exist; it should hold COCO's images.")


def _read_images(path: Path, by_image: Mapping[int, Sequence[Any]]) -> dict[int, _Image]:
    """The images that references name, with the outlines of the referred objects."""
    document = read_json(require(path, "the images and outlines of COCO"))
    wanted = {reference.get("ann_id") for found in by_image.values() for reference in found}
    try:
        images = {
            one["id"]: _Image(str(one["file_name"]), int(one["height"]), int(one["width"]), {})
            for one in document["images"]
            if one["id"] in by_image
        }
        for one in document["annotations"]:
            if one["id"] in wanted and one["image_id"] in images:
                images[one["image_id"]].outlines[one["id"]] = one["segmentation"]
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{path} is damaged ({error!r}).") from error
    return images
