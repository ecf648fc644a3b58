# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""SOC on clips of any length and size, its classes, and what refuses it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import soc_golden
import torch
from soc_samples import SMALL, released_layout

import referdino_core as rd
from referdino_core.errors import CommandError, ImageError
from referdino_core.peers.soc import soc as soc_module
from referdino_core.peers.soc.checkpoint import released_name
from referdino_core.peers.soc.soc import SOC, Answer, choose_query
from referdino_core.training.soc_losses import SOCTargets, soc_losses

pytest.importorskip("transformers", reason="SOC's text encoder is that of transformers")

IDS = torch.tensor([0, 17, 42, 5, 2])


@pytest.fixture(scope="module")
def small() -> SOC:
    torch.manual_seed(0)
    return rd.build("soc_swint", **SMALL)


def pixels_of(count: int, height: int, width: int) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("count", "height", "width"),
    ((1, 32, 32), (1, 97, 131), (3, 60, 44), (8, 64, 96), (9, 70, 50), (17, 33, 65)),
)
def test_clips_of_any_length_and_size(small: SOC, count: int, height: int, width: int) -> None:
    clip = small.segment(pixels_of(count, height, width), IDS)
    assert clip.scores.shape == (count, 6)
    assert clip.boxes.shape == (count, 6, 4)
    assert clip.masks.shape == (count, 6, -(-height // 4), -(-width // 4))
    assert clip.chosen == int(clip.scores.sigmoid().mean(0).argmax())
    assert all(torch.isfinite(one).all() for one in (clip.scores, clip.boxes, clip.masks))


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        (torch.tensor([1, 1, 1]), "no tokens"),
        (torch.full((39,), 7), "has 39 tokens; the text encoder reads at most 38"),
        (torch.tensor([0, 300, 2]), "tokens 0 to 299, and not 300"),
    ],
)
def test_tokens_that_cannot_be_used_are_one_line(
    small: SOC, ids: torch.Tensor, reason: str
) -> None:
    with pytest.raises(CommandError, match=reason) as refused:
        small.segment(pixels_of(1, 32, 32), ids)
    assert "\n" not in str(refused.value)


def test_pixels_that_are_not_normalised_are_refused(small: SOC) -> None:
    with pytest.raises(ImageError, match="range from 255 to 255: normalise them"):
        small.segment(torch.full((2, 3, 64, 96), 255.0), IDS)


def test_only_frames_of_the_clip_are_evaluated(small: SOC) -> None:
    for frame in (-1, 2):
        with pytest.raises(ImageError, match=f"frames 0 to 1, not {frame}"):
            small.segment(pixels_of(2, 32, 32), IDS, only_frame=frame)


@pytest.mark.parametrize("answer", ["first", "last"])
def test_a_sentence_counts_without_its_padding(small: SOC, answer: Answer) -> None:
    pixels = pixels_of(2, 40, 72)
    alone = small.segment(pixels, IDS, answer)
    padded = torch.cat([IDS, torch.ones(6, dtype=torch.int64)])
    for ids in (padded, padded[None], padded.int()):
        clip = small.segment(pixels, ids, answer)
        torch.testing.assert_close(clip.masks, alone.masks, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(clip.scores, alone.scores, atol=1e-5, rtol=1e-4)
    longest = torch.cat([torch.tensor([0]), torch.full((36,), 7), torch.tensor([2])])
    assert torch.isfinite(small.segment(pixels, longest).masks).all()


def test_padding_of_a_batch_changes_no_sentence(small: SOC) -> None:
    ids = torch.tensor([[0, 9, 8, 7, 6, 5, 2], [0, 17, 42, 5, 2, 1, 1]])
    with torch.inference_mode():
        batch, alone = (
            small.text_encoder(ids, ids == 1),
            small.text_encoder(IDS[None], IDS[None] == 1),
        )
    torch.testing.assert_close(batch.sentence[1:], alone.sentence)
    torch.testing.assert_close(batch.tokens[1:, :5], alone.tokens)
    torch.testing.assert_close(batch.positions[1:, :5], alone.positions)


def test_clips_of_a_batch_do_not_mix(small: SOC) -> None:
    pixels = torch.stack([pixels_of(3, 64, 96), -pixels_of(3, 64, 96)])
    ids = torch.stack([IDS, IDS.flip(0)])
    with torch.inference_mode():
        batch = small.every_layer(small(pixels, ids))[-1]
        alone = small.every_layer(small(pixels[1:], ids[1:]))[-1]
    torch.testing.assert_close(batch.video_queries[1:], alone.video_queries, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(batch.masks[1:], alone.masks, atol=1e-4, rtol=1e-4)


def test_frames_at_once_change_nothing(small: SOC, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = pixels_of(5, 64, 96)
    few = small.segment(pixels, IDS)
    monkeypatch.setattr(soc_module, "FRAMES_AT_ONCE", 64)
    many = small.segment(pixels, IDS)
    torch.testing.assert_close(few.masks, many.masks, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(few.boxes, many.boxes, atol=1e-6, rtol=0)


def test_the_last_layer_answers_on_request(small: SOC) -> None:
    pixels = pixels_of(2, 64, 64)
    first, last = small.segment(pixels, IDS), small.segment(pixels, IDS, answer="last")
    assert not torch.allclose(first.boxes, last.boxes)
    with pytest.raises(rd.ReferDINOError, match="choose first or last"):
        small.segment(pixels, IDS, answer="best")  # type: ignore[arg-type]


def test_one_judged_frame_sees_the_others_through_the_backbone(small: SOC) -> None:
    pixels = pixels_of(8, 64, 64)
    clip = small.segment(pixels, IDS, only_frame=4)
    assert clip.masks.shape == (1, 6, 16, 16)
    changed = pixels.clone()
    changed[7] = 0
    assert not torch.equal(small.segment(changed, IDS, only_frame=4).masks, clip.masks)


def test_of_several_classes_the_best_one_scores_a_query() -> None:
    scores = torch.full((2, 3, 4), -9.0)
    scores[:, 0, 1] = torch.tensor([9.0, -9.0])
    scores[:, 1, 2] = torch.tensor([1.0, 1.0])
    scores[:, 2, 0], scores[:, 2, 3] = torch.tensor([9.0, -9.0]), torch.tensor([-9.0, 9.0])
    of_class, chosen = choose_query(scores)
    assert chosen == 1
    assert of_class[:, :2].tolist() == [[9.0, 1.0], [-9.0, 1.0]]


@pytest.mark.parametrize("size", ("tiny", "base"))
@pytest.mark.slow
def test_every_tensor_of_a_released_checkpoint_has_its_place(size: str) -> None:
    model = rd.build({"tiny": "soc_swint", "base": "soc_swinb"}[size])
    listed = {
        name: tuple(shape) for name, shape, kind, alias in soc_golden.listed(size) if not alias
    }
    ours = {released_name(name): tuple(t.shape) for name, t in model.state_dict().items()}
    unread = set(listed) - set(ours)
    assert all(one.endswith(("relative_position_index", "position_ids")) for one in unread)
    assert ours == {name: listed[name] for name in ours}
    parameters = {"tiny": 174_123_480, "base": 235_000_000}[size]
    count = sum(one.numel() for one in model.parameters())
    assert count == pytest.approx(parameters, rel=0 if size == "tiny" else 0.01)


def test_released_files_load_with_what_a_reader_skips(small: SOC, tmp_path: Path) -> None:
    path = tmp_path / "soc.pth"
    content = {"model_state_dict": released_layout(small), "epoch": 7, "optimizer_state_dict": {}}
    torch.save(content, path)
    for source in (path, content, content["model_state_dict"]):
        fresh = rd.build("soc_swint", **SMALL)
        rd.load_checkpoint(fresh, source)
        torch.testing.assert_close(dict(fresh.state_dict()), dict(small.state_dict()))


def test_weights_in_half_precision_are_converted(small: SOC) -> None:
    tensors = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in released_layout(small).items()
    }
    fresh = rd.build("soc_swint", **SMALL)
    rd.load_checkpoint(fresh, {"model_state_dict": tensors})
    expected = {name: tensor.half().float() for name, tensor in small.state_dict().items()}
    torch.testing.assert_close(dict(fresh.state_dict()), expected)
    assert small.segment(pixels_of(1, 32, 32), IDS).masks.dtype == torch.float32


def test_class_heads_take_the_classes_of_the_checkpoint(small: SOC) -> None:
    tensors = released_layout(small)
    for layer in range(3):
        tensors[f"class_embed.{layer}.weight"] = torch.randn(65, 64)
        tensors[f"class_embed.{layer}.bias"] = torch.randn(65)
    fresh = rd.build("soc_swint", **SMALL)
    rd.load_checkpoint(fresh, tensors)
    assert fresh.configuration.classes == 65
    clip = fresh.segment(pixels_of(2, 32, 32), IDS)
    assert clip.scores.shape == (2, 6)
    del tensors["class_embed.1.bias"]
    other = rd.build("soc_swint", **SMALL)
    with pytest.raises(rd.CheckpointError, match=r"1 missing \(class_embed.1.bias\)"):
        rd.load_checkpoint(other, tensors)
    assert other.configuration.classes == 1


def test_other_checkpoints_are_refused(small: SOC, tmp_path: Path) -> None:
    with pytest.raises(rd.CheckpointError, match="shares no tensor"):
        rd.load_checkpoint(small, {"something.else": torch.zeros(1)})
    wrong = released_layout(small) | {"query_embed.weight": torch.zeros(9, 64)}
    with pytest.raises(rd.CheckpointError, match=r"query_embed.weight is \(9, 64\)"):
        rd.load_checkpoint(small, wrong)
    further = released_layout(small) | {"voc.another.weight": torch.zeros(1)}
    with pytest.raises(rd.CheckpointError, match=r"1 unknown \(voc.another.weight\)"):
        rd.load_checkpoint(small, further)
    with pytest.raises(rd.CheckpointError, match="There is no checkpoint at"):
        rd.load_checkpoint(small, tmp_path / "missing.pth")
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(rd.CheckpointError, match="not a readable checkpoint"):
        rd.load_checkpoint(small, tmp_path / "cut.pth")
    path = tmp_path / "code.pth"
    torch.save({"model_state_dict": released_layout(small), "args": Path("x")}, path)
    with pytest.raises(rd.CheckpointError, match="code"):
        rd.load_checkpoint(small, path)


def test_every_parameter_learns_from_the_losses(small: SOC) -> None:
    draw = torch.Generator().manual_seed(0)
    masks = torch.rand(2, 3, 64, 96, generator=draw) > 0.5
    boxes = torch.rand(2, 3, 4, generator=draw) / 2 + 0.25
    targets = SOCTargets(masks, boxes, torch.ones(2, 3, dtype=torch.bool))
    pixels = torch.stack([pixels_of(3, 64, 96), -pixels_of(3, 64, 96)])
    features = small(pixels, torch.stack([IDS, IDS.flip(0)]))
    losses = soc_losses(small.every_layer(features), targets, small.sentence_of_clip(features))
    torch.stack([layer.weighted_sum() for layer in losses]).sum().backward()
    idle = {name for name, one in small.named_parameters() if one.grad is None}
    small.zero_grad()
    assert idle == set()


def test_without_transformers_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(rd.ReferDINOError, match=r"pip install .*peers") as refused:
        rd.build("soc_swint")
    assert "\n" not in str(refused.value)


def test_sessions_refuse_it_in_one_line(small: SOC, tmp_path: Path) -> None:
    path = tmp_path / "soc.pth"
    torch.save({"model_state_dict": released_layout(small)}, path)
    for given in ("soc_swint", "soc_swinb", small, path):
        with pytest.raises(rd.ReferDINOError, match="is not causal") as refused:
            rd.Session(given)  # type: ignore[arg-type]
        assert "\n" not in str(refused.value)
