# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Declarations of the node's parameters: type, range, default, meaning, when they may change."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TypeAlias

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from referdino_core.configuration import (
    CONFIGURATIONS,
    MEMORIES,
    PRECISIONS,
    RUNTIMES,
    SELECTIONS,
    SessionSettings,
)

Value: TypeAlias = bool | int | float | str


class Change(enum.Enum):
    """When a parameter may change."""

    ANY_TIME = "may change at any time"
    UNCONFIGURED = "is read when the node is configured"
    NEVER = "is read when the node starts"


@dataclass(frozen=True)
class Declaration:
    """One parameter.

    Attributes:
        name: as in ROS.
        default: also fixes the type: bool, int, float or str.
        description: one sentence for `ros2 param describe`.
        change: when the value may change.
        range: lowest and highest value of a number, both allowed.
        choices: the allowed texts; empty where any is.
        pattern: regular expression of the allowed texts; empty where any is.
        unit: of a number, where it has one.
    """

    name: str
    default: Value
    description: str
    change: Change
    range: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    unit: str = ""

    def descriptor(self) -> ParameterDescriptor:
        """The declaration in ROS's terms."""
        descriptor = ParameterDescriptor(
            name=self.name,
            description=f"{self.description} It {self.change.value}.",
            additional_constraints=f"One of {', '.join(self.choices)}." if self.choices else "",
            read_only=self.change is Change.NEVER,
        )
        if self.range and isinstance(self.default, float):
            low, high = self.range
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        elif self.range:
            low, high = int(self.range[0]), int(self.range[1])
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high)]
        return descriptor

    def complaint(self, value: Value) -> str | None:
        """What is wrong with a value of the right type, or None; ranges are ROS's own check."""
        if self.choices and value not in self.choices:
            return f"{self.name} is {value!r}; it must be one of {', '.join(self.choices)}."
        if self.pattern and not re.fullmatch(self.pattern, str(value)):
            return f"{self.name} is {value!r}; {self.description}"
        return None


_SESSION = SessionSettings()

DECLARATIONS: tuple[Declaration, ...] = (
    Declaration(
        "autostart",
        True,
        "Whether the node configures and activates itself when it starts.",
        Change.NEVER,
    ),
    Declaration(
        "model",
        "nano",
        "The model, where no checkpoint is given.",
        Change.UNCONFIGURED,
        choices=tuple(sorted(CONFIGURATIONS)),
    ),
    Declaration(
        "checkpoint",
        "",
        "Path of weights (.pth or .safetensors), whose model is recognised; empty for those of "
        "the parameter model.",
        Change.UNCONFIGURED,
    ),
    Declaration(
        "device",
        "auto",
        "Where the network runs: cpu, cuda, cuda:N, or auto for a GPU if PyTorch can use one, else "
        "the CPU.",
        Change.UNCONFIGURED,
    ),
    Declaration(
        "runtime",
        "auto",
        "What computes the network; auto is the fastest that is installed.",
        Change.UNCONFIGURED,
        choices=RUNTIMES,
    ),
    Declaration(
        "precision",
        "fp32",
        "What the network computes in: fp32, bf16 or fp16.",
        Change.UNCONFIGURED,
        choices=PRECISIONS,
    ),
    Declaration(
        "exports",
        "",
        "Folder that `referdino export` wrote, for onnxruntime and tensorrt; empty: the node makes "
        "and keeps its own.",
        Change.UNCONFIGURED,
    ),
    Declaration(
        "image_size",
        "",
        "Size of the camera's images, such as 640x480 (width x height): a runtime that takes long "
        "to get ready then does so while the node is configured; empty: at the first image.",
        Change.UNCONFIGURED,
        pattern="([1-9][0-9]*x[1-9][0-9]*)?",
    ),
    Declaration(
        "initial_command",
        "",
        "A command that runs from the start; empty for none.",
        Change.UNCONFIGURED,
    ),
    Declaration(
        "image_transport",
        "raw",
        "raw subscribes to image_raw (sensor_msgs/Image), compressed to image_raw/compressed "
        "(sensor_msgs/CompressedImage).",
        Change.UNCONFIGURED,
        choices=("raw", "compressed"),
    ),
    Declaration(
        "image_qos",
        "sensor_data",
        "Quality of service of the image subscription: sensor_data (best effort, receives from "
        "every camera), reliable, or system_default (the middleware's).",
        Change.UNCONFIGURED,
        choices=("sensor_data", "reliable", "system_default"),
    ),
    Declaration(
        "window",
        _SESSION.window,
        "Frames that the temporal decoder looks back over.",
        Change.UNCONFIGURED,
        range=(1, 64),
        unit="frames",
    ),
    Declaration(
        "select",
        _SESSION.select,
        "How many objects a command means that does not say so itself: one, the best, or all.",
        Change.UNCONFIGURED,
        choices=SELECTIONS,
    ),
    Declaration(
        "accept",
        _SESSION.accept,
        "Score at which a search takes up a target, and at which a target comes back.",
        Change.ANY_TIME,
        range=(0.0, 1.0),
    ),
    Declaration(
        "keep",
        _SESSION.keep,
        "Score below which an accepted target counts as not seen; at most accept.",
        Change.ANY_TIME,
        range=(0.0, 1.0),
    ),
    Declaration(
        "average",
        _SESSION.average,
        "Time over which scores are averaged, at most the window's.",
        Change.ANY_TIME,
        range=(0.0, 60.0),
        unit="s",
    ),
    Declaration(
        "take_up",
        _SESSION.take_up,
        "Time whose images are evidence for taking up a target, its return and giving it up.",
        Change.ANY_TIME,
        range=(0.0, 60.0),
        unit="s",
    ),
    Declaration(
        "take_up_share",
        _SESSION.take_up_share,
        "Fraction of those images that must agree.",
        Change.ANY_TIME,
        range=(0.01, 1.0),
    ),
    Declaration(
        "hold",
        _SESSION.hold,
        "Time without sight of a target (occluded) before it is lost.",
        Change.ANY_TIME,
        range=(0.0, 86_400.0),
        unit="s",
    ),
    Declaration(
        "switch_margin",
        _SESSION.switch_margin,
        "How much better the average score of another object must be to take over a command.",
        Change.ANY_TIME,
        range=(0.0, 1.0),
    ),
    Declaration(
        "switch_interval",
        _SESSION.switch_interval,
        "Time between two such switches, at least.",
        Change.ANY_TIME,
        range=(0.0, 86_400.0),
        unit="s",
    ),
    Declaration(
        "same_appearance",
        _SESSION.same_appearance,
        "Similarity to the target's appearance (cosine) below which an object is another one.",
        Change.ANY_TIME,
        range=(-1.0, 1.0),
    ),
    Declaration(
        "same_place",
        _SESSION.same_place,
        "Distance from where the target is expected, as a fraction of the image, above which an "
        "object is another one.",
        Change.ANY_TIME,
        range=(0.0, 10.0),
    ),
    Declaration(
        "place_growth",
        _SESSION.place_growth,
        "By how much same_place and same_size grow per second in which the target is not seen.",
        Change.ANY_TIME,
        range=(0.0, 10.0),
        unit="1/s",
    ),
    Declaration(
        "same_size",
        _SESSION.same_size,
        "Change of the natural logarithm of the box's area above which an object is another one.",
        Change.ANY_TIME,
        range=(0.0, 10.0),
    ),
    Declaration(
        "mask_threshold",
        _SESSION.mask_threshold,
        "Probability above which a pixel belongs to the mask.",
        Change.ANY_TIME,
        range=(0.0, 1.0),
    ),
    Declaration(
        "max_gap",
        _SESSION.max_gap,
        "Time between the stamps of two camera images that resets the memories; 0.0 never does.",
        Change.ANY_TIME,
        range=(0.0, 86_400.0),
        unit="s",
    ),
    Declaration(
        "max_lateness",
        _SESSION.max_lateness,
        "How much earlier than its predecessor an image may be stamped to be dropped alone; beyond "
        "it the clock jumped back, which resets the memories.",
        Change.ANY_TIME,
        range=(0.0, 86_400.0),
        unit="s",
    ),
    Declaration(
        "memory",
        _SESSION.memory,
        "How object memories move: steady is made for endless streams, released is the published "
        "inference.",
        Change.UNCONFIGURED,
        choices=MEMORIES,
    ),
    Declaration(
        "max_commands",
        16,
        "Commands that may run at once; time and memory grow with them.",
        Change.ANY_TIME,
        range=(1, 64),
    ),
    Declaration(
        "overlay_jpeg_quality",
        80,
        "Quality of ~/overlay/compressed.",
        Change.ANY_TIME,
        range=(1, 100),
        unit="%",
    ),
    Declaration(
        "no_image_warning",
        5.0,
        "Time without an image after which the node warns, and warns again; 0 never does.",
        Change.ANY_TIME,
        range=(0.0, 86_400.0),
        unit="s",
    ),
    Declaration(
        "error_log_period",
        10.0,
        "Time in which an error that repeats is logged once.",
        Change.ANY_TIME,
        range=(0.0, 86_400.0),
        unit="s",
    ),
)
