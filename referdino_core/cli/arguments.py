# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Command-line arguments shared by several commands, and the session they describe."""

from __future__ import annotations

import argparse
import logging
import os
from dataclasses import replace
from pathlib import Path

from referdino_core.argument_types import positive_integer
from referdino_core.configuration import (
    CONFIGURATIONS,
    RUNTIMES,
    SELECTIONS,
    SessionSettings,
)
from referdino_core.download import ASSETS, locate
from referdino_core.errors import ReferDINOError
from referdino_core.peers import PEER_NAMES, STREAMING_PEER_NAMES
from referdino_core.peers.following import PeerSettings
from referdino_core.precision import PRECISIONS
from referdino_core.session.model_choice import DEFAULT_MODEL, LoadedModel, ModelChoice, load
from referdino_core.user_files import user_path

_logger = logging.getLogger("referdino.model")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --model, --checkpoint and --single-frame."""
    parser.add_argument(
        "--model",
        choices=(*CONFIGURATIONS, *PEER_NAMES, *STREAMING_PEER_NAMES),
        metavar="NAME",
        help=f"the network: {', '.join(CONFIGURATIONS)} (default: {DEFAULT_MODEL}, bundled "
        f"with its weights); {' and '.join(PEER_NAMES)} process whole clips only; "
        f"{', '.join(STREAMING_PEER_NAMES)} are other published models, for replay and evaluate",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="weights: a .pth or .safetensors file, or a downloaded one by name, e.g. ryt_swinb; "
        "for the other published models a folder in the layout of transformers",
    )
    parser.add_argument(
        "--single-frame",
        action=argparse.BooleanOptionalAction,
        help="the weights were trained on single frames: use no temporal decoder (default: "
        "detected from the weights and their name)",
    )


def add_session_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `model_choice`: model, device, runtime, --window and --select."""
    add_model_arguments(parser)
    parser.add_argument(
        "--device",
        default="auto",
        help="where to compute, such as cpu or cuda (default: auto, a GPU if PyTorch can use one)",
    )
    parser.add_argument(
        "--runtime",
        choices=RUNTIMES,
        default="auto",
        help="inference runtime (default: auto, the fastest that is installed)",
    )
    parser.add_argument(
        "--precision",
        choices=tuple(PRECISIONS),
        default="fp32",
        help="numerical precision (default: fp32; bf16 is faster on processors that support it)",
    )
    parser.add_argument(
        "--exports",
        metavar="DIR",
        help="folder written by `referdino export`, for onnxruntime and tensorrt",
    )
    parser.add_argument(
        "--window",
        type=positive_integer,
        metavar="N",
        help="number of past frames that the network uses (default: the model's)",
    )
    parser.add_argument(
        "--select",
        choices=SELECTIONS,
        help="objects that a sentence selects: the best one, or all that match (default: one)",
    )


def checkpoint_path(checkpoint: str) -> Path:
    """The file that --checkpoint refers to.

    Raises:
        DownloadError: it is a released one that was not downloaded yet.
    """
    path = user_path(checkpoint)
    if checkpoint in ASSETS and not os.path.exists(path):
        return locate(checkpoint)[0]
    return path


def peer_choice(arguments: argparse.Namespace, settings: PeerSettings | None = None) -> ModelChoice:
    """The choice of another published model that processes streams.

    Args:
        settings: its thresholds; --select overrides them.

    Raises:
        ReferDINOError: an option does not apply to it.
    """
    if arguments.window is not None or arguments.exports is not None or arguments.single_frame:
        raise ReferDINOError(
            f"{arguments.model} takes no --window, no --exports and no --single-frame."
        )
    settings = settings or PeerSettings()
    if arguments.select is not None:
        settings = replace(settings, select=arguments.select)
    checkpoint = arguments.checkpoint
    return ModelChoice(
        model=arguments.model,
        checkpoint=None if checkpoint is None else user_path(checkpoint),
        device=arguments.device,
        runtime=arguments.runtime,
        precision=arguments.precision,
        peer_settings=settings,
    )


def model_choice(
    arguments: argparse.Namespace, settings: SessionSettings | None = None
) -> ModelChoice:
    """The model choice that the arguments of a session describe.

    Args:
        settings: thresholds of the session, by default the standard ones; --window and --select
            override them.

    Raises:
        DownloadError: --checkpoint is a released one that was not downloaded yet.
    """
    if arguments.model in STREAMING_PEER_NAMES:
        return peer_choice(arguments)
    checkpoint, exports = arguments.checkpoint, arguments.exports
    settings = settings or SessionSettings()
    if arguments.window is not None:
        settings = replace(settings, window=arguments.window)
    if arguments.select is not None:
        settings = replace(settings, select=arguments.select)
    return ModelChoice(
        model=arguments.model,
        checkpoint=None if checkpoint is None else checkpoint_path(checkpoint),
        device=arguments.device,
        runtime=arguments.runtime,
        precision=arguments.precision,
        exports=None if exports is None else Path(exports),
        settings=settings,
        single_frame=arguments.single_frame,
    )


def open_model(arguments: argparse.Namespace) -> LoadedModel:
    """Load a session of the chosen model, on the chosen device.

    Raises:
        ReferDINOError: weights or device are not available, or the weights are another model's.
    """
    choice = model_choice(arguments)
    _logger.info("Loading %s.", choice)
    return load(choice)
