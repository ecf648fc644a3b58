# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""What the network is asked of an image, and what it says."""

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
from referdino_core.session.track import SlotReadings


@dataclass(frozen=True)
class Question:
    """A sentence that is asked of an image.

    Attributes:
        image: place of the image in its batch.
        name: of the command, for messages.
        text: the encoded sentence.
        memory: of the command; it is read and stays as it is.
        stamp: of the image, seconds.
        slots: whose masks will probably be needed: those that hold what is followed.
    """

    image: int
    name: str
    text: TextFeatures
    memory: ObjectMemory
    stamp: float
    slots: tuple[int, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """What the network says of one question.

    Attributes:
        frame: the image's queries in the order of the memory's slots, not yet remembered.
        readings: of the slots, on the host.
        relevance: (Q,) in [0, 1], how much a slot concerns the sentence, on the host.
        mask_embeddings: (Q, d). mask_features: (1, d, h, w) at stride 4.
        resized: (height, width) in pixels that the image was resized to.
        logits: masks of the network's size (h, w) on the host by slot, as far as they are decoded.
    """

    frame: RememberedFrame
    readings: SlotReadings
    relevance: np.ndarray
    mask_embeddings: Tensor
    mask_features: Tensor
    resized: tuple[int, int]
    logits: dict[int, np.ndarray] = field(default_factory=dict)

    def mask(self, slot: int, size: tuple[int, int], threshold: float) -> np.ndarray:
        """The mask (H, W) of a slot, bool: where its probability exceeds the threshold."""
        if slot not in self.logits:
            decode_slots([(self, slot)])
        return enlarged_mask(self.logits[slot], size, threshold)


@torch.inference_mode()
def decode_slots(wanted: Sequence[tuple[Prediction, int]]) -> None:
    """Decode masks of slots of predictions, those that are not yet; the host waits once."""
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
