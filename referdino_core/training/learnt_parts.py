# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What of a model is learnt in training: LoRA, heads and decoders; the backbones stay as they are.

Source: the network's specification, section Training.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from referdino_core.network.referdino import ReferDINO
from referdino_core.training.lora import add_lora
from referdino_core.training.video_recipes import VideoRecipe

LEARNT = re.compile(
    r"text_encoder\.feature_map\.|grounder\.query_selection\.box_head\.|grounder\.decoder\.box_head\."
    r"|grounder\.pixel_decoder\.|readout\.|.*\.lora_[AB]$"
)
LEARNT_IN_BACKBONES = re.compile(
    r"text_encoder\.bert\..*LayerNorm\.|image_encoder\.backbone\.norms\.0\."
)


def prepare_for_training(model: ReferDINO, recipe: VideoRecipe) -> None:
    """Add the LoRA, freeze what is not learnt, and set activation checkpointing."""
    add_lora(model)
    for name, parameter in model.named_parameters():
        learnt = LEARNT.match(name) or LEARNT_IN_BACKBONES.match(name)
        parameter.requires_grad_(bool(learnt))
    if recipe.checkpointing:
        checkpoint_activations(model)


def parameter_groups(model: ReferDINO, recipe: VideoRecipe) -> list[dict[str, Any]]:
    """AdamW's groups: learnt parts, and layer norms in the backbones at their own rate."""
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    norms = [p for n, p in named if LEARNT_IN_BACKBONES.match(n)]
    others = [p for n, p in named if not LEARNT_IN_BACKBONES.match(n)]
    return [
        {"params": others, "highest": recipe.learning_rate},
        {"params": norms, "highest": recipe.backbone_learning_rate},
    ]


def checkpoint_activations(model: ReferDINO) -> None:
    """Let the layers of encoders and decoders compute their activations again when going back."""
    lists = (module for module in model.modules() if isinstance(module, nn.ModuleList))
    for layer in {id(one): one for blocks in lists for one in blocks}.values():
        if len(list(layer.children())) > 1:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
