# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets to train on, in miniature and in exactly their formats, of clips of the world."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from miniature_benchmarks import (
    FRAMES,
    Scene,
    make_a2d_sentences,
    make_mevis,
    make_ref_youtube_vos,
    run_length,
)
from miniature_files import write_frames, write_palette_png, write_video

IMAGE_ID = 581857
"""Of the first image, as in RefCOCO."""


def training_split(root: Path, name: str, scenes: Sequence[Scene]) -> Path:
    """A data set's folder with its training split."""
    if name == "ref-youtube-vos":
        make_ref_youtube_vos(root, scenes, annotated=True)
        for folder in ("", "meta_expressions"):
            (root / folder / "valid").rename(root / folder / "train")
        described = root / "meta_expressions/train/meta_expressions.json"
        content = json.loads(described.read_text())
        del content["videos"]["tested"]
        described.write_text(json.dumps(content))
    elif name == "mevis":
        make_mevis(root, scenes)
        (root / "valid_u").rename(root / "train")
    elif name == "a2d-sentences":
        make_a2d_sentences(root, scenes)
        listed = root / "Release" / "videoset.csv"
        rows = [row.split(",") for row in listed.read_text().splitlines()]
        swapped = [",".join([*row[:8], "1" if row[8] == "0" else "0"]) for row in rows]
        listed.write_text("\n".join(swapped) + "\n")
    elif name == "own-clips":
        make_own_clips(root, scenes)
    else:
        make_refcoco(root, scenes, (name,))
    return root


def make_refcoco(
    root: Path,
    scenes: Sequence[Scene],
    names: Sequence[str] = ("refcoco", "refcoco+", "refcocog"),
    split: str = "train",
) -> Path:
    """The first frame of every scene is an image; each of its objects has two sentences.

    Outlines of the first object are polygons, those of the second uncompressed run lengths.
    """
    for name in names:
        references, images, annotations = [], [], []
        for number, scene in enumerate(scenes):
            image_id = IMAGE_ID + number
            file_name = f"COCO_train2014_{image_id:012d}.jpg"
            height, width = scene.labels.shape[1:]
            images.append(
                {"id": image_id, "file_name": file_name, "height": height, "width": width}
            )
            if not (root / "train2014" / file_name).exists():
                (root / "train2014").mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(root / "train2014" / file_name), scene.frames[0][..., ::-1])
            for place, own in enumerate(scene.sentences, start=1):
                identity = 1_700_000 + 10 * number + place
                mask = scene.labels[0] == place
                annotations.append(
                    {
                        "id": identity,
                        "image_id": image_id,
                        "category_id": 1,
                        "iscrowd": int(place > 1),
                        "area": float(mask.sum()),
                        "bbox": [float(value) for value in cv2.boundingRect(mask.astype(np.uint8))],
                        "segmentation": polygons_of(mask) if place == 1 else uncompressed(mask),
                    }
                )
                references.append(_reference(identity, image_id, own, split))
        (root / name).mkdir(parents=True)
        partition = "umd" if name == "refcocog" else "unc"
        (root / name / f"refs({partition}).p").write_bytes(python_2_pickle(references))
        described = {"images": images, "annotations": annotations, "categories": []}
        (root / name / "instances.json").write_text(json.dumps(described))
    return root


def _reference(identity: int, image_id: int, sentences: Sequence[str], split: str) -> dict:
    numbers = [10 * identity, 10 * identity + 1]
    return {
        "sent_ids": numbers,
        "file_name": f"COCO_train2014_{image_id:012d}_{identity}.jpg",
        "ann_id": identity,
        "ref_id": identity,
        "image_id": image_id,
        "split": split,
        "category_id": 1,
        "sentences": [
            {"tokens": text.split(), "raw": text.upper(), "sent_id": number, "sent": text}
            for number, text in zip(numbers, sentences, strict=False)
        ],
    }


def polygons_of(mask: np.ndarray) -> list[list[float]]:
    """Outlines of a mask as COCO writes them."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [outline.reshape(-1).astype(float).tolist() for outline in outlines if len(outline) > 2]


def uncompressed(mask: np.ndarray) -> dict:
    """Run lengths of a mask as COCO writes crowds: numbers in column order."""
    flat = mask.T.reshape(-1)
    changes = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *changes, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


def python_2_pickle(value: Any) -> bytes:
    """A pickle as `cPickle.dump` of Python 2 writes it: byte strings in protocol 0."""
    return _opcodes(value) + b"."


def _opcodes(value: Any) -> bytes:
    if isinstance(value, dict):
        items = (_opcodes(key) + _opcodes(content) + b"s" for key, content in value.items())
        return b"(d" + b"".join(items)
    if isinstance(value, list):
        return b"(l" + b"".join(_opcodes(item) + b"a" for item in value)
    if isinstance(value, str):
        return b"S" + repr(value).encode("ascii") + b"\n"
    return b"I%d\n" % value


def make_own_clips(root: Path, scenes: Sequence[Scene]) -> Path:
    """Clips of every kind in turn: a video with run lengths, images with label images.

    Every other frame is annotated.
    """
    root.mkdir(parents=True, exist_ok=True)
    clips: dict[str, Any] = {}
    for number, scene in enumerate(scenes):
        annotated = range(0, FRAMES, 2)
        sentences = [
            {"text": own[0], "objects": [place]}
            for place, own in enumerate(scene.sentences, start=1)
        ]
        entry: dict[str, Any] = {"sentences": sentences}
        if number % 2 == 0:
            write_video(root / f"{scene.name}.mp4", scene.frames, 10.0)
            entry |= {
                "source": f"{scene.name}.mp4",
                "masks": {
                    str(place): {
                        str(index): run_length(scene.labels[index] == place) for index in annotated
                    }
                    for place in (1, 2)
                },
            }
        else:
            names = [f"image{index}" for index in range(FRAMES)]
            write_frames(root / scene.name, scene.frames, [f"{name}.png" for name in names])
            for index in annotated:
                write_palette_png(
                    root / f"{scene.name}_masks" / f"{names[index]}.png", scene.labels[index]
                )
            entry |= {
                "source": scene.name,
                "masks": f"{scene.name}_masks",
                "frame_rate": 10,
            }
        clips[scene.name] = entry
    (root / "clips.json").write_text(json.dumps({"clips": clips}))
    return root


def changed_clips(root: Path, folder: Path, **entries: Any) -> Path:
    """A copy of own clips in which some keys of the first clip have other values; None removes."""
    shutil.copytree(root, folder)
    described = json.loads((folder / "clips.json").read_text())
    first = next(iter(described["clips"].values()))
    for key, value in entries.items():
        first.pop(key, None)
        if value is not None:
            first[key] = value
    (folder / "clips.json").write_text(json.dumps(described))
    return folder
