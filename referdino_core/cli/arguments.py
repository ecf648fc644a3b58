# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Arguments that several commands share, and the session they describe."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import referdino_core as rd
from referdino_core.configuration import CONFIGURATIONS, PRECISIONS, RUNTIMES
from referdino_core.download import ASSETS, locate

DEFAULT_MODEL = "nano"

_logger = logging.getLogger("referdino.model")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --model and --checkpoint."""
    parser.add_argument(
        "--model",
        choices=tuple(CONFIGURATIONS),
        help=f"the network (default: {DEFAULT_MODEL}, which comes along with its weights)",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="weights: a .pth or .safetensors file, or a downloaded one by name, as ryt_swinb",
    )


def add_runtime_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --device, --runtime, --precision and --exports."""
    parser.add_argument(
        "--device", default="cpu", help="where to compute, such as cpu or cuda (default: cpu)"
    )
    parser.add_argument(
        "--runtime",
        choices=RUNTIMES,
        default="auto",
        help="what computes (default: auto, the fastest that is installed)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="what it computes in (default: fp32; bf16 pays where the processor has it)",
    )
    parser.add_argument(
        "--exports",
        metavar="DIR",
        help="what `referdino export` wrote, for onnxruntime and tensorrt",
    )


def positive_integer(text: str) -> int:
    """An argument that counts something.

    Raises:
        ArgumentTypeError: this is no whole number of at least 1.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def checkpoint_path(checkpoint: str) -> Path:
    """The file that --checkpoint means.

    Raises:
        DownloadError: it is a released one that was not downloaded yet.
    """
    path = Path(checkpoint).expanduser()
    if checkpoint in ASSETS and not path.exists():
        return locate(checkpoint)[0]
    return path


def open_session(arguments: argparse.Namespace) -> rd.Session:
    """A session of the chosen model, on the chosen device.

    Raises:
        ReferDINOError: weights or device are not to be had, or the weights are another model's.
    """
    _logger.info("Loading %s.", arguments.checkpoint or arguments.model or DEFAULT_MODEL)
    return rd.Session(
        _model(arguments),
        window=arguments.window,
        device=arguments.device,
        runtime=arguments.runtime,
        precision=arguments.precision,
        exports=arguments.exports,
    )


def _model(arguments: argparse.Namespace) -> rd.ReferDINO | str | Path:
    """What a session is opened with: a name, a checkpoint, or the one filled with the other."""
    if arguments.checkpoint is None:
        return arguments.model or DEFAULT_MODEL
    weights = checkpoint_path(arguments.checkpoint)
    if arguments.model is None:
        return weights
    model = rd.build(arguments.model)
    rd.load_checkpoint(model, weights)
    return model
