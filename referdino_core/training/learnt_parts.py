# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The learnt parts of a model: LoRA, heads and decoders; or all of text encoder and grounder.

Source: the network's specification, section Training.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from referdino_core.building import WORD_EMBEDDING, vocabulary_of
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
    """Freeze what is not learnt, add the LoRA, and set activation checkpointing.

    Of the word embedding, only the rows of added words are learnt.
    """
    if recipe.learnt == "lora":
        add_lora(model)
    for name, parameter in model.named_parameters():
        if recipe.learnt == "grounding":
            learnt = name.startswith(("text_encoder.", "grounder."))
        else:
            learnt = bool(LEARNT.match(name) or LEARNT_IN_BACKBONES.match(name))
        if name == WORD_EMBEDDING:
            learnt = bool(model.configuration.added_words)
            if learnt:
                keep_known_words(model, parameter)
        parameter.requires_grad_(learnt)
    if recipe.checkpointing:
        checkpoint_activations(model)


def keep_known_words(model: ReferDINO, embedding: nn.Parameter) -> None:
    """Let no gradient reach the rows of words that are not added ones."""
    count = len(vocabulary_of(model.configuration))
    first = count - len(model.configuration.added_words)

    def mask(gradient: Tensor) -> Tensor:
        kept = torch.zeros_like(gradient)
        kept[first:count] = gradient[first:count]
        return kept

    embedding.requires_grad_(True)
    embedding.register_hook(mask)


def parameter_groups(model: ReferDINO, recipe: VideoRecipe) -> list[dict[str, Any]]:
    """AdamW's groups: learnt parts, layer norms in the backbones, and words at their own rates."""
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    words = [p for n, p in named.items() if n == WORD_EMBEDDING]
    norms = []
    if recipe.learnt == "lora":
        norms = [p for n, p in named.items() if LEARNT_IN_BACKBONES.match(n)]
    apart = {id(p) for p in (*words, *norms)}
    others = [p for p in named.values() if id(p) not in apart]
    return [
        {"params": others, "highest": recipe.learning_rate},
        {"params": norms, "highest": recipe.backbone_learning_rate},
        # Known words have no gradient; a decay would change them.
        {"params": words, "highest": recipe.word_learning_rate, "weight_decay": 0.0},
    ]


def checkpoint_activations(model: ReferDINO) -> None:
    """Let the layers of encoders and decoders compute their activations again when going back."""
    lists = (module for module in model.modules() if isinstance(module, nn.ModuleList))
    for layer in {id(one): one for blocks in lists for one in blocks}.values():
        if len(list(layer.children())) > 1:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
