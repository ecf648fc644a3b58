# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Published benchmarks in miniature, in exactly their formats, of clips of the world."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from miniature_files import write_frames, write_palette_png, write_video
from pycocotools import mask as coco_mask

from referdino_core.world import WorldRenderer

FRAMES = 5
OBJECTS = 2


@dataclass(frozen=True, eq=False)
class Scene:
    """A clip of the world with two objects that are always in view, each with four sentences.

    frames: (T, H, W, 3) uint8 RGB. labels: (T, H, W) uint8, the objects are 1 and 2.
    sentences: per object four sentences; no sentence means both.
    """

    name: str
    frames: np.ndarray
    labels: np.ndarray
    sentences: tuple[tuple[str, ...], ...]

    def masks(self, sentence: str) -> np.ndarray:
        """(T, H, W) bool, what a sentence means."""
        meant = [k for k, own in enumerate(self.sentences, start=1) if sentence in own]
        return np.isin(self.labels, meant)


def make_scenes(renderer: WorldRenderer, count: int = 2) -> list[Scene]:
    """Scenes of the test split's first clips that have two fitting objects."""
    made = (make_scene(renderer, index) for index in itertools.count())
    fitting = itertools.islice(filter(None, made), count)
    return [replace(scene, name=f"scene{place}") for place, scene in enumerate(fitting)]


@lru_cache(maxsize=16)
def make_scene(renderer: WorldRenderer, index: int) -> Scene | None:
    """The scene of a clip of the test split, read-only; None unless it has two fitting objects."""
    clip = renderer.clip("test", index)
    frames, segmentation = clip.frames[:FRAMES].copy(), clip.segmentation[:FRAMES]
    fitting = [
        number
        for number in range(1, len(clip.objects) + 1)
        if (segmentation == number).sum(axis=(1, 2)).min() >= 60
        and any(e.target == number for e in clip.expressions)
    ][:OBJECTS]
    if len(fitting) < OBJECTS:
        return None
    labels = np.zeros_like(segmentation)
    sentences = []
    for place, number in enumerate(fitting, start=1):
        labels[segmentation == number] = place
        own = itertools.cycle([e.text for e in clip.expressions if e.target == number])
        sentences.append(tuple(itertools.islice(own, 4)))
    for array in (frames, labels):
        array.setflags(write=False)
    return Scene(f"clip{index}", frames, labels, tuple(sentences))


def frame_names(scene: Scene) -> list[str]:
    return [f"{5 * index:05d}" for index in range(len(scene.frames))]


def write_meta_expressions(path: Path, videos: dict[str, dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"videos": videos}))


def write_jpegs(folder: Path, scene: Scene) -> None:
    write_frames(folder / scene.name, scene.frames, [f"{n}.jpg" for n in frame_names(scene)])


def make_ref_youtube_vos(root: Path, scenes: Sequence[Scene], annotated: bool = False) -> Path:
    """The last scene's expressions are those of a video of the test set, as on the server."""
    described = {}
    for scene in scenes:
        expressions: dict[str, dict] = {}
        for place, own in enumerate(scene.sentences, start=1):
            expressions[str(place - 1)] = {"exp": own[0]}
            if annotated:
                expressions[str(place - 1)]["obj_id"] = str(place)
        described[scene.name] = {"expressions": expressions, "frames": frame_names(scene)}
        write_jpegs(root / "valid" / "JPEGImages", scene)
        for name, labels in zip(frame_names(scene), scene.labels, strict=True):
            if annotated:
                write_palette_png(root / f"valid/Annotations/{scene.name}/{name}.png", labels)
    tested = dict.fromkeys(["tested"], next(iter(described.values())))
    write_meta_expressions(
        root / "meta_expressions/valid/meta_expressions.json", described | tested
    )
    write_meta_expressions(root / "meta_expressions/test/meta_expressions.json", tested)
    return root


def make_ref_davis17(root: Path, scenes: Sequence[Scene]) -> Path:
    described = {}
    for scene in scenes:
        expressions = {
            str(4 * place + annotator): {"exp": sentence, "obj_id": str(place + 1)}
            for place, own in enumerate(scene.sentences)
            for annotator, sentence in enumerate(own)
        }
        described[scene.name] = {"expressions": expressions, "frames": frame_names(scene)}
        write_jpegs(root / "valid" / "JPEGImages", scene)
        for name, labels in zip(frame_names(scene), scene.labels, strict=True):
            write_palette_png(root / "valid" / "Annotations" / scene.name / f"{name}.png", labels)
    write_meta_expressions(root / "meta_expressions/valid/meta_expressions.json", described)
    return root


def make_mevis(root: Path, scenes: Sequence[Scene]) -> Path:
    """Every scene has a sentence per object, and "every object" that means both."""
    described, masks = {}, {}
    for number, scene in enumerate(scenes):
        ids = [10 * number, 10 * number + 1]
        expressions = {
            str(place): {"exp": own[0], "obj_id": [place], "anno_id": [ids[place]]}
            for place, own in enumerate(scene.sentences)
        }
        expressions["2"] = {"exp": "every object", "obj_id": [0, 1], "anno_id": ids}
        described[scene.name] = {
            "vid_id": number,
            "expressions": expressions,
            "frames": frame_names(scene),
        }
        for place, identity in enumerate(ids, start=1):
            masks[str(identity)] = [run_length(labels == place) for labels in scene.labels]
        write_jpegs(root / "valid_u" / "JPEGImages", scene)
    write_meta_expressions(root / "valid_u" / "meta_expressions.json", described)
    (root / "valid_u" / "mask_dict.json").write_text(json.dumps(masks))
    return root


def run_length(mask: np.ndarray) -> dict | None:
    """As MeViS stores a mask: null where it is empty."""
    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": code["size"], "counts": code["counts"].decode()} if mask.any() else None


def make_a2d_sentences(root: Path, scenes: Sequence[Scene], judged: Sequence[int] = (2, 4)) -> Path:
    """Frames 2 and 4, from 1, are annotated; the last of them shows the first object only."""
    import h5py

    texts = root / "text_annotations"
    texts.mkdir(parents=True)
    videos, sentences = [], ["video_id,instance_id,query"]
    for scene in scenes:
        height, width = scene.labels.shape[1:]
        count = len(scene.frames)
        for name, subset in ((scene.name, 1), (f"{scene.name}_training", 0)):
            videos.append(f"{name},11,0:00:01,0:00:02,{height},{width},{count},3,{subset}")
            sentences += [f"{name},{k},{own[0]}" for k, own in enumerate(scene.sentences, start=1)]
        write_video(root / f"Release/clips320H/{scene.name}.mp4", scene.frames, 10.0)
        folder = texts / "a2d_annotation_with_instances" / scene.name
        folder.mkdir(parents=True)
        for number in judged:
            shown = [1] if number == judged[-1] else [1, 2]
            masks = np.stack([scene.labels[number - 1] == k for k in shown]).astype(np.uint8)
            stored = masks.transpose(0, 2, 1)
            with h5py.File(folder / f"{number:05d}.h5", "w") as file:
                file["instance"] = np.array(shown, np.float64)
                file["reMask"] = stored if len(shown) > 1 else stored[0]
                file["reBBox"] = np.zeros((4, len(shown)))
    videos.append("missed,11,0:00:01,0:00:02,120,160,5,3,1")
    sentences.append('missed,1,"a dog, running"')
    (root / "Release" / "videoset.csv").write_text("\n".join(videos) + "\n")
    (texts / "a2d_annotation.txt").write_text("\n".join(sentences) + "\n")
    (texts / "a2d_missed_videos.txt").write_text("missed\n")
    return root


def make_jhmdb_sentences(root: Path, scenes: Sequence[Scene], samples: bool = True) -> Path:
    """The person is the first object; the last frame of every video has no mask."""
    from scipy.io import savemat

    rows, chosen = ["video_id,query"], []
    for scene in scenes:
        names = [f"{number:05d}.png" for number in range(1, len(scene.frames) + 1)]
        write_frames(root / "Rename_Images" / "catch" / scene.name, scene.frames, names)
        place = root / "puppet_mask" / "catch" / scene.name
        place.mkdir(parents=True)
        masks = (scene.labels[:-1] == 1).astype(np.uint8).transpose(1, 2, 0)
        savemat(place / "puppet_mask.mat", {"part_mask": masks})
        sentence = scene.sentences[0][0]
        rows.append(f"{scene.name},{sentence}")
        for number in (1, 3):
            frame = f"jhmdb_sentences/Rename_Images/catch/{scene.name}/{number:05d}.png"
            mask = f"jhmdb_sentences/puppet_mask/catch/{scene.name}/puppet_mask.mat"
            chosen.append([scene.name, frame, mask, masks.shape[2], sentence])
    (root / "jhmdb_annotation.txt").write_text("\n".join(rows) + "\n")
    if samples:
        (root / "jhmdb_sentences_samples_metadata.json").write_text(json.dumps(chosen))
    return root
