# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Low-rank adaptation (Hu et al., ICLR 2022) of the grounder, with the published names and scale.

A layer's weight W becomes W + B A / rank, where only A (rank, in) and B (out, rank) are learnt. The
released checkpoints hold such pairs, see the network's specification, section Checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from referdino_core.checkpoint import LORA_RANK, merge_lora, reference_name
from referdino_core.network.referdino import ReferDINO

ADAPTED = ("grounder.fusion_encoder.", "grounder.decoder.")
NOT_ADAPTED = ("out_proj", "box_head")


class LoRALinear(nn.Linear):
    """A linear layer with a frozen weight and a learnt low-rank change of it, zero at first."""

    def __init__(self, layer: nn.Linear, rank: int = LORA_RANK) -> None:
        """Take over the weight and the bias of a layer, which are frozen."""
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        self.weight, self.bias = layer.weight, layer.bias
        self.weight.requires_grad_(False)
        if self.bias is not None:
            self.bias.requires_grad_(False)
        self.lora_A = nn.Parameter(layer.weight.new_empty(rank, layer.in_features))
        self.lora_B = nn.Parameter(layer.weight.new_zeros(layer.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_A, a=5**0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Features (..., in) to (..., out)."""
        change = features @ self.lora_A.mT @ self.lora_B.mT
        return super().forward(features) + change / len(self.lora_A)


def adapted_layers(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers that have a LoRA in the published checkpoints, by name."""
    for name, module in model.named_modules():
        adapted = name.startswith(ADAPTED) and not any(part in name for part in NOT_ADAPTED)
        if adapted and isinstance(module, nn.Linear):
            yield name, module


def add_lora(model: ReferDINO) -> None:
    """Give every layer of `adapted_layers` a LoRA."""
    for name, layer in list(adapted_layers(model)):
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, LoRALinear(layer))


def lora_tensors(model: ReferDINO) -> dict[str, Tensor]:
    """The LoRA alone, under the reference's names."""
    return {
        reference_name(name): tensor.detach()
        for name, tensor in model.state_dict().items()
        if name.endswith((".lora_A", ".lora_B"))
    }


def merged_tensors(model: ReferDINO) -> dict[str, Tensor]:
    """All weights under the reference's names, the LoRA merged into them."""
    tensors = {reference_name(name): tensor.detach() for name, tensor in model.state_dict().items()}
    return merge_lora(tensors)
