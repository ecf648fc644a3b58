# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The node's parameters; launch file, config/referdino.yaml and docs/parameters.md follow them."""

from __future__ import annotations

from collections.abc import Mapping

from referdino_core.configuration import (
    CONFIGURATIONS,
    MAX_COMMANDS,
    MAX_WINDOW,
    MEMORIES,
    PRECISIONS,
    RUNTIMES,
    SELECTIONS,
    SessionSettings,
)
from referdino_ros.camera_topics import camera_topics
from referdino_ros.declaration import Change, Declaration

_SESSION = SessionSettings()

SECTIONS: Mapping[str, tuple[Declaration, ...]] = {
    "Lifecycle": (
        Declaration(
            "autostart",
            True,
            "Whether the node configures and activates itself when it starts; false where a "
            "lifecycle manager does that.",
            Change.NEVER,
        ),
    ),
    "Model": (
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
            "Path of weights (.pth or .safetensors), whose model is recognised; empty for those "
            "of the parameter model.",
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
            "What computes the network; auto is the fastest that is installed.",
            Change.UNCONFIGURED,
            choices=RUNTIMES,
        ),
        Declaration(
            "precision",
            "fp32",
            "What the network computes in: fp32; bf16 (GPUs, and CPUs with bf16 matrix "
            "instructions); fp16 (GPUs).",
            Change.UNCONFIGURED,
            choices=PRECISIONS,
        ),
        Declaration(
            "exports",
            "",
            "Folder that `referdino export` wrote, for onnxruntime and tensorrt; empty: the node "
            "makes and keeps its own.",
            Change.UNCONFIGURED,
        ),
        Declaration(
            "image_size",
            "",
            "Size of the camera's images, such as 640x480 (width x height): a runtime that takes "
            "long to get ready (tensorrt: minutes) then does so while the node is configured; "
            "empty: at the first image.",
            Change.UNCONFIGURED,
            pattern="([1-9][0-9]*x[1-9][0-9]*)?",
        ),
        Declaration(
            "window",
            _SESSION.window,
            "Frames that the temporal decoder looks back over.",
            Change.UNCONFIGURED,
            range=(1, MAX_WINDOW),
            unit="frames",
        ),
        Declaration(
            "memory",
            _SESSION.memory,
            "How object memories move: steady is made for endless streams, released is the "
            "published inference.",
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
            "(sensor_msgs/CompressedImage); so for all cameras.",
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
            "Time without an image after which the node warns, and warns again; 0 never does.",
            Change.ANY_TIME,
            range=(0.0, 86_400.0),
            unit="s",
        ),
    ),
    "Commands": (
        Declaration(
            "initial_command",
            "",
            "A command that runs from the start, for all cameras; empty for none.",
            Change.UNCONFIGURED,
        ),
        Declaration(
            "select",
            _SESSION.select,
            "How many objects a command means that does not say so itself: one, the best; all, "
            "every one that fits (all boxes, the two cups).",
            Change.UNCONFIGURED,
            choices=SELECTIONS,
        ),
        Declaration(
            "max_commands",
            16,
            "Commands that may run at once for a camera; time and memory grow with them.",
            Change.ANY_TIME,
            range=(1, MAX_COMMANDS),
        ),
    ),
    "States of a target: searching, tracking, occluded, lost": (
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
            "Time over which scores are averaged, at most the window's; like all times in "
            "seconds of the images' stamps, so that decisions do not depend on the frame rate.",
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
            "mask_threshold",
            _SESSION.mask_threshold,
            "Probability above which a pixel belongs to the mask.",
            Change.ANY_TIME,
            range=(0.0, 1.0),
        ),
    ),
    "Identity: what tells the target from another object": (
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
            "Distance from where the target is expected, as a fraction of the image, above which "
            "an object is another one.",
            Change.ANY_TIME,
            range=(0.0, 10.0),
        ),
        Declaration(
            "same_size",
            _SESSION.same_size,
            "Change of the natural logarithm of the box's area above which an object is another "
            "one.",
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
    ),
    "Time: what breaks a stream": (
        Declaration(
            "max_gap",
            _SESSION.max_gap,
            "Time between the stamps of two camera images that resets the memories; 0.0 never "
            "does.",
            Change.ANY_TIME,
            range=(0.0, 86_400.0),
            unit="s",
        ),
        Declaration(
            "max_lateness",
            _SESSION.max_lateness,
            "How much earlier than its predecessor an image may be stamped to be dropped alone; "
            "beyond it the clock jumped back, which resets the memories.",
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
            "Time in which an error that repeats is logged once.",
            Change.ANY_TIME,
            range=(0.0, 86_400.0),
            unit="s",
        ),
    ),
}
"""By heading."""

DECLARATIONS: tuple[Declaration, ...] = tuple(
    declaration for section in SECTIONS.values() for declaration in section
)
