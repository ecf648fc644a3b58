# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Deformable attention: the portable operator, the fused CPU kernel, and the block around them."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from deformable_attention_cases import (
    CASES,
    TOLERANCE,
    assert_agrees,
    gradient_for,
    make_inputs,
    output_and_gradients,
)
from torch import Tensor

from referdino_core.network.deformable_attention import DeformableAttention
from referdino_core.ops import BUILD_COMMAND
from referdino_core.ops.deformable_attention import (
    SpatialShapes,
    fused_deformable_attention,
    multi_scale_deformable_attention,
    portable_deformable_attention,
)
from referdino_core.ops.library import kernel_library, kernel_status


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def sample_by_hand(level: Tensor, x: float, y: float) -> Tensor:
    """Bilinear sample of a (height, width, channels) level at x, y in 0..1, zero outside."""
    height, width, channels = level.shape
    column, row = x * width - 0.5, y * height - 0.5
    total = torch.zeros(channels, dtype=level.dtype)
    for r in (math.floor(row), math.floor(row) + 1):
        for c in (math.floor(column), math.floor(column) + 1):
            if 0 <= r < height and 0 <= c < width:
                total += (1 - abs(row - r)) * (1 - abs(column - c)) * level[r, c]
    return total


def test_the_kernel_is_built_where_the_tests_run():
    assert kernel_library() is not None, f"build it with: {BUILD_COMMAND}"
    assert kernel_status().startswith("fused (")


@pytest.mark.parametrize("operator", [portable_deformable_attention, fused_deformable_attention])
def test_operator_is_the_weighted_sum_of_bilinear_samples(operator):
    inputs = make_inputs(2, ((3, 5), (2, 2)), 4, 2, 3, 8)
    value, shapes, locations, weights = inputs
    output = operator(*inputs).view(2, 4, 2, 8)
    first_cells = (0, 15)
    for n, q, m in [(n, q, m) for n in range(2) for q in range(4) for m in range(2)]:
        expected = torch.zeros(8, dtype=torch.float64)
        for k, (height, width) in enumerate(shapes):
            cells = value[n, first_cells[k] : first_cells[k] + height * width, m]
            level = cells.double().view(height, width, 8)
            for p in range(3):
                x, y = locations[n, q, m, k, p].tolist()
                expected += weights[n, q, m, k, p].double() * sample_by_hand(level, x, y)
        torch.testing.assert_close(output[n, q, m].double(), expected, **TOLERANCE)


@pytest.mark.parametrize("case", CASES)
def test_fused_agrees_with_portable_in_double_precision(case, two_threads):
    inputs = make_inputs(*CASES[case])
    gradient = gradient_for(inputs)
    found = output_and_gradients(fused_deformable_attention, inputs, gradient)
    judge = output_and_gradients(portable_deformable_attention, inputs, gradient, torch.float64)
    assert judge[1].abs().max() > 0.1 and judge[2].abs().max() > 0.1
    assert_agrees(found, judge, inputs[1])


@pytest.mark.parametrize("images", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_fused_agrees_for_any_number_of_images_and_levels(images, levels):
    shapes = ((11, 13), (6, 7), (3, 4), (2, 2))[:levels]
    inputs = make_inputs(images, shapes, 10, 3, 4, 16, seed=10 * images + levels)
    gradient = gradient_for(inputs)
    found = output_and_gradients(fused_deformable_attention, inputs, gradient)
    judge = output_and_gradients(portable_deformable_attention, inputs, gradient, torch.float64)
    assert_agrees(found, judge, inputs[1])


def test_gradients_of_the_fused_kernel_are_its_slopes():
    inputs = make_inputs(1, ((4, 5), (2, 3)), 3, 2, 2, 16)
    value, shapes, locations, weights = inputs
    gradient = gradient_for(inputs)
    _, *gradients = output_and_gradients(fused_deformable_attention, inputs, gradient)
    generator = torch.Generator().manual_seed(3)
    step = 1e-3
    for which, tensor in enumerate((value, locations, weights)):
        # Locations near a kink have no slope to measure: they keep still.
        direction = torch.randn(tensor.shape, generator=generator)
        if which == 1:
            sizes = torch.tensor([(width, height) for height, width in shapes])[:, None]
            fraction = torch.remainder(locations * sizes - 0.5, 1.0)
            direction = direction * ((fraction > 0.05) & (fraction < 0.95)) * 0.5
        moved = []
        for sign in (1, -1):
            tensors = [value, locations, weights]
            tensors[which] = tensor + sign * step * direction
            output = fused_deformable_attention(tensors[0], shapes, tensors[1], tensors[2])
            moved.append((output.double() * gradient).sum())
        slope = (moved[0] - moved[1]) / (2 * step)
        predicted = (gradients[which].double() * direction).sum()
        torch.testing.assert_close(predicted, slope, rtol=2e-3, atol=2e-3)


def test_far_outside_and_not_a_number_touch_no_cell():
    value, shapes, locations, weights = make_inputs(1, ((4, 5),), 6, 2, 1, 16)
    odd = [-1e30, 1e30, float("inf"), -float("inf"), float("nan"), 3.0]
    locations = torch.tensor(odd).view(1, 6, 1, 1, 1, 1).expand_as(locations)
    inputs = (value, shapes, locations, weights)
    for result in output_and_gradients(fused_deformable_attention, inputs, gradient_for(inputs)):
        assert torch.equal(result, torch.zeros_like(result))


@pytest.mark.parametrize("images", [1, 4])
def test_result_does_not_depend_on_the_number_of_threads(images, two_threads):
    inputs = make_inputs(images, ((9, 11), (5, 6)), 70, 3, 4, 32)
    gradient = gradient_for(inputs)
    with_two = output_and_gradients(fused_deformable_attention, inputs, gradient)
    torch.set_num_threads(1)
    with_one = output_and_gradients(fused_deformable_attention, inputs, gradient)
    for one, other in zip(with_one, with_two, strict=True):
        assert torch.equal(one, other)


def test_several_python_threads_may_call_the_kernel_at_once():
    inputs = [make_inputs(2, ((9, 11), (5, 6)), 50, 4, 4, 16, seed=seed) for seed in range(8)]
    alone = [fused_deformable_attention(*each) for each in inputs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda each: fused_deformable_attention(*each), inputs * 5))
    for index, output in enumerate(together):
        assert torch.equal(output, alone[index % len(alone)])


def test_non_contiguous_inputs():
    value, shapes, locations, weights = make_inputs(2, ((5, 6), (3, 3)), 7, 4, 4, 16)
    gradient = gradient_for((value, shapes, locations, weights))
    scattered = (
        value.transpose(1, 2).contiguous().transpose(1, 2),
        shapes,
        locations.flip(-1).contiguous().flip(-1).transpose(0, 1).contiguous().transpose(0, 1),
        weights.permute(4, 3, 2, 1, 0).contiguous().permute(4, 3, 2, 1, 0),
    )
    assert not any(scattered[i].is_contiguous() for i in (0, 2, 3))
    leaves = [scattered[i].requires_grad_() for i in (0, 2, 3)]
    output = fused_deformable_attention(leaves[0], shapes, leaves[1], leaves[2])
    spread = gradient.transpose(1, 2).contiguous().transpose(1, 2)
    found = (output.detach(), *torch.autograd.grad(output, leaves, spread))
    dense = (value, shapes, locations, weights)
    judge = output_and_gradients(portable_deformable_attention, dense, gradient, torch.float64)
    assert_agrees(found, judge, shapes)


@pytest.mark.parametrize("operator", [portable_deformable_attention, fused_deformable_attention])
@pytest.mark.parametrize("images, queries", [(2, 0), (0, 3)])
def test_nothing_asked_gives_nothing(operator, images, queries):
    inputs = make_inputs(images, ((3, 4), (2, 2)), queries, 2, 4, 16)
    output, *gradients = output_and_gradients(operator, inputs, gradient_for(inputs))
    assert output.shape == (images, queries, 32)
    assert torch.equal(gradients[0], torch.zeros_like(inputs[0]))


@pytest.mark.parametrize(
    "operator",
    [
        portable_deformable_attention,
        fused_deformable_attention,
        multi_scale_deformable_attention,
    ],
)
def test_shapes_that_do_not_belong_together_are_refused(operator):
    value, shapes, locations, weights = make_inputs(2, ((3, 4), (2, 2)), 5, 2, 4, 16)
    with pytest.raises(ValueError, match=r"value has 16 tokens, the levels .* have 15"):
        operator(value, ((3, 5),), locations, weights)
    with pytest.raises(ValueError, match="have no tokens"):
        operator(value, ((3, 4), (0, 2)), locations, weights)
    with pytest.raises(ValueError, match="do not match"):
        operator(value, ((4, 4),), locations, weights)
    with pytest.raises(ValueError, match="do not match"):
        operator(value, shapes, locations, weights[:, :-1])
    with pytest.raises(ValueError, match="do not match"):
        operator(value, shapes, locations[..., :1], weights)
    with pytest.raises(ValueError, match="do not match"):
        operator(value[:1], shapes, locations, weights)
    with pytest.raises(ValueError, match=r"takes value \(N, S, M, D\)"):
        operator(value.flatten(2), shapes, locations, weights)
    assert operator(value, shapes, locations, weights).shape == (2, 5, 32)


def test_operator_chooses_by_precision():
    inputs = make_inputs(2, ((6, 7), (3, 4)), 9, 2, 4, 16)
    fused = fused_deformable_attention(*inputs)
    assert torch.equal(multi_scale_deformable_attention(*inputs), fused)
    value, shapes, locations, weights = inputs
    double = (value.double(), shapes, locations.double(), weights.double())
    found = multi_scale_deformable_attention(*double)
    assert found.dtype == torch.float64
    assert torch.equal(found, portable_deformable_attention(*double))


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("operator", [portable_deformable_attention, fused_deformable_attention])
def test_half_precision_is_computed_in_full_precision(precision, operator):
    value, shapes, locations, weights = make_inputs(2, ((6, 7), (3, 4)), 9, 2, 4, 16)
    value, weights = value.to(precision), weights.to(precision)
    inputs = (value, shapes, locations, weights)
    output, *gradients = output_and_gradients(operator, inputs, gradient_for(inputs))
    full = operator(value.float(), shapes, locations, weights.float())
    assert output.dtype == precision
    assert torch.equal(output, full.to(precision))
    assert [gradient.dtype for gradient in gradients] == [precision, torch.float32, precision]


def test_block_under_bfloat16_autocast_stays_close_to_full_precision():
    torch.manual_seed(0)
    block, arguments = make_block_and_arguments(box=True)
    with torch.no_grad():
        block.sampling_offsets.weight.normal_(0, 0.02)
        block.attention_weights.weight.normal_(0, 0.2)
    full = block(*arguments)
    with torch.autocast("cpu", torch.bfloat16):
        output = block(*arguments)
    output.float().sum().backward()
    assert output.dtype == torch.bfloat16
    assert (output - full).abs().max() < 0.03 * full.abs().max()
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def make_block_and_arguments(box: bool) -> tuple[DeformableAttention, tuple]:
    torch.manual_seed(0)
    shapes = ((5, 7), (3, 4), (2, 2))
    block = DeformableAttention(width=64, heads=4, levels=3, points=4)
    query = torch.randn(2, 9, 64)
    references = torch.rand(2, 9, 3, 4 if box else 2)
    value = torch.randn(2, 51, 64)
    padding = torch.rand(2, 51) > 0.8
    return block, (query, references, value, shapes, padding)


@pytest.mark.parametrize("box", [False, True], ids=["points", "boxes"])
def test_block_is_the_specified_composition(box):
    block, (query, references, value, shapes, padding) = make_block_and_arguments(box)
    with torch.no_grad():
        block.sampling_offsets.weight.normal_(0, 0.1)
        block.attention_weights.weight.normal_(0, 0.3)
        block.value_proj.bias.normal_()
    offsets = block.sampling_offsets(query).view(2, 9, 4, 3, 4, 2)
    locations = torch.empty_like(offsets)
    for level, (height, width) in enumerate(shapes):
        for axis, side in enumerate((width, height)):
            reference = references[:, :, level, axis, None, None]
            if box:
                reach = references[:, :, level, 2 + axis, None, None] * 0.5 / 4
            else:
                reach = torch.tensor(1.0 / side)
            locations[..., level, :, axis] = reference + offsets[..., level, :, axis] * reach
    weights = block.attention_weights(query).view(2, 9, 4, 12).softmax(-1).view(2, 9, 4, 3, 4)
    projected = block.value_proj(value) * (~padding).unsqueeze(-1)
    expected = block.output_proj(
        portable_deformable_attention(projected.view(2, 51, 4, 16), shapes, locations, weights)
    )
    torch.testing.assert_close(
        block(query, references, value, shapes, padding), expected, **TOLERANCE
    )


def test_block_ignores_padding():
    block, (query, references, value, shapes, padding) = make_block_and_arguments(False)
    changed = torch.where(padding.unsqueeze(-1), 100.0, value)
    first = block(query, references, value, shapes, padding)
    assert torch.equal(first, block(query, references, changed, shapes, padding))
    assert not torch.allclose(first, block(query, references, changed, shapes))


def test_block_has_the_checkpoint_names_and_starts_as_a_ring():
    block = DeformableAttention(256, heads=8, levels=4, points=4)
    assert {name: tuple(tensor.shape) for name, tensor in block.state_dict().items()} == {
        "sampling_offsets.weight": (256, 256),
        "sampling_offsets.bias": (256,),
        "attention_weights.weight": (128, 256),
        "attention_weights.bias": (128,),
        "value_proj.weight": (256, 256),
        "value_proj.bias": (256,),
        "output_proj.weight": (256, 256),
        "output_proj.bias": (256,),
    }
    offsets = block.sampling_offsets.bias.detach().view(8, 4, 4, 2)
    assert torch.allclose(offsets[0, 2], torch.tensor([[1.0, 0], [2, 0], [3, 0], [4, 0]]))
    assert torch.allclose(offsets[3, 0, 1], torch.tensor([-2.0, 2.0]))
    assert not block.sampling_offsets.weight.any() and not block.attention_weights.weight.any()


def test_block_refuses_what_cannot_fit():
    with pytest.raises(ValueError, match="width 100 is not a multiple of 8 heads"):
        DeformableAttention(100, 8, 4, 4)
    block, (query, references, value, shapes, padding) = make_block_and_arguments(False)
    with pytest.raises(ValueError, match="not 3 values"):
        block(query, torch.rand(2, 9, 3, 3), value, shapes, padding)
    with pytest.raises(ValueError, match="value has 50 tokens"):
        block(query, references, value[:, :-1], shapes)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_exported_block_holds_only_portable_operators():
    class Fixed(torch.nn.Module):
        def __init__(self, block: DeformableAttention, shapes: SpatialShapes) -> None:
            super().__init__()
            self.block, self.shapes = block, shapes

        def forward(self, query: Tensor, references: Tensor, value: Tensor) -> Tensor:
            return self.block(query, references, value, self.shapes)

    block, (query, references, value, shapes, _) = make_block_and_arguments(True)
    fixed = Fixed(block, shapes).eval()
    arguments = (query, references, value)
    expected = fixed(*arguments)
    for recorded in (
        torch.export.export(fixed, arguments).module(),
        torch.jit.trace(fixed, arguments),
    ):
        torch.testing.assert_close(recorded(*arguments), expected, **TOLERANCE)
