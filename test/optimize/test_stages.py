# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Prepared stages against the plain network, and prepared blocks against those they replace."""

from __future__ import annotations

import copy
from dataclasses import fields
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from inference_cases import (
    ANY_PROCESSOR,
    GOLDENS,
    Case,
    case_of,
    ground,
    prepare_by,
    pretend,
    read,
)
from torch import Tensor, nn

from referdino_core.network.decoder import Decoder
from referdino_core.network.deformable_attention import DeformableAttention
from referdino_core.network.fusion_encoder import BidirectionalAttention, FusionEncoder
from referdino_core.network.grounder import Grounder
from referdino_core.network.image_encoder import ImageEncoder
from referdino_core.network.layers import FeedForward, ResidualNorm
from referdino_core.network.mask_decoder import MaskDecoder, MaskFeatures
from referdino_core.network.object_memory import Window
from referdino_core.network.pixel_decoder import PixelDecoder
from referdino_core.network.position_encoding import BoxEmbedding, SineEmbedding
from referdino_core.network.query_selection import QuerySelection
from referdino_core.network.readout import Readout
from referdino_core.network.swin_transformer import FeedForward as SwinFeedForward
from referdino_core.network.swin_transformer import PatchEmbedding, PatchMerging, SwinTransformer
from referdino_core.network.temporal_decoder import TemporalDecoder, TimeEmbedding
from referdino_core.network.text_encoder import TextFeatures, stack_texts
from referdino_core.network.token_similarity import TokenSimilarity
from referdino_core.ops.library import KernelLibrary
from referdino_core.ops.linear import Activation, PackedLinear, can_pack
from referdino_core.optimize.deformable_attention import KernelDeformableAttention
from referdino_core.optimize.folded_fusion import (
    FoldedBidirectionalAttention,
    KernelFusionLayer,
)
from referdino_core.optimize.optimization import OptimizedStages, optimize
from referdino_core.optimize.swin_stage import CachedSwinStage, KernelSwinStage
from referdino_core.optimize.transformer_layers import blockwise, blockwise_swin

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "without_gradients")]

FEATURE_TOLERANCE = 5e-5
# nano's queries of pixel noise: float32 is 2.9e-5 off float64 in PyTorch, 3.3e-5 in the kernels.
QUERY_TOLERANCE = 1e-4
BOX_TOLERANCE = 5e-6
BLOCK_TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
# Half a unit in the last of bfloat16's eight places, and what float32 sums may differ by.
BFLOAT16_ROUNDING = {"rtol": 2.0**-8 * 1.01, "atol": 1e-6}
CASES = ("nano", *GOLDENS)
WITHOUT_KERNELS = {
    "nano": "no kernels",
    GOLDENS[0]: "a simulated CUDA kernel",
    GOLDENS[1]: "no kernels",
    GOLDENS[2]: "a simulated CUDA kernel",
}
"""One route for each: the kernels' code depends on a network's sizes, PyTorch's does not."""


@pytest.fixture(scope="module", params=CASES)
def case_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def case(case_name: str) -> Case:
    return case_of(case_name)


@pytest.fixture(scope="module")
def prepared(case: Case) -> dict[str, OptimizedStages]:
    """The stages of a case by route: preparing large networks takes long."""
    return {}


@pytest.fixture(params=("CPU kernels", ANY_PROCESSOR, "without kernels"))
def stages(
    case: Case,
    case_name: str,
    prepared: dict[str, OptimizedStages],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> OptimizedStages:
    route = WITHOUT_KERNELS[case_name] if request.param == "without kernels" else request.param
    if route not in prepared:
        prepared[route] = prepare_by(route, case.model, case.size, torch.float32, monkeypatch)
    pretend(route, monkeypatch)
    return prepared[route]


def assert_close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)


def assert_grounds_as_the_network(
    stages: OptimizedStages, case: Case, frame: int, text: TextFeatures, rows: list[int]
) -> None:
    """Row by row as the plain network grounds the case's sentences `rows`, each by itself."""
    found = ground(stages, stages.image(case.pixels[frame : frame + 1]), text)
    for place, row in enumerate(rows):
        expected = case.groundings[frame][row]
        queries, references, fused_text, masks = (part[place : place + 1] for part in found)
        assert_close(queries, expected.queries, QUERY_TOLERANCE)
        assert_close(references, expected.references, BOX_TOLERANCE)
        length = expected.text.shape[1]
        assert_close(fused_text[:, :length], expected.text, FEATURE_TOLERANCE)
        assert_close(masks, expected.masks.features, FEATURE_TOLERANCE)


# ---- Stages ----


def test_the_image_stage_is_the_image_encoder(stages: OptimizedStages, case: Case) -> None:
    for frame, expected in enumerate(case.images):
        tokens, finest = stages.image(case.pixels[frame : frame + 1])
        assert_close(tokens, expected.tokens, FEATURE_TOLERANCE)
        assert_close(finest, expected.finest, FEATURE_TOLERANCE)


def test_the_grounding_stage_is_the_grounder(stages: OptimizedStages, case: Case) -> None:
    for row, text in enumerate(case.texts):
        assert_grounds_as_the_network(stages, case, 0, text, [row])


def test_one_image_for_three_commands_is_three_single_runs(
    stages: OptimizedStages, case: Case
) -> None:
    together = stack_texts(case.texts)
    assert together.padding.any()
    assert_grounds_as_the_network(stages, case, 0, together, [0, 1, 2])


def test_padded_text_is_grounded_as_unpadded(stages: OptimizedStages, case: Case) -> None:
    length, width = 32, case.texts[0].tokens.shape[-1]
    filler = TextFeatures(
        tokens=torch.full((1, length, width), 7.0),
        padding=torch.ones(1, length, dtype=torch.bool),
        attention=torch.eye(length, dtype=torch.bool)[None],
        positions=torch.zeros(1, length, dtype=torch.int64),
    )
    padded = stack_texts([case.texts[1], filler])
    first = [getattr(padded, entry.name)[:1] for entry in fields(TextFeatures)]
    assert first[0].shape[1] == length
    assert_grounds_as_the_network(stages, case, 0, TextFeatures(*first), [1])


def test_the_readout_stage_is_the_readout(stages: OptimizedStages, case: Case) -> None:
    scores, boxes, embeddings = read(stages, case.window, case.masks)
    assert scores.shape[:2] == (3, 2)
    assert_close(scores, case.readings.scores, FEATURE_TOLERANCE)
    assert_close(boxes, case.readings.boxes, BOX_TOLERANCE)
    assert_close(embeddings, case.readings.mask_embeddings, FEATURE_TOLERANCE)


def test_the_cpu_kernels_answer_the_same_on_one_thread_and_on_two(
    case: Case, prepared: dict[str, OptimizedStages]
) -> None:
    if "CPU kernels" not in prepared:
        prepared["CPU kernels"] = optimize(case.model, case.size, torch.float32)
    stages = prepared["CPU kernels"]
    text = stack_texts(case.texts)
    answers = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        image = stages.image(case.pixels[:1])
        answers.append([*image, *ground(stages, image, text)])
        answers[-1] += read(stages, case.window, case.masks)
    assert all(torch.equal(one, two) for one, two in zip(*answers, strict=True))


def count_calls(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> list[int]:
    calls: list[int] = []
    method = getattr(owner, name)

    def counted(self: Any, *inputs: Any) -> Any:
        calls.append(1)
        return method(self, *inputs)

    monkeypatch.setattr(owner, name, counted)
    return calls


def test_a_readout_of_few_slots_samples_first_and_of_many_projects_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = case_of("nano")
    stages = optimize(case.model, case.size, torch.float32)
    sampled_first = count_calls(monkeypatch, KernelDeformableAttention, "sample_first")
    read(stages, case.window, case.masks)
    assert not sampled_first
    w = case.window
    few = Window(w.queries[:, :, :3], w.references[:, :, :3], w.text, w.text_padding, w.ages)
    _, _, embeddings = read(stages, few, case.masks)
    assert len(sampled_first) == case.model.configuration.mask_layers
    expected = case.model.readout(few, MaskFeatures(case.masks, None, torch.ones(1, 2)))
    assert_close(embeddings, expected.mask_embeddings, FEATURE_TOLERANCE)


CONTAINERS = (
    Decoder,
    FusionEncoder,
    Grounder,
    ImageEncoder,
    MaskDecoder,
    PatchMerging,
    QuerySelection,
    Readout,
    SwinTransformer,
    TemporalDecoder,
    TimeEmbedding,
    BoxEmbedding,
    PatchEmbedding,
    PixelDecoder,
    ResidualNorm,
    SineEmbedding,
    TokenSimilarity,
    nn.Embedding,
    nn.LayerNorm,
    nn.ModuleList,
    nn.Sequential,
)
"""What optimization leaves of the network and of PyTorch: it holds blocks, or calls operators."""


OURS = ("referdino_core.optimize", "referdino_core.ops")


def kinds_of(stages: OptimizedStages) -> set[type[nn.Module]]:
    parts = (stages.image, stages.grounding, stages.readout)
    return {type(block) for part in parts for block in part.modules()}


def test_every_route_exchanges_the_blocks_that_it_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    case = case_of("nano")
    wanted = {
        "CPU kernels": {KernelFusionLayer, KernelSwinStage},
        "no kernels": {CachedSwinStage, DeformableAttention, FoldedBidirectionalAttention},
        "a simulated CUDA kernel": {
            CachedSwinStage,
            DeformableAttention,
            FoldedBidirectionalAttention,
        },
    }
    kinds = set.union(*wanted.values())
    for route, expected in wanted.items():
        found = kinds_of(prepare_by(route, case.model, case.size, torch.float32, monkeypatch))
        assert found & kinds == expected
        assert BidirectionalAttention not in found


def test_float32_on_the_cpu_leaves_no_plain_block() -> None:
    case = case_of("nano")
    stages = optimize(case.model, case.size, torch.float32)
    # The patch embedding multiplies its convolution's weights itself.
    stages.image.encoder.backbone.patch_embed.proj = nn.Sequential()
    plain = {kind for kind in kinds_of(stages) if not kind.__module__.startswith(OURS)}
    assert plain <= set(CONTAINERS)


def test_without_the_kernel_windows_are_made_on_the_device_of_the_weights() -> None:
    # A GPU is not at hand; "meta" is another device than the CPU, too.
    stage = copy.deepcopy(case_of("nano").model.image_encoder.backbone.layers[0]).to("meta")
    prepared = CachedSwinStage(stage, 30, 40)
    assert {weight.device.type for weight in prepared.parameters()} == {"meta"}
    assert prepared(torch.empty(1, 30, 40, 32, device="meta"))[0].shape == (1, 30, 40, 32)


# ---- Blocks ----


def randomise(block: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for weight in block.parameters():
        scale = weight.shape[1] ** -0.5 if weight.dim() == 2 else 1.0
        weight.copy_(torch.randn(weight.shape, generator=generator) * scale)


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("heads", [1, 4])
def test_folded_attention_is_bidirectional_attention(heads: int, images: int) -> None:
    attention = BidirectionalAttention(48, 64, heads)
    randomise(attention, seed=heads)
    generator = torch.Generator().manual_seed(images)
    image = torch.randn(images, 200, 48, generator=generator)
    text = torch.randn(3, 9, 48, generator=generator)
    padding = torch.arange(9) >= torch.tensor([[9], [5], [1]])
    judge = copy.deepcopy(attention).double()
    expected = judge(image.double(), text.double(), None, padding)
    found = FoldedBidirectionalAttention(attention)(image, text, None, padding)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other.expand_as(one), **BLOCK_TOLERANCE)


@pytest.mark.parametrize("size", [2, 4], ids=["points", "boxes"])
@pytest.mark.parametrize(("queries", "samples_first"), [(1, True), (4, True), (5, False)])
def test_deformable_attention_in_either_order_is_the_network_s(
    kernel: KernelLibrary,
    monkeypatch: pytest.MonkeyPatch,
    queries: int,
    samples_first: bool,
    size: int,
) -> None:
    shapes = ((24, 30), (12, 15))  # 900 cells; a query reads 2 heads x 2 levels x 12 points x 4
    attention = DeformableAttention(48, heads=2, levels=2, points=12)
    randomise(attention, seed=0)
    generator = torch.Generator().manual_seed(queries)
    query = torch.randn(3, queries, 48, generator=generator)
    references = torch.rand(3, queries, 2, size, generator=generator) * 1.4 - 0.2
    value = torch.randn(3, 900, 48, generator=generator)
    calls = count_calls(monkeypatch, KernelDeformableAttention, "sample_first")
    optimized = KernelDeformableAttention(attention, kernel)
    found = optimized(query, references, value, shapes)
    assert bool(calls) == samples_first
    judge = copy.deepcopy(attention).double()
    expected = judge(query.double(), references.double(), value.double(), shapes)
    torch.testing.assert_close(found.double(), expected, **BLOCK_TOLERANCE)
    one_for_all = optimized(query, references[:1], value, shapes)
    same = optimized(query, references[:1].expand(3, -1, -1, -1), value, shapes)
    assert torch.equal(one_for_all, same)


@pytest.mark.skipif(not can_pack(), reason="this PyTorch has no packed linear layers")
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize(
    ("activation", "function"),
    [("none", lambda x: x), ("relu", F.relu), ("gelu", F.gelu)],
    ids=["none", "relu", "gelu"],
)
def test_a_packed_layer_differs_by_the_rounding_of_the_result(
    activation: Activation, function: Any, bias: bool
) -> None:
    layer = nn.Linear(96, 40, bias=bias)
    randomise(layer, seed=1)
    packed = PackedLinear(layer, activation)
    for shape in ((7, 96), (2, 33, 96), (1, 1, 1, 96)):
        inputs = torch.randn(shape, generator=torch.Generator().manual_seed(len(shape))).bfloat16()
        low = copy.deepcopy(layer).bfloat16().double()
        expected = function(low(inputs.double())).float()
        found = packed(inputs)
        assert found.dtype == torch.bfloat16 and found.shape == expected.shape
        # GELU's own formula is good to some 1e-6 of what comes in.
        torch.testing.assert_close(
            found.float(), expected, rtol=BFLOAT16_ROUNDING["rtol"], atol=1e-5
        )


FEED_FORWARD = pytest.mark.parametrize(
    ("block", "make"),
    [(FeedForward(64, 128), blockwise), (SwinFeedForward(64), blockwise_swin)],
    ids=["transformer", "swin"],
)


@FEED_FORWARD
def test_a_feed_forward_network_in_blocks_of_tokens_is_the_plain_one(
    block: nn.Module, make: Any
) -> None:
    randomise(block, seed=2)
    inputs = torch.randn(5, 50, 64, generator=torch.Generator().manual_seed(3))
    before = inputs.clone()
    expected = copy.deepcopy(block).double()(inputs.double())
    prepared = make(block)
    added = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(4))
    for tokens in (prepared.tokens_at_once, 250, 100, 7, 1):
        prepared.tokens_at_once = tokens
        torch.testing.assert_close(prepared(inputs).double(), expected, **BLOCK_TOLERANCE)
        found = prepared(inputs, added).double()
        torch.testing.assert_close(found, expected + added.double(), **BLOCK_TOLERANCE)
    assert torch.equal(inputs, before)


@FEED_FORWARD
def test_a_feed_forward_network_in_bfloat16_is_as_exact_as_the_plain_one(
    block: nn.Module, make: Any
) -> None:
    randomise(block, seed=2)
    inputs = torch.randn(5, 50, 64, generator=torch.Generator().manual_seed(3)).bfloat16()
    low = copy.deepcopy(block).bfloat16()
    exact = copy.deepcopy(low).double()(inputs.double())
    plain = (low(inputs).double() - exact).abs().mean()
    prepared = make(low)
    for tokens in (prepared.tokens_at_once, 7):
        prepared.tokens_at_once = tokens
        found = prepared(inputs)
        assert found.dtype == torch.bfloat16
        assert 0 < (found.double() - exact).abs().mean() < 1.05 * plain
