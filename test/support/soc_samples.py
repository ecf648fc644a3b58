# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A small SOC with random weights, its checkpoint in the released layout, and a vocabulary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

import referdino_core as rd
from referdino_core.peers.soc import configuration
from referdino_core.peers.soc.configuration import (
    SOC_SWIN_T,
    RobertaSizes,
    VideoSwinConfiguration,
)

if TYPE_CHECKING:
    from referdino_core.peers.soc.soc import SOC

SMALL = {
    "swin": VideoSwinConfiguration(16, (1, 2, 1, 2), (1, 2, 4, 8)),
    "roberta": RobertaSizes(300, 32, 2, 2, 64, 40),
    "width": 64,
    "feed_forward": 64,
    "encoder_layers": 1,
    "queries": 6,
}
SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def released_layout(model: SOC) -> dict[str, torch.Tensor]:
    """The tensors of a released file, with all that a reader has to skip."""
    from referdino_core.peers.soc.checkpoint import released_name

    tensors = {released_name(name): tensor for name, tensor in model.state_dict().items()}
    for name in [one for one in tensors if one.startswith("bbox_embed.")]:
        tensors[f"transformer.decoder.{name}"] = tensors[name]
    tensors["text_encoder.embeddings.position_ids"] = torch.arange(40)[None]
    tensors["backbone.0.body.layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(
        392, 392, dtype=torch.int64
    )
    return tensors | {"total_ops": torch.zeros(1), "vlf.total_params": torch.zeros(1)}


def write_vocabulary(folder: Path) -> tuple[Path, Path]:
    """vocab.json and merges.txt of a byte-level BPE with RoBERTa's special tokens."""
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        ["the red ball", "the blue box on the left", "The Red one"],
        vocab_size=290,
        min_frequency=1,
        special_tokens=SPECIAL_TOKENS,
        show_progress=False,
    )
    folder.mkdir(parents=True)
    tokenizer.save_model(str(folder))
    return folder / "vocab.json", folder / "merges.txt"


def install_small_soc(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make "soc_swint" a small network with a downloaded vocabulary; returns its checkpoint."""
    monkeypatch.setitem(configuration.SOC_CONFIGURATIONS, "soc_swint", replace(SOC_SWIN_T, **SMALL))
    monkeypatch.setenv("REFERDINO_CACHE", str(folder / "cache"))
    write_vocabulary(folder / "cache" / "roberta-base")
    torch.manual_seed(0)
    path = folder / "soc.pth"
    torch.save({"model_state_dict": released_layout(rd.build("soc_swint")), "epoch": 7}, path)
    return path
