# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Loading of SOC's released checkpoints, and the names of their tensors."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from referdino_core.checkpoint import Source, compare, read_tensors
from referdino_core.errors import CheckpointError
from referdino_core.peers.soc.soc import SOC

logger = logging.getLogger("referdino.checkpoint")

# Our names as patterns on the left, the released ones on the right; every pattern is applied.
RENAMED = tuple(
    (re.compile(pattern), released)
    for pattern, released in (
        (r"\.feed_forward\.linear", ".linear"),
        (r"^backbone\.", "backbone.0.body."),
        (r"^text_encoder\.projection\.", "txt_proj."),
        (r"^text_encoder\.roberta\.", "text_encoder."),
        (r"^input_projections\.", "input_proj."),
        (r"^image_fusion\.attention\.", "vlf.multihead_attn."),
        (r"^text_fusion\.attention\.", "lvf.multihead_attn."),
        (r"^transformer\.(encoder|decoder)\.", r"transformer.\1.layers."),
        (r"^transformer\.query_embed\.", "query_embed."),
        (r"^transformer\.box_heads\.", "bbox_embed."),
        (r"^(cluster\.(?:encoder|self)_attention\.\d+)\.attention\.", r"\1.self_attn."),
        (r"^(cluster\.cross_attention\.\d+)\.attention\.", r"\1.multihead_attn."),
        (r"^cluster\.encoder_attention\.", "voc.enc_self_attn."),
        (r"^cluster\.encoder_feed_forward\.", "voc.enc_ffn."),
        (r"^cluster\.cross_attention\.", "voc.transformer_cross_attention_layers."),
        (r"^cluster\.self_attention\.", "voc.transformer_self_attention_layers."),
        (r"^cluster\.feed_forward\.", "voc.transformer_ffn_layers."),
        (r"^cluster\.frame_positions\.", "voc.fq_pos."),
        (r"^cluster\.query_positions\.", "voc.query_embed."),
        (r"^cluster\.norm\.", "voc.decoder_norm."),
        (r"^mask_head\.controller\.", "controller."),
        (r"^class_heads\.", "class_embed."),
        (r"^pixel_decoder\.output\.", "spatial_decoder.out_lay."),
    )
)
LISTED = re.compile(r"^pixel_decoder\.(convolutions|norms|adapters)\.(\d+)\.")
"""Layers of the pixel decoder; released names number them from 1."""
LIST_NAMES = {"convolutions": "lay", "norms": "gn", "adapters": "adapter"}

REDUNDANT = re.compile(
    r"relative_position_index$|position_ids$|total_ops$|total_params$"
    r"|^transformer\.decoder\.bbox_embed\."
)
"""Buffers, counters of a profiler, and aliases of shared tensors."""
CLASS_HEAD = re.compile(r"^class_embed\.\d+\.")


def released_name(name: str) -> str:
    """Name of one of our tensors in released checkpoints."""
    listed = LISTED.match(name)
    if listed:
        place = int(listed[2]) + 1
        return f"spatial_decoder.{LIST_NAMES[listed[1]]}{place}.{name[listed.end() :]}"
    for pattern, released in RENAMED:
        name = pattern.sub(released, name)
    return name


def is_soc(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are the tensors of a released SOC checkpoint."""
    return "voc.decoder_norm.weight" in tensors


def load_released(model: SOC, source: Source, strict: bool = True) -> None:
    """Load released weights; class heads are replaced if the checkpoint has other classes.

    Args:
        model: built for the checkpoint's backbone; unchanged if the checkpoint does not fit.
        source: a .pth or .safetensors file, or tensors by name, also as an entry
            `model_state_dict`.
        strict: if False, parts that the checkpoint lacks keep their values and are logged.

    Raises:
        CheckpointError: the file is missing, truncated, holds more than tensors, or names are
            missing, unknown or of the wrong shape.
    """
    tensors = {
        name: tensor for name, tensor in read_tensors(source).items() if not REDUNDANT.search(name)
    }
    current = model.state_dict()
    expected = {released_name(name): name for name in current if not REDUNDANT.search(name)}
    classes = class_count(tensors, model.configuration.classes)
    misfit = compare(
        {
            theirs: torch.Size((classes, *current[ours].shape[1:]))
            if CLASS_HEAD.match(theirs)
            else current[ours].shape
            for theirs, ours in expected.items()
        },
        tensors,
    )
    report = misfit.report()
    if misfit.is_fatal or (strict and report):
        raise CheckpointError(
            f"The checkpoint does not fit {model.configuration.name}: {'; '.join(report)}. "
            "Choose the model it was trained for."
        )
    if report:
        logger.warning("Loaded in part: %s.", "; ".join(report))
    if classes != model.configuration.classes:
        model.set_classes(classes)
    fitting = {expected[name]: tensor for name, tensor in tensors.items() if name in expected}
    model.load_state_dict(fitting, strict=False)


def class_count(tensors: Mapping[str, Tensor], default: int) -> int:
    """Number of classes of a checkpoint, from the shape of its class heads."""
    head = tensors.get("class_embed.0.weight")
    return default if head is None or head.dim() != 2 else len(head)
