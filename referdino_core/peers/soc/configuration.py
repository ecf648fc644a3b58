# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""SOC's configurations, which differ in their backbone."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from referdino_core.errors import ReferDINOError


@dataclass(frozen=True)
class VideoSwinConfiguration:
    """Video Swin Transformer: channels of the first stage, then one entry per stage.

    `window` is its size in frames, rows and columns of a feature map.
    """

    embedding: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: tuple[int, int, int] = (8, 7, 7)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four outputs, finest (stride 4) first."""
        return tuple(self.embedding * 2**stage for stage in range(len(self.depths)))


@dataclass(frozen=True)
class RobertaSizes:
    """RoBERTa text backbone; the defaults are roberta-base."""

    vocabulary: int = 50265
    width: int = 768
    layers: int = 12
    heads: int = 12
    feed_forward: int = 3072
    positions: int = 514


@dataclass(frozen=True)
class SOCConfiguration:
    """SOC's sizes; the defaults are those of the released checkpoints.

    `classes` is 1 (referred or not), or the number of categories of the data set.
    """

    name: str
    swin: VideoSwinConfiguration
    roberta: RobertaSizes = field(default_factory=RobertaSizes)
    classes: int = 1
    queries: int = 20
    width: int = 256
    heads: int = 8
    levels: int = 4
    points: int = 4
    encoder_layers: int = 3
    decoder_layers: int = 3
    cluster_layers: int = 3
    feed_forward: int = 2048
    mask_channels: int = 8

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise ReferDINOError(f"classes is {self.classes}; it must be at least 1.")
        if self.queries < 1:
            raise ReferDINOError(f"queries is {self.queries}; it must be at least 1.")
        if self.width % self.heads:
            raise ReferDINOError("width must be divisible by heads.")


SOC_SWIN_T = SOCConfiguration(
    name="soc_swint", swin=VideoSwinConfiguration(96, (2, 2, 6, 2), (3, 6, 12, 24))
)

SOC_SWIN_B = SOCConfiguration(
    name="soc_swinb", swin=VideoSwinConfiguration(128, (2, 2, 18, 2), (4, 8, 16, 32))
)

SOC_CONFIGURATIONS = {one.name: one for one in (SOC_SWIN_T, SOC_SWIN_B)}


def soc_configuration(name: str, **overrides: Any) -> SOCConfiguration:
    """Configuration of that name with some settings replaced.

    Raises:
        ReferDINOError: the name or a setting is unknown, or a value is out of range.
    """
    if name not in SOC_CONFIGURATIONS:
        raise ReferDINOError(
            f"There is no SOC {name!r}; choose one of {', '.join(SOC_CONFIGURATIONS)}."
        )
    known = {entry.name for entry in fields(SOCConfiguration)} - {"name"}
    unknown = sorted(set(overrides) - known)
    if unknown:
        raise ReferDINOError(f"Unknown settings {unknown}; known are {', '.join(sorted(known))}.")
    return replace(SOC_CONFIGURATIONS[name], **overrides)
