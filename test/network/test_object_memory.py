# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Which query is which slot: by appearance as in the paper, for nano by place as well."""

from __future__ import annotations

import pytest
import torch

from referdino_core.configuration import NANO, SWIN_B, SWIN_T, network_configuration
from referdino_core.errors import ReferDINOError
from referdino_core.network.object_memory import ObjectMemory

TEXT = torch.ones(2, 4)
LEFT, RIGHT = [0.2, 0.5, 0.1, 0.1], [0.7, 0.5, 0.1, 0.1]


def order_of_twins(place_weight: float) -> list[float]:
    """Columns of two objects' slots once the network gave the objects in another order.

    Noise makes each look a little more like the other's memory.
    """
    memory = ObjectMemory(8, 0.1, "released", place_weight=place_weight)
    first = torch.tensor([[1.0, 0.0, 0.1, 0.0], [1.0, 0.1, 0.0, 0.0]])
    memory.update(first, torch.tensor([LEFT, RIGHT]), TEXT, 0.0)
    frame = memory.align(first, torch.tensor([RIGHT, LEFT]), TEXT, 0.1)
    return frame.references[:, 0].tolist()


def test_two_objects_that_look_the_same_keep_their_slots_by_their_places() -> None:
    assert order_of_twins(1.0) == pytest.approx([0.2, 0.7])


def test_released_weights_align_by_appearance_alone() -> None:
    assert order_of_twins(0.0) == pytest.approx([0.7, 0.2])
    assert NANO.place_weight == 1.0 and SWIN_T.place_weight == SWIN_B.place_weight == 0.0


def test_another_look_outweighs_a_small_way() -> None:
    memory = ObjectMemory(8, 0.1, "released", place_weight=1.0)
    looks = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    memory.update(looks, torch.tensor([LEFT, RIGHT]), TEXT, 0.0)
    frame = memory.align(looks, torch.tensor([RIGHT, LEFT]), TEXT, 0.1)
    assert frame.references[:, 0].tolist() == pytest.approx([0.7, 0.2])


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(ReferDINOError, match="place_weight"):
        network_configuration("nano", place_weight=-1.0)
