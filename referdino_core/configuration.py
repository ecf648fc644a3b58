# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of the network and of the stream, with types, ranges and defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from referdino_core.errors import ReferDINOError


@dataclass(frozen=True)
class SwinConfiguration:
    """Swin Transformer backbone: channels of the first stage, then one entry per stage."""

    embedding: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four outputs, finest (stride 4) first."""
        return tuple(self.embedding * 2**stage for stage in range(len(self.depths)))


@dataclass(frozen=True)
class BertConfiguration:
    """BERT text backbone; the defaults are bert-base-uncased.

    `sentence_ends` are the token ids that delimit sub-sentences: [CLS], [SEP], "." and "?".
    """

    vocabulary: int = 30522
    width: int = 768
    layers: int = 12
    heads: int = 12
    feed_forward: int = 3072
    positions: int = 512
    sentence_ends: tuple[int, ...] = (101, 102, 1012, 1029)


@dataclass(frozen=True)
class NetworkConfiguration:
    """ReferDINO's sizes and variants; the defaults are those of the released checkpoints.

    `pruning_score` and `relevance` select the variant of the released weights or that of the paper
    (eq. 4, and the update of the object memory). `time_embedding` (frame ages and slot boxes in the
    temporal decoder), `place_weight` (weight of the distance between boxes when queries are
    aligned, see `alignment_costs`) and `calibrated_scores` (a learned scale and offset of token
    similarities) are referdino's extensions, which released weights lack. `initial_fusion_gain`
    initialises the fusion layers' gains for training. `temporal_layers` is 0 for weights that were
    trained on single frames: there is no temporal decoder, and scores, boxes and masks are computed
    directly from the decoder's queries. `added_words` follow those of the bundled vocabulary of
    whole words, see `building.add_words`.
    """

    name: str
    swin: SwinConfiguration
    bert: BertConfiguration = field(default_factory=BertConfiguration)
    tokenizer: Literal["wordpiece", "words"] = "wordpiece"
    added_words: tuple[str, ...] = ()
    width: int = 256
    heads: int = 8
    levels: int = 4
    points: int = 4
    encoder_layers: int = 6
    decoder_layers: int = 6
    feed_forward: int = 2048
    fusion_width: int = 1024
    fusion_heads: int = 4
    text_feed_forward: int = 1024
    text_heads: int = 4
    num_queries: int = 900
    keep_ratio: float = 0.5
    temporal_layers: int = 3
    temporal_feed_forward: int = 2048
    mask_layers: int = 3
    mask_points: int = 16
    mask_feed_forward: int = 1024
    memory_momentum: float = 0.1
    pruning_score: Literal["released", "paper"] = "released"
    relevance: Literal["released", "paper"] = "released"
    time_embedding: bool = False
    place_weight: float = 0.0
    calibrated_scores: bool = False
    initial_fusion_gain: float = 1e-4
    image_short_side: int = 360

    def __post_init__(self) -> None:
        if not 0 < self.keep_ratio <= 1:
            raise ReferDINOError(f"keep_ratio is {self.keep_ratio}; it must be in (0, 1].")
        if self.added_words and self.tokenizer != "words":
            raise ReferDINOError(f"{self.name} reads parts of words; it takes no added_words.")
        if self.num_queries < 1:
            raise ReferDINOError(f"num_queries is {self.num_queries}; it must be at least 1.")
        if self.temporal_layers < 0:
            raise ReferDINOError(
                f"temporal_layers is {self.temporal_layers}; it must be at least 0."
            )
        if not self.place_weight >= 0:
            raise ReferDINOError(f"place_weight is {self.place_weight}; it must not be negative.")
        if self.width % self.heads or self.width % self.text_heads:
            raise ReferDINOError("width must be divisible by heads and by text_heads.")
        if self.fusion_width % self.fusion_heads:
            raise ReferDINOError("fusion_width must be divisible by fusion_heads.")
        if self.pruning_score not in ("released", "paper"):
            raise ReferDINOError(f"pruning_score {self.pruning_score!r} is not released or paper.")
        if self.relevance not in ("released", "paper"):
            raise ReferDINOError(f"relevance {self.relevance!r} is neither released nor paper.")

    @property
    def single_frame(self) -> bool:
        """Whether frames are processed independently, without a temporal decoder."""
        return self.temporal_layers == 0

    @property
    def surviving_queries(self) -> tuple[int, ...]:
        """Number of queries after each decoder layer, e.g. (450, 225, 113, 57, 29, 15)."""
        alive = [self.num_queries]
        for _ in range(self.decoder_layers):
            alive.append(math.ceil(alive[-1] * self.keep_ratio))
        return tuple(alive[1:])


SWIN_T = NetworkConfiguration(
    name="swint",
    swin=SwinConfiguration(embedding=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), window=7),
)

SWIN_B = NetworkConfiguration(
    name="swinb",
    swin=SwinConfiguration(embedding=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32), window=12),
)

NANO = NetworkConfiguration(
    name="nano",
    swin=SwinConfiguration(embedding=32, depths=(2, 2, 2, 2), heads=(2, 4, 8, 16), window=5),
    bert=BertConfiguration(
        vocabulary=80,
        width=128,
        layers=2,
        heads=4,
        feed_forward=256,
        positions=256,
        sentence_ends=(2, 3, 4, 5),
    ),
    tokenizer="words",
    width=128,
    encoder_layers=2,
    decoder_layers=3,
    feed_forward=256,
    fusion_width=256,
    text_feed_forward=256,
    num_queries=60,
    keep_ratio=0.8,
    temporal_layers=1,
    temporal_feed_forward=256,
    mask_layers=1,
    mask_points=8,
    mask_feed_forward=256,
    time_embedding=True,
    place_weight=1.0,
    calibrated_scores=True,
    initial_fusion_gain=0.3,
    image_short_side=120,
)

RUNTIMES = ("auto", "torch", "onnxruntime", "tensorrt")
"""The supported runtimes; "auto" is the fastest available one."""

CONFIGURATIONS = {configuration.name: configuration for configuration in (SWIN_T, SWIN_B, NANO)}


def network_configuration(name: str, **overrides: Any) -> NetworkConfiguration:
    """The configuration with a name, with some settings replaced.

    Raises:
        ReferDINOError: the name or a setting is unknown, or a value is out of range.
    """
    if name not in CONFIGURATIONS:
        raise ReferDINOError(
            f"There is no model {name!r}; choose one of {', '.join(CONFIGURATIONS)}."
        )
    known = {entry.name for entry in fields(NetworkConfiguration)} - {"name"}
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise ReferDINOError(f"Unknown settings {unknown}; known are {', '.join(sorted(known))}.")
    return replace(CONFIGURATIONS[name], **overrides)


SELECTIONS = ("one", "all")
"""The objects that a command selects: the one that fits best, or all that fit."""

MEMORIES = ("steady", "released")
"""Updates of object memories: for endless streams, or as in the released inference code."""

MAX_COMMANDS = 64
"""Maximum number of commands per stream; runtimes split them into smaller batches if necessary."""

MAX_WINDOW = 64
"""Maximum number of frames in a window."""

RENAMED_SETTINGS = {
    "hold_frames": "hold (seconds)",
    "switch_frames": "switch_interval (seconds)",
}
"""Earlier names of `SessionSettings`' fields, with their present names."""


@dataclass(frozen=True)
class SessionSettings:
    """Thresholds of the stream's target states.

    Scores are probabilities in [0, 1]. Durations are seconds of the images' stamps, so that
    decisions do not depend on the frame rate.

    Attributes:
        window: frames in the temporal decoder's window, at most `MAX_WINDOW`.
        select: default selection of commands, one of `SELECTIONS`.
        accept: score from which a target is accepted, and from which it is visible again.
        keep: score below which an accepted target counts as not visible in a frame.
        average: duration over which scores are averaged, limited by the window.
        take_up: duration of the recent images that decide whether a target is accepted, returns, or
            is no longer visible.
        take_up_share: fraction of those images that must agree, in (0, 1].
        hold: duration for which an invisible target is occluded before it is lost.
        switch_margin: how much higher the average score of another object must be to switch to it.
        switch_interval: minimum duration between two switches.
        same_appearance: cosine between a slot's query and the target's appearance, below which the
            slot holds another object.
        same_place: distance of a box from the expected position, as a fraction of the image's
            sides, above which the box belongs to another object: of the centres, or of the edges in
            view if the image's border cuts a box off.
        same_size: difference of the natural logarithm of a box's area from the expected one, above
            which the box belongs to another object; sides that are cut off do not count.
        place_growth: increase of same_place and same_size per second since the target was last
            visible.
        mask_threshold: probability above which a pixel belongs to the mask.
        max_gap: duration between the stamps of two camera images that resets the memories; 0 never
            does.
        max_lateness: how much earlier than its predecessor an image may be stamped to be just
            dropped; a larger jump back of the clock resets the memories.
        memory: update of object memories, one of `MEMORIES`.

    Raises:
        ReferDINOError: a value is out of its range.
    """

    window: int = 8
    select: str = "one"
    accept: float = 0.45
    keep: float = 0.3
    average: float = 0.75
    take_up: float = 0.25
    take_up_share: float = 0.6
    hold: float = 3.0
    switch_margin: float = 0.1
    switch_interval: float = 0.2
    same_appearance: float = 0.9
    same_place: float = 0.12
    place_growth: float = 0.3
    same_size: float = 0.7
    mask_threshold: float = 0.5
    max_gap: float = 5.0
    max_lateness: float = 0.5
    memory: str = "steady"

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ReferDINOError(f"window is {self.window}; it must be at least 1 frame.")
        if self.window > MAX_WINDOW:
            raise ReferDINOError(
                f"window is {self.window}; it must be at most {MAX_WINDOW} frames."
            )
        for name in ("accept", "keep", "switch_margin", "mask_threshold"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ReferDINOError(f"{name} is {getattr(self, name)}; it must be in [0, 1].")
        if self.keep > self.accept:
            raise ReferDINOError(f"keep ({self.keep}) must not exceed accept ({self.accept}).")
        if not 0.0 < self.take_up_share <= 1.0:
            raise ReferDINOError(f"take_up_share is {self.take_up_share}; it must be in (0, 1].")
        if not -1.0 <= self.same_appearance <= 1.0:
            raise ReferDINOError(
                f"same_appearance is {self.same_appearance}; it must be in [-1, 1]."
            )
        for name in (
            "average", "take_up", "hold", "switch_interval", "same_place", "place_growth",
            "same_size", "max_gap", "max_lateness",
        ):  # fmt: skip
            if not getattr(self, name) >= 0:
                raise ReferDINOError(f"{name} is {getattr(self, name)}; it must not be negative.")
        for name, choices in (("select", SELECTIONS), ("memory", MEMORIES)):
            if getattr(self, name) not in choices:
                raise ReferDINOError(
                    f"{name} is {getattr(self, name)!r}; choose one of {', '.join(choices)}."
                )
