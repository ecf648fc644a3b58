# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints with the tensor names of the reference, and the mapping to our names."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from referdino_core.download.catalogue import named_for_single_frames
from referdino_core.errors import CheckpointError
from referdino_core.network.referdino import ReferDINO

logger = logging.getLogger("referdino.checkpoint")

Source = str | Path | Mapping[str, Tensor]

# Our prefix and the reference's; the first match counts.
PREFIXES = (
    ("text_encoder.bert.", "bert."),
    ("text_encoder.feature_map.", "feat_map."),
    ("image_encoder.backbone.norms.", "backbone.0.norm"),
    ("image_encoder.backbone.", "backbone.0."),
    ("image_encoder.input_projections.", "input_proj."),
    ("image_encoder.level_embedding", "transformer.level_embed"),
    ("grounder.fusion_encoder.", "transformer.encoder."),
    ("grounder.query_selection.output_norm.", "transformer.enc_output_norm."),
    ("grounder.query_selection.output.", "transformer.enc_output."),
    ("grounder.query_selection.box_head.", "transformer.enc_out_bbox_embed."),
    ("grounder.query_selection.contents.", "transformer.tgt_embed."),
    ("grounder.decoder.reference_point_head.", "transformer.decoder.ref_point_head."),
    ("grounder.decoder.box_head.", "transformer.decoder.bbox_embed.0."),
    ("grounder.decoder.", "transformer.decoder."),
    ("grounder.pixel_decoder.convolutions.", "pixel_decoder.lay"),
    ("grounder.pixel_decoder.norms.", "pixel_decoder.gn"),
    ("grounder.pixel_decoder.adapters.", "pixel_decoder.adapter"),
    ("grounder.pixel_decoder.output.", "pixel_decoder.out_lay."),
    ("readout.mask_decoder.layers.", "mask_decoder."),
    ("readout.temporal_decoder.", "temporal_decoder.0."),
)

# Copies of shared tensors, buffers, and parts that inference does not use.
REDUNDANT = re.compile(
    r"(bbox_embed|ref_point_head)\.|transformer\.decoder\.bbox_embed\.[1-9]"
    r"|temporal_decoder\.[1-9]|bert\.pooler\.|bert\.embeddings\.position_ids"
    r"|.*relative_position_index$"
)

TEMPORAL_DECODER = "temporal_decoder."
TEMPORAL_LAYER = re.compile(r"temporal_decoder\.0\.layer\.(\d+)\.")
TEMPORAL_NORM = re.compile(r"temporal_decoder\.0\..*norm\d?(\.\d+)?\.(weight|bias)$")
MASK_NORM = re.compile(r"mask_decoder\..*norm\d?\.(weight|bias)$")

LORA_RANK = 32

WORDS_KEY = "added_words"
"""Entry of a checkpoint with its model's `added_words`, separated by spaces."""


def reference_name(name: str) -> str:
    """The reference's name of one of our tensors."""
    # In the reference a layer's two feed-forward matrices are siblings of its attention.
    name = name.replace(".feed_forward.linear", ".linear")
    for ours, theirs in PREFIXES:
        if name.startswith(ours):
            rest = name[len(ours) :]
            if theirs.startswith("pixel_decoder.") and rest[:1].isdigit():
                index, rest = rest.split(".", 1)
                return f"{theirs}{int(index) + 1}.{rest}"
            return theirs + rest
    return name


def load_checkpoint(model: ReferDINO, source: Source, strict: bool = True) -> None:
    """Load weights with the reference's names, and merge LoRA: W + B A / 32.

    Args:
        model: a model of the checkpoint's architecture; changed only if everything fits.
        source: a .pth or .safetensors file, or tensors by name. Its temporal decoder is ignored if
            the model has none.
        strict: if False, parts that the checkpoint lacks are unchanged and named in the log (a
            grounding checkpoint has no mask decoder and no temporal decoder).

    Raises:
        CheckpointError: the file is missing, truncated, or contains more than tensors; or tensors
            are missing, unknown or of the wrong shape.
    """
    tensors = with_projections(merge_lora(read_tensors(source)), model)
    single_frame = trained_on_single_frames(tensors, source)
    layers = temporal_layers_of(tensors)
    expected = {reference_name(name): name for name in model.state_dict()}
    tensors = {n: t for n, t in tensors.items() if n in expected or not REDUNDANT.match(n)}
    if model.configuration.single_frame:
        tensors = {n: t for n, t in tensors.items() if not n.startswith(TEMPORAL_DECODER)}
    current = model.state_dict()
    misfit = compare({theirs: current[ours].shape for theirs, ours in expected.items()}, tensors)
    report = misfit.report()
    if misfit.is_fatal or (strict and report):
        remedy = "Choose the model it was trained for."
        differing = (*misfit.missing, *misfit.unknown)
        others = [name for name in differing if not name.startswith(TEMPORAL_DECODER)]
        built = model.configuration.temporal_layers
        if layers not in (0, built) and not (misfit.is_fatal or others):
            report = [f"{layers} temporal {'layer' if layers == 1 else 'layers'}, not {built}"]
            remedy = f"Build the model with temporal_layers={0 if single_frame else layers}."
        raise CheckpointError(
            f"The checkpoint does not fit {model.configuration.name}: {'; '.join(report)}. {remedy}"
        )
    if report:
        logger.warning("Loaded in part: %s.", "; ".join(report))
    if single_frame and not model.configuration.single_frame:
        logger.warning(
            "These weights were trained on single frames, without a temporal decoder: build the "
            "model with temporal_layers=0."
        )
    fitting = {expected[name]: tensors[name] for name in tensors if name in expected}
    model.load_state_dict(fitting, strict=False)


@dataclass(frozen=True)
class Misfit:
    """Differences between the tensors of a checkpoint and those of a model.

    Names are the reference's.

    Attributes:
        missing: tensors that the checkpoint lacks.
        unknown: tensors that the model lacks.
        misshapen: a text for each tensor of another shape.
        is_foreign: whether not a single name is shared.
    """

    missing: list[str]
    unknown: list[str]
    misshapen: list[str]
    is_foreign: bool

    @property
    def is_fatal(self) -> bool:
        """Whether the checkpoint cannot be loaded even in part."""
        return self.is_foreign or bool(self.misshapen)

    def report(self) -> list[str]:
        """The kinds of differences, with the first names of each."""
        if self.is_foreign:
            return ["it shares no tensor with it"]
        return [
            f"{len(names)} {kind} ({shorten(names)})"
            for kind, names in (
                ("missing", self.missing),
                ("unknown", self.unknown),
                ("misshapen", self.misshapen),
            )
            if names
        ]


def compare(shapes: Mapping[str, torch.Size], tensors: Mapping[str, Tensor]) -> Misfit:
    """Compare the shapes of a model, by the reference's names, with a checkpoint's tensors."""
    return Misfit(
        missing=sorted(set(shapes) - set(tensors)),
        unknown=sorted(set(tensors) - set(shapes)),
        misshapen=[
            f"{name} is {tuple(tensor.shape)}, not {tuple(shapes[name])}"
            for name, tensor in sorted(tensors.items())
            if name in shapes and tensor.shape != shapes[name]
        ],
        is_foreign=not set(tensors) & set(shapes),
    )


def with_projections(tensors: dict[str, Tensor], model: ReferDINO) -> dict[str, Tensor]:
    """Weights whose time embedding was trained without boxes or words, with projections of zeros.

    The network then computes what it did before there were any.
    """
    zeros = {
        reference_name(name): torch.zeros_like(tensor)
        for name, tensor in model.state_dict().items()
        if name.endswith(("time_embedding.box_projection.weight", ".word_projection.weight"))
    }
    known = any(".time_embedding." in name for name in tensors)
    return zeros | tensors if known else tensors


def temporal_layers_of(names: Iterable[str]) -> int:
    """Number of temporal layers in a checkpoint with these tensor names."""
    return len({match[1] for match in map(TEMPORAL_LAYER.match, names) if match})


def trained_on_single_frames(tensors: Mapping[str, Tensor], source: Source) -> bool:
    """Whether weights were trained on single frames, without tracker and temporal decoder.

    This is so if the file has the name of such a release, or if the mask decoder is trained but the
    temporal decoder is missing or untrained.

    Args:
        tensors: tensors of the checkpoint.
        source: its file, or the tensors.
    """
    if isinstance(source, (str, Path)) and named_for_single_frames(Path(source)):
        return True
    masks, temporal = (
        {name: tensor for name, tensor in tensors.items() if pattern.match(name)}
        for pattern in (MASK_NORM, TEMPORAL_NORM)
    )
    return bool(masks) and not are_untrained(masks) and are_untrained(temporal)


def are_untrained(norms: Mapping[str, Tensor]) -> bool:
    """Whether the weights and biases of layer norms are untrained.

    Weight decay alone shrinks all weights of a norm equally; training changes each differently.
    """
    return all(
        not tensor.any() if name.endswith("bias") else bool((tensor == tensor.flatten()[:1]).all())
        for name, tensor in norms.items()
    )


def save_weights(model: ReferDINO, path: Path) -> None:
    """Write a model's weights under the reference's names, in half precision (.safetensors).

    A LoRA is merged into the weights that it changes; words that were added to the vocabulary are
    kept in the metadata.
    """
    from safetensors.torch import save_file

    named = {reference_name(name): tensor.detach() for name, tensor in model.state_dict().items()}
    tensors = {name: tensor.half().contiguous() for name, tensor in merge_lora(named).items()}
    metadata = {"model": model.configuration.name}
    if model.configuration.added_words:
        metadata[WORDS_KEY] = " ".join(model.configuration.added_words)
    save_file(tensors, path, metadata=metadata)


def shorten(names: list[str], most: int = 4) -> str:
    """The first few names, and the number of further ones."""
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def merge_lora(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Merge every pair of lora_A and lora_B into the weight of the same layer."""
    merged = {name: t for name, t in tensors.items() if not name.endswith((".lora_A", ".lora_B"))}
    for name in tensors:
        if not name.endswith(".lora_A"):
            continue
        layer = name.removesuffix(".lora_A")
        weight, second = merged.get(f"{layer}.weight"), tensors.get(f"{layer}.lora_B")
        if weight is None or second is None:
            raise CheckpointError(f"The checkpoint has {name} without its weight and lora_B.")
        merged[f"{layer}.weight"] = weight + second @ tensors[name] / LORA_RANK
    return merged


def read_tensors(source: Source) -> dict[str, Tensor]:
    """Read tensors by name, without executing code that a file may contain.

    Raises:
        CheckpointError: the file is missing or unreadable, or contains something else.
    """
    if isinstance(source, Mapping):
        return _tensor_table(source, "The checkpoint")
    path = _existing(source)
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    return _tensor_table(_read_pickle(path), str(path))


def added_words_of(source: Source) -> tuple[str, ...]:
    """Words that the vocabulary of a checkpoint has beyond the bundled one, in their order.

    Raises:
        CheckpointError: the file is missing or unreadable.
    """
    if isinstance(source, Mapping):
        return ()
    path = _existing(source)
    content = _metadata(path) if path.suffix == ".safetensors" else _read_pickle(path)
    return tuple(str(content.get(WORDS_KEY, "")).split()) if isinstance(content, Mapping) else ()


def _existing(source: str | Path) -> Path:
    path = Path(source)
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint at {path}; check the path.")
    return path


def _read_pickle(path: Path) -> Any:
    """Content of a file of `torch.save`, which must not contain code."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path} is not a readable checkpoint of tensors only (truncated, or contains code): "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error


def _tensor_table(content: Any, origin: str) -> dict[str, Tensor]:
    """The table of tensors in a checkpoint, which may be an entry of it."""
    for key in ("model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{origin} holds no table of tensors.")
    if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        raise CheckpointError(f"{origin} holds something other than tensors by name.")
    return {name.removeprefix("module."): tensor for name, tensor in content.items()}


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a .safetensors file."""
    from safetensors.torch import load_file

    with _readable_safetensors(path):
        return load_file(path)


def _metadata(path: Path) -> dict[str, str]:
    """Metadata of a .safetensors file."""
    from safetensors import safe_open

    with _readable_safetensors(path), safe_open(path, "pt") as file:
        return dict(file.metadata() or {})


@contextlib.contextmanager
def _readable_safetensors(path: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable .safetensors file: {error}") from error
