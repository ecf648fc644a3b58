# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Construction of models from names and files."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import torch

from referdino_core.checkpoint import (
    Source,
    added_words_of,
    read_tensors,
    temporal_layers_of,
    trained_on_single_frames,
)
from referdino_core.checkpoint import load_checkpoint as load_referdino
from referdino_core.configuration import (
    CONFIGURATIONS,
    NetworkConfiguration,
    network_configuration,
)
from referdino_core.download import ASSETS, locate
from referdino_core.errors import CheckpointError, ReferDINOError
from referdino_core.models import vocabulary_file, weights_file
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.tokenizer import (
    SPECIAL_WORDS,
    Tokenizer,
    WordPieceTokenizer,
    WordTokenizer,
)
from referdino_core.network.uninitialised_weights import UninitialisedWeights
from referdino_core.peers import PEER_NAMES
from referdino_core.user_files import user_path

if TYPE_CHECKING:
    from referdino_core.peers.soc.soc import SOC

logger = logging.getLogger("referdino.model")
session_logger = logging.getLogger("referdino.session")

PATCH_PROJECTION = "backbone.0.patch_embed.proj.weight"
WORD_EMBEDDING = "text_encoder.bert.embeddings.word_embeddings.weight"
DEFAULT_CHECKPOINTS = {"swinb": "ryt_mevis_swinb"}
NOT_CAUSAL = (
    "{} is not causal: its result for a frame depends on later frames, so sessions and exports "
    "cannot use it. Use referdino evaluate, or referdino replay --inference whole-clip."
)


@overload
def build(name: Literal["soc_swint", "soc_swinb"], **overrides: Any) -> SOC: ...


@overload
def build(name: str, **overrides: Any) -> ReferDINO: ...


def build(name: str, **overrides: Any) -> ReferDINO | SOC:
    """Build a model with random weights, in evaluation mode.

    Args:
        name: "swint", "swinb" or "nano"; "soc_swint" or "soc_swinb" for SOC, which processes whole
            clips only and needs transformers.
        overrides: settings of `NetworkConfiguration` to replace, e.g. num_queries=32; of
            `SOCConfiguration` for SOC.

    Raises:
        ReferDINOError: a name or value is unknown, or transformers is not installed.
    """
    if name in PEER_NAMES:
        from referdino_core.peers.soc.configuration import soc_configuration
        from referdino_core.peers.soc.soc import SOC

        return SOC(soc_configuration(name, **overrides)).eval()
    return ReferDINO(_with_rows(network_configuration(name, **overrides))).eval()


def load_checkpoint(model: ReferDINO | SOC, source: Source, strict: bool = True) -> None:
    """Load weights under their released names; see `checkpoint` and `peers.soc.checkpoint`.

    Args:
        model: built for the checkpoint's architecture; changed only if everything fits.
        source: a .pth or .safetensors file, or tensors by name.
        strict: if False, parts that the checkpoint lacks keep their values and are logged.

    Raises:
        CheckpointError: the file is missing, truncated, holds more than tensors, or names
            are missing, unknown or of the wrong shape.
    """
    if isinstance(model, ReferDINO):
        load_referdino(model, source, strict)
        return
    from referdino_core.peers.soc.checkpoint import load_released

    load_released(model, source, strict)


def load_model(
    model: ReferDINO | str | Path,
    device: str,
    *,
    architecture: str | None = None,
    single_frame: bool | None = None,
) -> ReferDINO:
    """Load a model with weights on its device, in evaluation mode.

    It has as many temporal layers as its weights; none if they were trained on single frames.

    Args:
        model: a built model, which is not changed, the name of a model, or the path of a
            checkpoint.
        device: see `usable_device`; "auto" leaves a built model where it is.
        architecture: name of the checkpoint's configuration; by default it is recognised by the
            shapes of the tensors.
        single_frame: whether the weights were trained on single frames; by default the result of
            `trained_on_single_frames`.

    Raises:
        ReferDINOError: the weights or the device are unavailable; the message says what to do.
    """
    began = time.monotonic()
    if isinstance(model, ReferDINO):
        return (model if device == "auto" else model.to(usable_device(device))).eval()
    peer = architecture or getattr(getattr(model, "configuration", None), "name", str(model))
    if peer in PEER_NAMES:
        raise ReferDINOError(NOT_CAUSAL.format(peer))
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
    if is_peer(tensors):
        raise ReferDINOError(NOT_CAUSAL.format(source.name))
    if single_frame is None:
        single_frame = trained_on_single_frames(tensors, source)
    name, layers = architecture or architecture_of(tensors, source), temporal_layers_of(tensors)
    overrides: dict[str, Any] = {}
    if single_frame or layers:
        overrides["temporal_layers"] = 0 if single_frame else layers
    if CONFIGURATIONS[name].tokenizer == "words":
        overrides["added_words"] = added_words_of(source)
    with UninitialisedWeights():
        network = build(name, **overrides)
    load_checkpoint(network, tensors)
    network.to(place)
    logger.info("Loaded %s in %.1f s.", source.name, time.monotonic() - began)
    return network


def load_peer(name: str, checkpoint: Path | None, device: str = "auto") -> SOC:
    """SOC with released weights, on its device, in evaluation mode.

    Args:
        name: "soc_swint" or "soc_swinb".
        checkpoint: path of the weights, which are neither bundled nor downloadable.
        device: as `usable_device` takes it.

    Raises:
        ReferDINOError: the weights, the device or transformers are not available.
    """
    if checkpoint is None:
        raise CheckpointError(
            f"No weights of {name} are bundled: get them as described in the README of "
            "github.com/RobertLuo1/NeurIPS2023_SOC and give the file with --checkpoint."
        )
    began = time.monotonic()
    place = usable_device(device)
    tensors = read_tensors(checkpoint)
    with UninitialisedWeights():
        network = build(cast(Literal["soc_swint"], name))
    load_checkpoint(network, tensors)
    logger.info("Loaded %s in %.1f s.", checkpoint.name, time.monotonic() - began)
    return network.to(place)


def is_peer(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether these are the weights of a model that processes whole clips only."""
    from referdino_core.peers.soc.checkpoint import is_soc

    return is_soc(tensors)


def warn_of_single_frames(model: ReferDINO) -> None:
    """Log a warning if a model for a stream was trained on single frames."""
    if model.configuration.single_frame:
        session_logger.warning(
            "These weights do not stream: they were trained on single frames and judge every image "
            "on its own; identities from image to image rest on appearance alone. For streams use "
            "weights that were trained on videos, such as ryt_mevis_swinb."
        )


def tell_of_unused_gpu(device: str) -> None:
    """Log a warning if a model is on the CPU although there is a GPU, which would be faster."""
    if device.startswith("cpu") and torch.cuda.is_available():
        session_logger.warning(
            "The model runs on the CPU, as asked, and this machine has a GPU (%s); device auto or "
            "cuda uses it.",
            torch.cuda.get_device_name(),
        )


def usable_device(device: str) -> torch.device:
    """The PyTorch device with a name, checked by allocating a tensor.

    Args:
        device: PyTorch's name, or "auto" for the first GPU that PyTorch can use, else the CPU.

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
    """Path of the weights of a model, bundled or downloaded before."""
    bundled = weights_file(name)
    if bundled.exists():
        return bundled
    if name not in DEFAULT_CHECKPOINTS:
        others = [asset for asset in ASSETS if asset.endswith(f"_{name}")]
        published = f"none but {', '.join(others)}, of single frames," if others else "none"
        raise CheckpointError(
            f"No weights of {name} are bundled and {published} are published; give the path of a "
            "checkpoint."
        )
    return locate(DEFAULT_CHECKPOINTS[name])[0]


def architecture_of(tensors: dict[str, torch.Tensor], source: Path) -> str:
    """Name of the configuration whose first projection has the checkpoint's width."""
    projection = tensors.get(PATCH_PROJECTION)
    for name, configuration in CONFIGURATIONS.items():
        if projection is not None and len(projection) == configuration.swin.embedding:
            return name
    raise CheckpointError(
        f"{source} is not a checkpoint of {', '.join(CONFIGURATIONS)}: "
        f"{PATCH_PROJECTION} is missing or of another width."
    )


def tokenizer_of(configuration: NetworkConfiguration) -> Tokenizer:
    """The tokenizer that a configuration's text encoder was trained with."""
    if configuration.tokenizer == "words":
        return WordTokenizer(vocabulary_of(configuration))
    return WordPieceTokenizer(locate("bert")[0])


def vocabulary_of(configuration: NetworkConfiguration) -> tuple[str, ...]:
    """The vocabulary of whole words of a configuration: the bundled one, and the added words."""
    bundled = vocabulary_file(configuration.name).read_text().split()
    return (*bundled, *configuration.added_words)


def _with_rows(configuration: NetworkConfiguration) -> NetworkConfiguration:
    """The configuration with a word embedding that has a row for every added word."""
    if not configuration.added_words:
        return configuration
    rows = max(configuration.bert.vocabulary, len(vocabulary_of(configuration)))
    return replace(configuration, bert=replace(configuration.bert, vocabulary=rows))


def add_words(model: ReferDINO, words: Sequence[str]) -> ReferDINO:
    """The model with further words in its vocabulary, whose meaning it has yet to learn.

    Known words keep their numbers and their embeddings, and sentences of known words their result.
    New words begin with the mean embedding of the known ones. Words that are known are left out.

    Args:
        model: with a vocabulary of whole words; it is not changed.
        words: single words in lower case.

    Returns:
        A new model with copies of all weights, in evaluation mode; `model` if no word is new.

    Raises:
        ReferDINOError: the model reads parts of words, and needs no further ones; or a text is not
            a single word.
    """
    configuration = model.configuration
    if words and configuration.tokenizer != "words":
        raise ReferDINOError(
            f"{configuration.name} reads parts of words and needs no further words; leave them out."
        )
    known = vocabulary_of(configuration) if words else ()
    for word in words:
        if WordTokenizer(SPECIAL_WORDS).split(word) != [word, "."]:
            raise ReferDINOError(f"{word!r} is not a single word in lower case.")
    new = tuple(word for word in dict.fromkeys(words) if word not in known)
    if not new:
        return model
    grown = ReferDINO(
        _with_rows(replace(configuration, added_words=(*configuration.added_words, *new)))
    )
    weights = model.state_dict()
    old_rows = weights[WORD_EMBEDDING]
    rows = grown.state_dict()[WORD_EMBEDDING].to(old_rows)
    rows[: len(known)] = old_rows[: len(known)]
    rows[len(known) :] = old_rows[len(SPECIAL_WORDS) : len(known)].mean(0)
    grown.load_state_dict({**weights, WORD_EMBEDDING: rows})
    return grown.to(model.device).eval()
