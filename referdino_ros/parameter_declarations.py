# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Declarations of the node's parameters.

The launch file, config/referdino.yaml and docs/parameters.md are derived from them.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from referdino_core.configuration import (
    CONFIGURATIONS,
    MAX_COMMANDS,
    MAX_WINDOW,
    MEMORIES,
    RUNTIMES,
    SELECTIONS,
    SessionSettings,
)
from referdino_core.errors import ReferDINOError
from referdino_core.peers import STREAMING_PEER_NAMES
from referdino_core.precision import PRECISIONS
from referdino_ros.camera_topics import camera_topics

Value: TypeAlias = bool | int | float | str | Sequence[str]


class Change(enum.Enum):
    """Times at which a parameter may change."""

    ANY_TIME = "may change at any time"
    UNCONFIGURED = "is read when the node is configured"
    NEVER = "is read when the node starts"


def read_only_while_configured(name: str) -> str:
    """Message about a parameter that cannot change while its node is configured."""
    return (
        f"{name} is read-only while the node is configured. Deactivate and clean up the node (ros2 "
        "lifecycle set), set it, and configure again; or restart the node with the new value."
    )


@dataclass(frozen=True)
class Declaration:
    """Declaration of one parameter.

    Attributes:
        name: as in ROS.
        default: also determines the type: bool, int, float, str, or a tuple for a list of texts.
        description: one sentence for `ros2 param describe`.
        change: when the value may change.
        range: minimum and maximum of a number, inclusive.
        choices: the allowed texts; empty if all are allowed.
        pattern: regular expression of the allowed texts; empty if all are allowed.
        unit: of a number, if it has one.
        parse: raises ReferDINOError for invalid values; None if all are allowed.
    """

    name: str
    default: Value
    description: str
    change: Change
    range: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    unit: str = ""
    parse: Callable[[Any], object] | None = None

    def descriptor(self) -> ParameterDescriptor:
        """The declaration as a ROS message."""
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
        """The problem of a value of the right type, or None; ranges are checked by ROS."""
        if self.choices and value not in self.choices:
            return f"{self.name} is {value!r}; it must be one of {', '.join(self.choices)}."
        if self.pattern and not re.fullmatch(self.pattern, str(value)):
            return f"{self.name} is {value!r}; {self.description}"
        try:
            if self.parse is not None:
                self.parse(value)
        except ReferDINOError as error:
            return str(error)
        return None


_SESSION = SessionSettings()

SECTIONS: Mapping[str, tuple[Declaration, ...]] = {
    "Lifecycle": (
        Declaration(
            "autostart",
            True,
            "Whether the node configures and activates itself on start; set it to false if a "
            "lifecycle manager does that.",
            Change.NEVER,
        ),
    ),
    "Model": (
        Declaration(
            "model",
            "nano",
            "The model, if no checkpoint is given. Other published models (see docs/peers.md) run "
            "camera by camera, in PyTorch, and need the extra `peers`.",
            Change.UNCONFIGURED,
            choices=(*sorted(CONFIGURATIONS), *STREAMING_PEER_NAMES),
        ),
        Declaration(
            "checkpoint",
            "",
            "Path of weights (.pth or .safetensors), whose model is detected, or of the folder of "
            "another published model; empty for the weights of the parameter model.",
            Change.UNCONFIGURED,
        ),
        Declaration(
            "device",
            "auto",
            "Where the network runs: cpu, cuda, cuda:N, or auto for a GPU if PyTorch can use "
            "one, else the CPU.",
            Change.UNCONFIGURED,
        ),
        Declaration(
            "runtime",
            "auto",
            "Inference runtime; auto is the fastest that is installed.",
            Change.UNCONFIGURED,
            choices=RUNTIMES,
        ),
        Declaration(
            "precision",
            "fp32",
            "Numerical precision of the network: fp32; bf16 (GPUs, and CPUs with bf16 matrix "
            "instructions); fp16 (GPUs).",
            Change.UNCONFIGURED,
            choices=tuple(PRECISIONS),
        ),
        Declaration(
            "exports",
            "",
            "Folder written by `referdino export`, for onnxruntime and tensorrt; empty: the node "
            "exports the network itself and caches the files.",
            Change.UNCONFIGURED,
        ),
        Declaration(
            "image_size",
            "",
            "Size of the camera's images, such as 640x480 (width x height): a runtime with a long "
            "preparation (tensorrt: minutes) is then prepared while the node is configured; "
            "empty: at the first image.",
            Change.UNCONFIGURED,
            pattern="([1-9][0-9]*x[1-9][0-9]*)?",
        ),
        Declaration(
            "window",
            _SESSION.window,
            "Number of frames that the temporal decoder uses.",
            Change.UNCONFIGURED,
            range=(1, MAX_WINDOW),
            unit="frames",
        ),
        Declaration(
            "memory",
            _SESSION.memory,
            "Update rule of object memories: steady is designed for endless streams, released is "
            "the published inference.",
            Change.UNCONFIGURED,
            choices=MEMORIES,
        ),
    ),
    "Cameras": (
        Declaration(
            "cameras",
            (),
            "Several cameras for this node and its one model: NAME, whose images are on "
            "NAME/image_raw, or NAME:=TOPIC each. Their results are in ~/NAME; ~/command and "
            "~/set_commands are for all of them, ~/NAME/command and ~/NAME/set_commands for one. "
            "Empty: one camera, on image_raw.",
            Change.UNCONFIGURED,
            parse=camera_topics,
        ),
        Declaration(
            "image_transport",
            "raw",
            "raw subscribes to image_raw (sensor_msgs/Image), compressed to image_raw/compressed "
            "(sensor_msgs/CompressedImage), for all cameras.",
            Change.UNCONFIGURED,
            choices=("raw", "compressed"),
        ),
        Declaration(
            "image_qos",
            "sensor_data",
            "Quality of service of the image subscription: sensor_data (best effort, receives "
            "from every camera, may lose large images), reliable, or system_default (the "
            "middleware's). The newest image wins in every case.",
            Change.UNCONFIGURED,
            choices=("sensor_data", "reliable", "system_default"),
        ),
        Declaration(
            "no_image_warning",
            5.0,
            "Time without an image after which the node warns, repeatedly; 0 disables it.",
            Change.ANY_TIME,
            range=(0.0, 86_400.0),
            unit="s",
        ),
    ),
    "Commands": (
        Declaration(
            "initial_command",
            "",
            "A command that is active from the start, for all cameras; empty for none.",
            Change.UNCONFIGURED,
        ),
        Declaration(
            "select",
            _SESSION.select,
            "Objects that a command selects by default: one, the best match; all, every match "
            "(all boxes, the two cups).",
            Change.UNCONFIGURED,
            choices=SELECTIONS,
        ),
        Declaration(
            "max_commands",
            16,
            "Maximum number of commands per camera; time and memory grow with their number.",
            Change.ANY_TIME,
            range=(1, MAX_COMMANDS),
        ),
    ),
    "States of a target: searching, tracking, occluded, lost": (
        Declaration(
            "accept",
            _SESSION.accept,
            "Minimum score to accept a target when searching, and to recover an occluded one.",
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
            "Time over which scores are averaged, at most the window's. Like all times, it is "
            "measured by the images' stamps, so that decisions do not depend on the frame rate.",
            Change.ANY_TIME,
            range=(0.0, 60.0),
            unit="s",
        ),
        Declaration(
            "take_up",
            _SESSION.take_up,
            "Time whose images are the evidence for accepting, recovering and losing a target.",
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
            "Margin by which the average score of another object must be higher for a command to "
            "switch to it.",
            Change.ANY_TIME,
            range=(0.0, 1.0),
        ),
        Declaration(
            "switch_interval",
            _SESSION.switch_interval,
            "Minimum time between two such switches.",
            Change.ANY_TIME,
            range=(0.0, 86_400.0),
            unit="s",
        ),
        Declaration(
            "mask_threshold",
            _SESSION.mask_threshold,
            "Probability above which a pixel belongs to the mask.",
            Change.ANY_TIME,
            range=(0.0, 1.0),
        ),
    ),
    "Identity: distinguishing the target from other objects": (
        Declaration(
            "same_appearance",
            _SESSION.same_appearance,
            "Cosine similarity to the target's appearance below which an object is a different "
            "one.",
            Change.ANY_TIME,
            range=(-1.0, 1.0),
        ),
        Declaration(
            "same_place",
            _SESSION.same_place,
            "Distance from the target's expected position, as a fraction of the image, above "
            "which an object is a different one.",
            Change.ANY_TIME,
            range=(0.0, 10.0),
        ),
        Declaration(
            "same_size",
            _SESSION.same_size,
            "Change of the natural logarithm of the box's area above which an object is a "
            "different one.",
            Change.ANY_TIME,
            range=(0.0, 10.0),
        ),
        Declaration(
            "place_growth",
            _SESSION.place_growth,
            "Growth of same_place and same_size per second in which the target is not seen.",
            Change.ANY_TIME,
            range=(0.0, 10.0),
            unit="1/s",
        ),
    ),
    "Time: interruptions of the stream": (
        Declaration(
            "max_gap",
            _SESSION.max_gap,
            "Time between the stamps of two camera images above which memories are reset; 0.0 "
            "disables it.",
            Change.ANY_TIME,
            range=(0.0, 86_400.0),
            unit="s",
        ),
        Declaration(
            "max_lateness",
            _SESSION.max_lateness,
            "Maximum time by which an image's stamp may precede its predecessor's for the image "
            "to be merely dropped; beyond it the clock jumped back, which resets the memories.",
            Change.ANY_TIME,
            range=(0.0, 86_400.0),
            unit="s",
        ),
    ),
    "Output": (
        Declaration(
            "overlay_jpeg_quality",
            80,
            "Quality of ~/overlay/compressed.",
            Change.ANY_TIME,
            range=(1, 100),
            unit="%",
        ),
        Declaration(
            "error_log_period",
            10.0,
            "Time in which a repeated error is logged once.",
            Change.ANY_TIME,
            range=(0.0, 86_400.0),
            unit="s",
        ),
    ),
}
"""Declarations by heading."""

DECLARATIONS: tuple[Declaration, ...] = tuple(
    declaration for section in SECTIONS.values() for declaration in section
)
