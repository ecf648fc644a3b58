# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Questions to the network about an image, and its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from referdino_core.network.host_copies import download
from referdino_core.network.mask_decoder import decode_masks
from referdino_core.network.object_memory import ObjectMemory, RememberedFrame
from referdino_core.network.pixels import at_network_size, enlarged_mask
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.session.slot_readings import SlotReadings


@dataclass(frozen=True)
class Question:
    """A sentence to be found in an image.

    Attributes:
        image: index of the image in its batch.
        name: name of the command, for messages.
        text: the encoded sentence.
        memory: the command's memory, which is only read.
        stamp: stamp of the image in seconds.
        slots: the slots of tracked objects, whose masks will probably be needed.
    """

    image: int
    name: str
    text: TextFeatures
    memory: ObjectMemory
    stamp: float
    slots: tuple[int, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """The network's prediction for one question.

    Attributes:
        frame: the image's queries in the order of the memory's slots, not yet remembered.
        readings: readout of the slots, on the host.
        relevance: (Q,) relevance of each slot to the sentence in [0, 1], on the host.
        mask_embeddings: (Q, d). mask_features: (1, d, h, w) at stride 4.
        resized: (height, width) in pixels that the image was resized to.
        logits: mask logits (h, w) at the network's size, on the host, by slot; only those that
            have been decoded.
    """

    frame: RememberedFrame
    readings: SlotReadings
    relevance: np.ndarray
    mask_embeddings: Tensor
    mask_features: Tensor
    resized: tuple[int, int]
    logits: dict[int, np.ndarray] = field(default_factory=dict)

    def mask(self, slot: int, size: tuple[int, int], threshold: float) -> np.ndarray:
        """Mask of a slot, (H, W) bool: where its probability exceeds the threshold."""
        if slot not in self.logits:
            decode_slots([(self, slot)])
        return enlarged_mask(self.logits[slot], size, threshold)


@torch.inference_mode()
def decode_slots(wanted: Sequence[tuple[Prediction, int]]) -> None:
    """Decode the mask logits of slots that are not decoded yet, in one copy to the host."""
    missing = [(one, slot) for one, slot in wanted if slot not in one.logits]
    if not missing:
        return
    decoded = []
    for one, slot in missing:
        embedding = one.mask_embeddings[None, slot : slot + 1].to(one.mask_features.dtype)
        logits = decode_masks(embedding, one.mask_features)
        decoded.append(at_network_size(logits.float(), one.resized))
    for (one, slot), host in zip(missing, download(*decoded), strict=True):
        one.logits[slot] = host[0, 0]
