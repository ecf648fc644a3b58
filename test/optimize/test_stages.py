# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Prepared stages against the plain network."""

from __future__ import annotations

import copy
from dataclasses import fields

import pytest
import torch
from inference_cases import (
    ANY_PROCESSOR,
    GOLDENS,
    Case,
    case_of,
    count_calls,
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
from referdino_core.network.layers import ResidualNorm
from referdino_core.network.mask_decoder import MaskDecoder, MaskFeatures
from referdino_core.network.object_memory import Window
from referdino_core.network.pixel_decoder import PixelDecoder
from referdino_core.network.position_encoding import BoxEmbedding, SineEmbedding
from referdino_core.network.query_selection import QuerySelection
from referdino_core.network.readout import Readout
from referdino_core.network.swin_transformer import PatchEmbedding, PatchMerging, SwinTransformer
from referdino_core.network.temporal_decoder import TemporalDecoder, TimeEmbedding
from referdino_core.network.text_encoder import TextFeatures, stack_texts
from referdino_core.network.token_similarity import TokenSimilarity
from referdino_core.optimize.deformable_attention import KernelDeformableAttention
from referdino_core.optimize.folded_fusion import (
    FoldedBidirectionalAttention,
    KernelFusionLayer,
)
from referdino_core.optimize.optimization import OptimizedStages, optimize
from referdino_core.optimize.swin_stage import CachedSwinStage, KernelSwinStage

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "without_gradients")]

FEATURE_TOLERANCE = 5e-5
# nano's queries of pixel noise: float32 is 2.9e-5 off float64 in PyTorch, 3.3e-5 in the kernels.
NANO_QUERY_TOLERANCE = 1e-4
BOX_TOLERANCE = 5e-6
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
        is_nano = case.model.configuration.name == "nano"
        tolerance = NANO_QUERY_TOLERANCE if is_nano else FEATURE_TOLERANCE
        assert_close(queries, expected.queries, tolerance)
        assert_close(references, expected.references, BOX_TOLERANCE)
        length = expected.text.shape[1]
        assert_close(fused_text[:, :length], expected.text, FEATURE_TOLERANCE)
        assert_close(masks, expected.masks.features, FEATURE_TOLERANCE)


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
