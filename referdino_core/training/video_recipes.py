# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Recipes of the published models: data, learning rates, loss weights and sampling.

Sources: the network's specification, section Training, for everything but what is marked "ours":
the paper does not print it.
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass
from typing import Any

from referdino_core.errors import ReferDINOError
from referdino_core.training.data_sets import DataSet
from referdino_core.training.loss_weights import (
    MEVIS_SWIN_B_WEIGHTS,
    MEVIS_SWIN_T_WEIGHTS,
    REF_YOUTUBE_VOS_WEIGHTS,
    LossWeights,
)


@dataclass(frozen=True)
class VideoRecipe:
    """How a model is trained on referring video object segmentation.

    Attributes:
        model: name of the configuration.
        sets: data sets as `DataSet.parse` reads them, "NAME[/SPLIT][:TIMES]".
        start: name of the weights to start from in the catalogue of `referdino download`; empty if
            they are not in it.
        weights: of the losses and of the matching costs.
        learning_rate: AdamW's for two clips in a step over all processes; it grows with their
            number.
        backbone_learning_rate: of the image backbone's and BERT's trained layer norms.
        epochs: passes over all sentences (ours).
        drop_at: fraction of the training after which the learning rate falls to a tenth.
        weight_decay: AdamW's.
        gradient_norm: to which gradients are clipped.
        clip_frames: frames of a clip; 1 trains a single-frame model, without temporal decoder.
            Where only one frame is annotated, the others are made from it; see `pseudo_clip`.
        clips_per_step: clips in a step of one process.
        accumulation: steps whose gradients are added up before the optimiser's step.
        flip: probability that a clip is mirrored; "left" and "right" in the sentence change places.
        reverse: probability that a clip runs backwards.
        scales: short sides, as fractions of the network's own (ours).
        crop: probability that a clip is cropped around its target (ours).
        distortion: probability of each change of brightness, contrast and saturation (ours).
        precision: of matrix multiplications under autocast; weights stay in float32.
        averaging: decay of an exponential moving average of the weights, 0 for none.
        checkpointing: whether activations of encoder and decoder layers are computed again in the
            backward pass instead of being kept.
        learnt: "lora", the published parts; or "grounding", all of the text encoder and the
            grounder, for small models (ours).
        assignment: "one", the paper's, of one query to a clip; or "covering", of every query that
            covers the object of a frame, for weights that were trained so, as `nano`'s (ours).
        words: added to the vocabulary of a model with whole words (ours).
        word_learning_rate: of the embeddings of added words (ours).
        contrastive_weight: weight of the contrastive loss of SOC, 0 for none (ours).
        hold_back: one video in so many is held back for validation (ours).
        validation_clips: sentences of other videos that are segmented after every epoch.
        save_every: steps between two saved states.
    """

    model: str
    sets: tuple[str, ...]
    weights: LossWeights
    start: str = ""
    learning_rate: float = 5e-5
    backbone_learning_rate: float = 5e-6
    epochs: int = 6
    drop_at: float = 0.8
    weight_decay: float = 1e-4
    gradient_norm: float = 0.1
    clip_frames: int = 6
    clips_per_step: int = 1
    accumulation: int = 1
    flip: float = 0.5
    reverse: float = 0.3
    scales: tuple[float, ...] = (0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)
    crop: float = 0.5
    distortion: float = 0.5
    precision: typing.Literal["fp32", "bf16", "fp16"] = "fp32"
    averaging: float = 0.0
    checkpointing: bool = False
    learnt: typing.Literal["lora", "grounding"] = "lora"
    assignment: typing.Literal["one", "covering"] = "one"
    words: tuple[str, ...] = ()
    word_learning_rate: float = 5e-4
    contrastive_weight: float = 0.0
    hold_back: int = 50
    validation_clips: int = 40
    save_every: int = 200

    def __post_init__(self) -> None:
        for name in ("epochs", "clip_frames", "clips_per_step", "accumulation", "save_every"):
            if getattr(self, name) < 1:
                raise ReferDINOError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("drop_at", "flip", "reverse", "crop", "distortion", "averaging"):
            if not 0 <= getattr(self, name) <= 1:
                raise ReferDINOError(f"{name} is {getattr(self, name)}; it must be from 0 to 1.")
        if not self.scales or min(self.scales) <= 0:
            raise ReferDINOError("scales must be numbers above 0, at least one.")
        if self.hold_back < 2:
            raise ReferDINOError(f"hold_back is {self.hold_back}; it must be at least 2.")
        names = [one.name for one in self.data_sets]
        if not names or len(set(names)) != len(names):
            raise ReferDINOError("sets must name a data set, and each only once.")

    @property
    def data_sets(self) -> tuple[DataSet, ...]:
        """The data sets.

        Raises:
            ReferDINOError: there is no such data set.
        """
        return tuple(DataSet.parse(text) for text in self.sets)


_YTVOS = VideoRecipe("swint", ("ref-youtube-vos",), REF_YOUTUBE_VOS_WEIGHTS, start="coco_swint")
_MEVIS = VideoRecipe(
    "swint",
    ("mevis",),
    MEVIS_SWIN_T_WEIGHTS,
    start="groundingdino_swint_ogc",
    learning_rate=1e-4,
)
_COCO = VideoRecipe(
    "swint",
    ("refcoco", "refcoco+", "refcocog"),
    REF_YOUTUBE_VOS_WEIGHTS,
    start="groundingdino_swint_ogc",
    learning_rate=1e-4,
    clip_frames=1,
)
_JOINT = dataclasses.replace(
    _YTVOS, sets=("ref-youtube-vos", "refcoco:0.05", "refcoco+:0.05", "refcocog:0.05")
)
_OWN = dataclasses.replace(_YTVOS, sets=("own-clips",), epochs=10, hold_back=8)

RECIPES: dict[str, VideoRecipe] = {
    "coco_swint": _COCO,
    "coco_swinb": dataclasses.replace(
        _COCO, model="swinb", start="groundingdino_swinb_cogcoor", learning_rate=5e-5
    ),
    "ytvos_swint": _YTVOS,
    "ytvos_swinb": dataclasses.replace(_YTVOS, model="swinb", start="coco_swinb"),
    "mevis_swint": _MEVIS,
    "mevis_swinb": dataclasses.replace(
        _MEVIS, model="swinb", start="groundingdino_swinb_cogcoor", weights=MEVIS_SWIN_B_WEIGHTS
    ),
    "a2d_swinb": VideoRecipe(
        "swinb",
        ("a2d-sentences",),
        MEVIS_SWIN_B_WEIGHTS,
        start="groundingdino_swinb_cogcoor",
        learning_rate=1e-4,
        clip_frames=1,
    ),
    "joint_swint": _JOINT,
    "joint_swinb": dataclasses.replace(_JOINT, model="swinb", start="coco_swinb"),
    "own_nano": dataclasses.replace(
        _OWN,
        model="nano",
        start="nano",
        learnt="grounding",
        assignment="covering",
        learning_rate=7e-5,
        word_learning_rate=1e-3,
        epochs=4,
        clip_frames=2,
        clips_per_step=6,
        gradient_norm=1.0,
        scales=(1.0,),
        crop=0.0,
        averaging=0.97,
    ),
    "own_swint": _OWN,
    "own_swinb": dataclasses.replace(_OWN, model="swinb", start="ryt_mevis_swinb"),
}
"""Recipes by name. Data, repetitions and held-back videos of joint_* and own_* are ours."""


def changed(recipe: VideoRecipe, assignments: list[str]) -> VideoRecipe:
    """The recipe with settings replaced by texts "name=value".

    Raises:
        ReferDINOError: a name is unknown or a value is of another type.
    """
    hints = typing.get_type_hints(VideoRecipe)
    values = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or name not in hints or name == "weights":
            known = ", ".join(sorted(set(hints) - {"weights"}))
            raise ReferDINOError(f"--set {assignment}: give NAME=VALUE, NAME being one of {known}.")
        values[name] = _parse(name, text, hints[name])
    return dataclasses.replace(recipe, **values)


def _parse(name: str, text: str, kind: Any) -> Any:
    """The value that a text means for a setting of a type."""
    if typing.get_origin(kind) is typing.Literal:
        values = {choice: choice for choice in typing.get_args(kind)}
    elif kind is bool:
        values = {"true": True, "false": False}
    else:
        convert = kind
        if typing.get_origin(kind) is tuple:
            convert = _texts if typing.get_args(kind)[0] is str else _numbers
        try:
            return convert(text)
        except ValueError:
            raise ReferDINOError(f"--set {name}={text}: that is not a number.") from None
    if text not in values:
        raise ReferDINOError(f"--set {name}={text}: it must be {' or '.join(values)}.")
    return values[text]


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _texts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))
