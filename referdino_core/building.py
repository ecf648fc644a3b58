# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""From names and files to models that run."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import torch

from referdino_core.checkpoint import load_checkpoint, read_tensors
from referdino_core.configuration import (
    CONFIGURATIONS,
    NetworkConfiguration,
    network_configuration,
)
from referdino_core.download import locate
from referdino_core.errors import CheckpointError, ReferDINOError
from referdino_core.models import vocabulary_file, weights_file
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.tokenizer import Tokenizer, WordPieceTokenizer, WordTokenizer

logger = logging.getLogger("referdino.model")

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


def load_model(model: ReferDINO | str | Path, device: str) -> ReferDINO:
    """A model with weights, on its device, in evaluation mode.

    Args:
        model: a built model, a model's name, or the path of a checkpoint whose architecture is
            recognised by its shapes.

    Raises:
        ReferDINOError: the weights or the device are not to be had; the message says what to do.
    """
    began = time.monotonic()
    place = usable_device(device)
    if isinstance(model, ReferDINO):
        return model.to(place).eval()
    if str(model) in CONFIGURATIONS:
        name, source = str(model), weights_of(str(model))
    else:
        source = Path(model).expanduser()
        if not source.suffix and not source.exists():
            raise ReferDINOError(
                f"There is no model {str(model)!r}; choose one of {', '.join(CONFIGURATIONS)}, "
                "or give the path of a checkpoint."
            )
        name = ""
    tensors = read_tensors(source)
    network = build(name or architecture_of(tensors, source))
    load_checkpoint(network, tensors)
    network.to(place)
    logger.info("Loaded %s in %.1f s.", source.name, time.monotonic() - began)
    return network


def usable_device(device: str) -> torch.device:
    """The torch device of that name, if a tensor can live there."""
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
        raise CheckpointError(
            f"No weights of {name} come along and none are published; give a checkpoint's path."
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
