# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""SOC with weights and tokenizer, for evaluation and replay."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from referdino_core.building import load_peer
from referdino_core.configuration import SessionSettings
from referdino_core.download import checksums, locate
from referdino_core.errors import RuntimeUnavailable
from referdino_core.installation import choose_threads
from referdino_core.peers.soc.soc import SOC
from referdino_core.peers.soc.tokenizer import RobertaTokenizer
from referdino_core.session.model_choice import ModelChoice

SOC_RUNTIME = "torch fp32"


@dataclass(frozen=True)
class LoadedSOC:
    """SOC with its weights, its tokenizer, and what it was loaded from."""

    model: SOC
    tokenizer: RobertaTokenizer
    choice: ModelChoice

    @property
    def device(self) -> str:
        """Device of the model."""
        return str(self.model.device)

    @cached_property
    def sha256(self) -> str:
        """Checksum of the file of the weights."""
        assert self.choice.checkpoint is not None
        return checksums.compute(self.choice.checkpoint)

    def summary(self) -> dict[str, str | bool | None]:
        """What distinguishes these weights: `name`, `checkpoint` and `sha256`."""
        return {
            "name": self.model.configuration.name,
            "checkpoint": str(self.choice.checkpoint),
            "sha256": self.sha256,
        }


def load_soc(choice: ModelChoice) -> LoadedSOC:
    """Load the chosen SOC.

    Raises:
        ReferDINOError: weights, vocabulary or device are unavailable, or a runtime other than
            PyTorch, a precision other than fp32 or what belongs to sessions is chosen.
    """
    assert choice.model is not None
    if choice.runtime not in ("auto", "torch") or choice.precision != "fp32":
        raise RuntimeUnavailable(f"{choice.model} runs in PyTorch and fp32 only.")
    is_default = choice.settings == SessionSettings() and choice.single_frame is None
    if choice.exports is not None or not is_default:
        raise RuntimeUnavailable(
            f"{choice.model} has no exports and no thresholds and selects one object: leave "
            "--exports, --window, --select, --set and --single-frame out."
        )
    vocabulary, merges = locate("roberta")
    model = load_peer(choice.model, choice.checkpoint, choice.device)
    choose_threads(model)
    positions = model.configuration.roberta.positions
    return LoadedSOC(model, RobertaTokenizer(vocabulary, merges, positions - 2), choice)
