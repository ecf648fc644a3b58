# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The CPU kernels for inference, called as they are, against the plain network in float64."""

from __future__ import annotations

import copy
import math
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from repository import SUPPORT
from torch import Tensor, nn

import referdino_core.ops
from referdino_core.network.deformable_attention import DeformableAttention
from referdino_core.network.swin_transformer import SwinBlock, shifted_window_mask
from referdino_core.ops.deformable_attention import SpatialShapes, projected_deformable_attention
from referdino_core.ops.library import KernelLibrary
from referdino_core.ops.window_attention import window_attention
from referdino_core.optimize.swin_stage import WindowTable

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_gradients", "two_threads")]

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
# Half a unit in the last of bfloat16's eight places, and what float32 sums may differ by.
BFLOAT16_ROUNDING = {"rtol": 2.0**-8 * 1.01, "atol": 1e-6}
WALKS = [SUPPORT / name for name in ("inference_kernel_walk.cpp", "inference_layer_walk.cpp")]
# Long vectors take other tiles; those that the machine cannot run are made of short ones.
CODE_PATHS = {"short vectors": [], "long vectors": ["-D__AVX512F__"]}
LEVELS: SpatialShapes = ((23, 40), (12, 20), (6, 10), (3, 5))


def randomise(module: nn.Module, generator: torch.Generator) -> None:
    """Weights that leave activations at their scale; biases and tables of about one."""
    for weight in module.parameters():
        scale = weight.shape[1] ** -0.5 if weight.dim() == 2 and weight.shape[1] > 1 else 1.0
        weight.copy_(torch.randn(weight.shape, generator=generator) * scale)


# ---- Windows ----


def swin_block(window: int, shift: bool, heads: int = 3, channels: int = 16) -> SwinBlock:
    block = SwinBlock(heads * channels, heads, window, window // 2 if shift else 0)
    generator = torch.Generator().manual_seed(window)
    randomise(block, generator)
    table = block.attn.relative_position_bias_table
    table.copy_(torch.randn(table.shape, generator=generator))
    return block


def grid_of(block: SwinBlock, height: int, width: int, images: int) -> Tensor:
    generator = torch.Generator().manual_seed(height * width)
    return torch.randn(images, height, width, block.attn.qkv.in_features, generator=generator)


def judged_windows(block: SwinBlock, grid: Tensor) -> Tensor:
    """What the network's own block gives in float64."""
    height, width = (side + -side % block.window for side in grid.shape[1:3])
    mask = shifted_window_mask(height, width, block.window, grid.device)
    return copy.deepcopy(block).double().attend(grid.double(), mask.double())


def attend_windows(
    kernel: KernelLibrary, block: SwinBlock, projections: Tensor, height: int, width: int
) -> Tensor:
    """The kernel with the table of the prepared block, before the output's projection."""
    table = WindowTable(block, height, width)
    # What a cell beyond the border, a zero, is projected to.
    padding = block.attn.qkv.bias.to(projections.dtype)
    return window_attention(
        kernel, projections.flatten(1, 2), padding, table.tokens, table.regions, table.bias
    )


def assert_windows_agree(kernel: KernelLibrary, block: SwinBlock, grid: Tensor) -> None:
    _, height, width, _ = grid.shape
    attended = attend_windows(kernel, block, block.attn.qkv(grid), height, width)
    found = block.attn.proj(attended).view(grid.shape)
    torch.testing.assert_close(found.double(), judged_windows(block, grid), **TOLERANCE)


@pytest.mark.parametrize("shift", [False, True], ids=["in place", "shifted"])
@pytest.mark.parametrize(
    ("window", "height", "width"),
    [(5, 10, 15), (5, 8, 11), (7, 14, 21), (7, 15, 16), (12, 12, 24), (12, 13, 30), (7, 3, 4)],
)
def test_windows_are_those_of_the_network(
    kernel: KernelLibrary, window: int, shift: bool, height: int, width: int
) -> None:
    block = swin_block(window, shift)
    assert_windows_agree(kernel, block, grid_of(block, height, width, images=1))


@pytest.mark.parametrize("images", [2, 5])
@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("channels", [8, 16, 32, 40])
def test_windows_of_any_heads_channels_and_images(
    kernel: KernelLibrary, channels: int, heads: int, images: int
) -> None:
    block = swin_block(7, shift=True, heads=heads, channels=channels)
    assert_windows_agree(kernel, block, grid_of(block, 9, 17, images))


def test_windows_with_extreme_logits_pick_one_cell(kernel: KernelLibrary) -> None:
    block = swin_block(5, shift=True)
    block.attn.qkv.weight.mul_(30.0)
    grid = grid_of(block, 9, 12, images=2)
    projections = block.attn.qkv(grid)
    assert projections.abs().amax() ** 2 > 1000.0
    attended = attend_windows(kernel, block, projections, 9, 12)
    found = block.attn.proj(attended).view(grid.shape)
    expected = judged_windows(block, grid)
    # Logits of thousands, known to seven digits: their softmax is known to fewer.
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-3 * expected.std().item())


@pytest.mark.parametrize("channels", [8, 32, 40])
@pytest.mark.parametrize("window", [5, 7, 12])
def test_windows_in_bfloat16_differ_by_the_rounding_of_the_result(
    kernel: KernelLibrary, window: int, channels: int
) -> None:
    block = swin_block(window, shift=True, channels=channels)
    block.attn.qkv.bias.copy_(block.attn.qkv.bias.bfloat16())
    low = block.attn.qkv(grid_of(block, 13, 16, images=2)).bfloat16()
    expected = attend_windows(kernel, block, low.float(), 13, 16)
    found = attend_windows(kernel, block, low, 13, 16)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, **BFLOAT16_ROUNDING)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_number_of_threads_changes_no_window(
    kernel: KernelLibrary, precision: torch.dtype
) -> None:
    block = swin_block(7, shift=True)
    projections = block.attn.qkv(grid_of(block, 16, 23, images=3)).to(precision)
    together = attend_windows(kernel, block, projections, 16, 23)
    torch.set_num_threads(1)
    assert torch.equal(attend_windows(kernel, block, projections, 16, 23), together)


# ---- Sampling ----


def attention_of(channels: int, levels: int, points: int, heads: int = 3) -> DeformableAttention:
    attention = DeformableAttention(heads * channels, heads, levels, points)
    randomise(attention, torch.Generator().manual_seed(channels + points))
    return attention


def sampling_inputs(
    attention: DeformableAttention,
    shapes: SpatialShapes,
    size: int,
    images: int = 2,
    queries: int = 21,
    shared_references: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, references of 2 or 4 numbers, some of them outside, and values."""
    generator = torch.Generator().manual_seed(size)
    width, cells = attention.value_proj.in_features, sum(h * w for h, w in shapes)
    query = torch.randn(images, queries, width, generator=generator)
    place = (1 if shared_references else images, queries, len(shapes))
    references = torch.rand(*place, size, generator=generator) * 1.4 - 0.2
    references[..., 2:] = references[..., 2:].abs()
    return query, references, torch.randn(images, cells, width, generator=generator)


def project(attention: DeformableAttention, query: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Values by head, and a row of offsets, then logits, per query."""
    values = attention.value_proj(value).unflatten(-1, (attention.heads, -1))
    rows = (attention.sampling_offsets(query), attention.attention_weights(query))
    return values, torch.cat(rows, dim=-1)


def assert_samples_agree(
    kernel: KernelLibrary,
    attention: DeformableAttention,
    shapes: SpatialShapes,
    inputs: tuple[Tensor, Tensor, Tensor],
) -> None:
    query, references, value = inputs
    values, rows = project(attention, query, value)
    sampled = projected_deformable_attention(
        kernel, values, shapes, references, rows, attention.points
    )
    found = attention.output_proj(sampled)
    judge = copy.deepcopy(attention).double()
    all_references = references.expand(len(query), -1, -1, -1)
    expected = judge(query.double(), all_references.double(), value.double(), shapes)
    torch.testing.assert_close(found.double(), expected, **TOLERANCE)


@pytest.mark.parametrize("size", [2, 4], ids=["points", "boxes"])
@pytest.mark.parametrize("points", [4, 8, 16])
@pytest.mark.parametrize("levels", [1, 4])
def test_samples_are_those_of_the_network(
    kernel: KernelLibrary, levels: int, points: int, size: int
) -> None:
    attention = attention_of(16, levels, points)
    inputs = sampling_inputs(attention, LEVELS[:levels], size)
    assert_samples_agree(kernel, attention, LEVELS[:levels], inputs)


@pytest.mark.parametrize("size", [2, 4], ids=["points", "boxes"])
@pytest.mark.parametrize("channels", [1, 8, 16, 20, 24, 32, 72])
def test_samples_of_any_number_of_channels(kernel: KernelLibrary, channels: int, size: int) -> None:
    attention = attention_of(channels, levels=3, points=4)
    inputs = sampling_inputs(attention, LEVELS[1:], size, images=3)
    assert_samples_agree(kernel, attention, LEVELS[1:], inputs)


@pytest.mark.parametrize("shapes", [((1, 1),), ((1, 9), (5, 1)), ((2, 3), (1, 2), (1, 1))])
def test_samples_of_levels_of_few_cells(kernel: KernelLibrary, shapes: SpatialShapes) -> None:
    attention = attention_of(16, len(shapes), points=5)
    assert_samples_agree(kernel, attention, shapes, sampling_inputs(attention, shapes, size=2))


@pytest.mark.parametrize("size", [2, 4], ids=["points", "boxes"])
def test_one_batch_of_references_serves_several_images(kernel: KernelLibrary, size: int) -> None:
    attention = attention_of(16, levels=4, points=4)
    inputs = sampling_inputs(attention, LEVELS, size, images=3, shared_references=True)
    assert len(inputs[1]) == 1
    assert_samples_agree(kernel, attention, LEVELS, inputs)


@pytest.mark.parametrize("channels", [16, 20, 32])
def test_samples_in_bfloat16_differ_by_the_rounding_of_the_result(
    kernel: KernelLibrary, channels: int
) -> None:
    attention = attention_of(channels, levels=4, points=4)
    query, references, value = sampling_inputs(attention, LEVELS, size=4)
    low = [tensor.bfloat16() for tensor in project(attention, query, value)]
    found, expected = (
        projected_deformable_attention(kernel, values, LEVELS, references, rows, attention.points)
        for values, rows in (low, [tensor.float() for tensor in low])
    )
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, **BFLOAT16_ROUNDING)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_number_of_threads_changes_no_sample(
    kernel: KernelLibrary, precision: torch.dtype
) -> None:
    attention = attention_of(32, levels=4, points=4)
    query, references, value = sampling_inputs(attention, LEVELS, size=2, images=3)
    values, rows = (tensor.to(precision) for tensor in project(attention, query, value))
    arguments = (values, LEVELS, references, rows, attention.points)
    together = projected_deformable_attention(kernel, *arguments)
    torch.set_num_threads(1)
    assert torch.equal(projected_deformable_attention(kernel, *arguments), together)


@pytest.mark.parametrize("size", [2, 4], ids=["points", "boxes"])
@pytest.mark.parametrize("bad", [1e9, -1e9, 3e38, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_places_far_outside_and_no_places_reach_no_cell(
    kernel: KernelLibrary, precision: torch.dtype, bad: float, size: int
) -> None:
    attention = attention_of(16, levels=4, points=4)
    query, references, value = sampling_inputs(attention, LEVELS, size, queries=5)
    values, rows = (tensor.to(precision) for tensor in project(attention, query, value))
    samples = attention.levels * attention.points
    offsets = rows[..., : attention.heads * samples * 2].view(2, 5, attention.heads, samples, 2)
    offsets[:, 1, :, ::2, 0] = bad  # every second sample of one query
    offsets[:, 2, :, :, 1] = bad  # every sample of another
    references[:, 3] = bad

    found = projected_deformable_attention(
        kernel, values, LEVELS, references, rows, attention.points
    )

    assert found.isfinite().all()
    assert not found[:, 2:4].any()
    assert found[:, [0, 1, 4]].abs().amax(-1).gt(0.01).all()
    offsets[:, 1, :, ::2, 0] = 1e6
    again = projected_deformable_attention(
        kernel, values, LEVELS, references, rows, attention.points
    )
    assert torch.equal(again[:, 1], found[:, 1])


def test_more_samples_than_there_is_room_for_are_refused(kernel: KernelLibrary) -> None:
    attention = attention_of(8, levels=4, points=16)
    assert_samples_agree(kernel, attention, LEVELS, sampling_inputs(attention, LEVELS, size=2))
    attention = attention_of(8, levels=4, points=17)
    query, references, value = sampling_inputs(attention, LEVELS, size=2)
    values, rows = project(attention, query, value)
    with pytest.raises(ValueError, match="4 levels with 17 points each are too many samples"):
        projected_deformable_attention(kernel, values, LEVELS, references, rows, attention.points)


# ---- Memory ----


@pytest.mark.parametrize("code_path", CODE_PATHS.values(), ids=CODE_PATHS)
def test_the_sanitizers_find_no_access_outside_and_nothing_undefined(
    tmp_path: Path, code_path: list[str]
) -> None:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    program, empty = tmp_path / "walk", tmp_path / "empty.cpp"
    # Unoptimised: nothing wrong is optimised away, and compiling takes longer than walking.
    flags = ["-std=c++17", "-O0", "-fsanitize=address,undefined,float-cast-overflow"]
    flags += ["-fno-sanitize-recover=all", "-Wno-psabi", "-o", str(program)]
    empty.write_text("int main() {}", encoding="utf-8")
    trial = subprocess.run([compiler, *flags, empty], capture_output=True, check=False)
    if trial.returncode or subprocess.run([program], capture_output=True, check=False).returncode:
        pytest.skip("the compiler has no sanitizers here")
    folder = Path(referdino_core.ops.__file__).parent / "csrc"
    sources = [*sorted(folder.glob("*.cpp")), *WALKS]
    command = [compiler, *flags, *code_path, "-I", str(folder), *map(str, sources)]
    subprocess.run(command, check=True, timeout=200)
    outcome = subprocess.run([program], capture_output=True, text=True, check=False, timeout=200)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert outcome.stdout == "walked, refusing 0 allocations\n"
