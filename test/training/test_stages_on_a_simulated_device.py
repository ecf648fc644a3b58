# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The stages of the small model's training on a simulated GPU, where tensors may not be mixed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from painted_world import PaintedWorld, clip
from simulated_device import put_on_device, simulated_device
from torch import Tensor, nn

from referdino_core.building import load_model, tokenizer_of
from referdino_core.network.pixels import _statistics
from referdino_core.training.attribute_stage import (
    AttributeHeads,
    attribute_losses,
    draw_attributes,
)
from referdino_core.training.batches import draw_frames
from referdino_core.training.calibration import best_slots
from referdino_core.training.frame_stage import MOTIONS, frame_losses
from referdino_core.training.grounded_clips import ground_clip
from referdino_core.training.temporal_stage import DISPLACEMENTS, temporal_losses

pytestmark = pytest.mark.usefixtures("one_thread")


def run_stages(place: Callable[[nn.Module], object]) -> dict[str, Tensor]:
    """Losses and results of all stages by name; `place` puts a module on the device."""
    torch.manual_seed(0)
    model = load_model("nano", "cpu").requires_grad_(False)
    width = model.configuration.width
    heads = AttributeHeads(width), nn.Linear(width, len(MOTIONS)), nn.Linear(width, DISPLACEMENTS)
    for module in (model, *heads):
        place(module.requires_grad_(False))
    tokenizer, world = tokenizer_of(model.configuration), PaintedWorld()
    generator = np.random.default_rng(0)
    torch.manual_seed(1)
    frames = draw_frames(world, 2, 3, generator)
    images = draw_attributes(world, 2, generator)
    items = [one for _ in range(2) for one in ground_clip(model, tokenizer, clip(), generator, 8)]
    logits, right = best_slots(model, items[:2])
    found = {
        "attributes": attribute_losses(model.image_encoder, heads[0], images),
        "frames": frame_losses(model, heads[1], tokenizer, frames, 2),
        "temporal": temporal_losses(model, heads[2], items, generator, 1.0),
    }
    values = {f"{s} {name}": loss for s, losses in found.items() for name, loss in losses.items()}
    grounded = {f"grounded {name}": value for name, value in vars(items[0]).items()}
    checked = {"logits": torch.from_numpy(logits).float(), "right": torch.from_numpy(right)}
    return {name: value.cpu() for name, value in (values | checked).items()} | grounded


@pytest.mark.slow
def test_losses_on_a_simulated_device_are_those_of_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The CPU kernels sum in another order, which decides close picks of queries.
    monkeypatch.setattr("referdino_core.ops.library.kernel_library", lambda: None)
    expected = run_stages(nn.Module.cpu)
    with simulated_device() as counts:
        found = run_stages(put_on_device)
        assert counts["uploads"] or counts["blocking uploads"]
    _statistics.cache_clear()
    assert set(found) == set(expected) and len(found) > 20
    assert found["temporal masks"] > 0 and found["right"].any()
    for name, value in found.items():
        # Grounded clips are kept in half precision, which the logits are computed from.
        within = 2e-3 if value.dtype == torch.float16 or name == "logits" else 1e-4
        torch.testing.assert_close(value, expected[name], rtol=within, atol=within, msg=name)
