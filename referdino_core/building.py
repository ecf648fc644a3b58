# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""From names and files to models that run."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

import torch

from referdino_core.checkpoint import (
    load_checkpoint,
    read_tensors,
    temporal_layers_of,
    trained_on_single_frames,
)
from referdino_core.configuration import (
    CONFIGURATIONS,
    NetworkConfiguration,
    network_configuration,
)
from referdino_core.download import ASSETS, locate
from referdino_core.errors import CheckpointError, ReferDINOError
from referdino_core.models import vocabulary_file, weights_file
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.tokenizer import Tokenizer, WordPieceTokenizer, WordTokenizer
from referdino_core.network.uninitialised_weights import UninitialisedWeights
from referdino_core.user_files import user_path

logger = logging.getLogger("referdino.model")
session_logger = logging.getLogger("referdino.session")

PATCH_PROJECTION = "backbone.0.patch_embed.proj.weight"
DEFAULT_CHECKPOINTS = {"swinb": "ryt_mevis_swinb"}


def build(name: str, **overrides: Any) -> ReferDINO:
    """A model with fresh weights, in evaluation mode.

    Args:
        name: "swint", "swinb" or "nano".
        overrides: settings of `NetworkConfiguration` to replace, e.g. num_queries=32.

    Raises:
        ReferDINOError: a name or value is unknown.
    """
    return ReferDINO(network_configuration(name, **overrides)).eval()


def load_model(
    model: ReferDINO | str | Path,
    device: str,
    *,
    architecture: str | None = None,
    single_frame: bool | None = None,
) -> ReferDINO:
    """A model with weights, on its device, in evaluation mode.

    It has as many temporal layers as its weights, or none where they were trained on single frames.

    Args:
        model: a built model, which stays as it is, a model's name, or a checkpoint's path.
        device: as `usable_device` takes it; "auto" leaves a built model where it is.
        architecture: name of the configuration that the checkpoint at this path is of; by default
            it is recognised by the tensors' shapes.
        single_frame: whether the weights were trained on single frames; by default
            `trained_on_single_frames` finds out.

    Raises:
        ReferDINOError: the weights or the device are not to be had; the message says what to do.
    """
    began = time.monotonic()
    if isinstance(model, ReferDINO):
        return (model if device == "auto" else model.to(usable_device(device))).eval()
    place = usable_device(device)
    if architecture is None and str(model) in CONFIGURATIONS:
        architecture, source = str(model), weights_of(str(model))
    else:
        source = user_path(model)
        if not source.suffix and not os.path.exists(source):
            raise ReferDINOError(
                f"There is no model {str(model)!r}; choose one of {', '.join(CONFIGURATIONS)}, "
                "or give the path of a checkpoint."
            )
    tensors = read_tensors(source)
    if single_frame is None:
        single_frame = trained_on_single_frames(tensors, source)
    name, layers = architecture or architecture_of(tensors, source), temporal_layers_of(tensors)
    with UninitialisedWeights():
        if single_frame:
            network = build(name, temporal_layers=0)
        else:
            network = build(name, temporal_layers=layers) if layers else build(name)
    load_checkpoint(network, tensors)
    network.to(place)
    logger.info("Loaded %s in %.1f s.", source.name, time.monotonic() - began)
    return network


def warn_of_single_frames(model: ReferDINO) -> None:
    """Say in one line where a model that is about to stream was trained on single frames."""
    if model.configuration.single_frame:
        session_logger.warning(
            "These weights do not stream: they were trained on single frames and judge every image "
            "on its own; identities from image to image rest on appearance alone. For streams use "
            "weights that were trained on videos, such as ryt_mevis_swinb."
        )


def tell_of_unused_gpu(device: str) -> None:
    """Say in one line where a model was put on the CPU beside a GPU that would be faster."""
    if device.startswith("cpu") and torch.cuda.is_available():
        session_logger.warning(
            "The model runs on the CPU, as asked, and this machine has a GPU (%s); device auto or "
            "cuda uses it.",
            torch.cuda.get_device_name(),
        )


def usable_device(device: str) -> torch.device:
    """The torch device of that name, if a tensor can live there.

    Args:
        device: as PyTorch names it, or "auto" for the first GPU that PyTorch can use, else the CPU.

    Raises:
        ReferDINOError: there is no such device, or it cannot be used.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ReferDINOError(f"The device {device!r} cannot be used: {reason}") from error
    return place


def weights_of(name: str) -> Path:
    """Weights of a named model: bundled, or downloaded before."""
    bundled = weights_file(name)
    if bundled.exists():
        return bundled
    if name not in DEFAULT_CHECKPOINTS:
        others = [asset for asset in ASSETS if asset.endswith(f"_{name}")]
        published = f"none but {', '.join(others)}, of single frames," if others else "none"
        raise CheckpointError(
            f"No weights of {name} come along and {published} are published; give a checkpoint's "
            "path."
        )
    return locate(DEFAULT_CHECKPOINTS[name])[0]


def architecture_of(tensors: dict[str, torch.Tensor], source: Path) -> str:
    """Name of the configuration whose first projection has the checkpoint's width."""
    projection = tensors.get(PATCH_PROJECTION)
    for name, configuration in CONFIGURATIONS.items():
        if projection is not None and len(projection) == configuration.swin.embedding:
            return name
    raise CheckpointError(
        f"{source} is no checkpoint of {', '.join(CONFIGURATIONS)}: "
        f"{PATCH_PROJECTION} is missing or of another width."
    )


def tokenizer_of(configuration: NetworkConfiguration) -> Tokenizer:
    """The tokenizer that a configuration's text encoder was trained with."""
    if configuration.tokenizer == "words":
        return WordTokenizer.from_file(vocabulary_file(configuration.name))
    return WordPieceTokenizer(locate("bert")[0])
