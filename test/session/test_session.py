# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Sessions: commands, sharing of work, resets, and bad input, on a small network."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from session_samples import HEIGHT, OPEN_GATES, WIDTH, small_model, steady_images

import referdino_core as rd
from referdino_core.network.text_encoder import stack_texts

EVERYTHING = rd.SessionSettings(accept=0.0, keep=0.0, switch_margin=1.0, **OPEN_GATES)


@pytest.fixture(scope="module")
def model() -> rd.ReferDINO:
    return small_model()


@pytest.fixture
def images() -> list[np.ndarray]:
    return steady_images(6)


def session_of(model: rd.ReferDINO, **settings: float) -> rd.Session:
    return rd.Session(model, settings=rd.SessionSettings(**settings) if settings else EVERYTHING)


def count_calls(monkeypatch: pytest.MonkeyPatch, stages: object, name: str) -> list[int]:
    calls: list[int] = []
    stage = getattr(stages, name)

    def counted(*inputs: object, **named: object) -> object:
        calls.append(1)
        return stage(*inputs, **named)

    monkeypatch.setattr(stages, name, counted)
    return calls


def test_a_target_has_every_promised_field(model: rd.ReferDINO, images: list[np.ndarray]) -> None:
    session = session_of(model)
    session.command("the red ball")
    (target,) = session.step(images[0], stamp=5.0)
    assert (target.command, target.track_id) == ("the red ball", 1)
    assert target.state is rd.TargetState.TRACKING
    assert 0 <= target.score <= 1 and 0 <= target.frame_score <= 1
    assert target.mask.shape == (HEIGHT, WIDTH) and target.mask.dtype == bool
    assert target.predicted_box is not None
    left, top, right, bottom = target.predicted_box
    assert 0 <= left <= right <= WIDTH and 0 <= top <= bottom <= HEIGHT
    assert target.judgement is rd.Judgement.JUDGED


def test_the_box_is_the_mask_s_own(model: rd.ReferDINO, images: list[np.ndarray]) -> None:
    session = session_of(model, accept=0.0, keep=0.0, mask_threshold=0.4, **OPEN_GATES)
    session.command("the red ball")
    seen = 0
    for image in images:
        (target,) = session.step(image)
        if target.box is None:
            assert not target.mask.any()
            continue
        seen += 1
        left, top, right, bottom = (int(side) for side in target.box)
        assert target.mask[top:bottom, left:right].sum() == target.mask.sum()
        assert target.mask[top].any() and target.mask[bottom - 1].any()
        assert target.mask[:, left].any() and target.mask[:, right - 1].any()
    assert seen


def test_without_commands_nothing_is_computed(
    model: rd.ReferDINO, images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(model)
    calls = count_calls(monkeypatch, session.backend, "encode_image")
    assert session.step(images[0]) == ()
    assert not calls


def test_image_encoder_runs_once_per_frame_and_text_encoder_once_per_command(
    model: rd.ReferDINO, images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(model)
    image_calls = count_calls(monkeypatch, session.backend, "encode_image")
    text_calls = count_calls(monkeypatch, session.backend, "encode_text")
    session.commands = {str(n): f"the {word} ball" for n, word in enumerate(("red", "blue", "a"))}
    for image in images:
        assert len(session.step(image)) == 3
    assert (len(image_calls), len(text_calls)) == (len(images), 3)


def test_commands_together_give_the_results_of_each_alone(
    model: rd.ReferDINO, images: list[np.ndarray]
) -> None:
    sentences = {
        "short": "the ball",
        "long": "the small red box in front of the big green cylinder",
    }
    together = session_of(model)
    together.commands = sentences
    alone = {}
    for key, sentence in sentences.items():
        alone[key] = session_of(model)
        alone[key].command(sentence)
    for image in images:
        for target in together.step(image):
            (expected,) = alone[target.command_id].step(image)
            assert target.score == pytest.approx(expected.score, abs=1e-4)
            assert target.predicted_box == pytest.approx(expected.predicted_box, abs=0.05)
            assert (target.mask != expected.mask).mean() < 0.01


def test_changing_one_command_leaves_the_others_memories_alone(
    model: rd.ReferDINO, images: list[np.ndarray]
) -> None:
    session, undisturbed = session_of(model), session_of(model)
    session.commands = {"kept": "the red ball", "changed": "the box"}
    undisturbed.command("the red ball")
    for image in images[:3]:
        session.step(image)
        undisturbed.step(image)
    session.commands = {"kept": "the red ball", "changed": "the cylinder", "new": "the capsule"}
    targets = {target.command_id: target for target in session.step(images[3])}
    (expected,) = undisturbed.step(images[3])
    assert targets["kept"].score == pytest.approx(expected.score, abs=1e-4)
    assert targets["kept"].track_id == 1
    assert targets["changed"].command == "the cylinder"
    assert targets["changed"].track_id not in (1, 2)
    assert [len(command.memory.window) for command in session.running.values()] == [4, 1, 1]


def test_an_empty_command_clears(model: rd.ReferDINO, images: list[np.ndarray]) -> None:
    session = session_of(model)
    session.command("the red ball")
    session.command("  ")
    assert session.commands == {}
    assert session.step(images[0]) == ()


def test_an_unpicked_target_has_an_empty_mask(
    model: rd.ReferDINO, images: list[np.ndarray]
) -> None:
    session = session_of(model, accept=1.0, keep=1.0)
    session.command("the red ball")
    (target,) = session.step(images[0])
    assert (target.state, target.track_id, target.box) == (rd.TargetState.SEARCHING, 0, None)
    assert not target.mask.any()


def test_a_lost_target_never_shows_its_last_mask(
    model: rd.ReferDINO, images: list[np.ndarray]
) -> None:
    session = session_of(model)
    session.command("the red ball")
    for _ in range(7):
        session.step(images[0])
    session.settings = rd.SessionSettings(accept=1.0, keep=1.0, hold=0.15, **OPEN_GATES)
    session.step(images[1])
    states = []
    for image in images[2:5]:
        (target,) = session.step(image)
        states.append(target.state)
        assert not target.mask.any() and target.box is None and target.predicted_box is None
    assert states == [rd.TargetState.OCCLUDED, rd.TargetState.LOST, rd.TargetState.LOST]


def test_only_seen_targets_cost_a_mask(
    model: rd.ReferDINO, images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    import referdino_core.session.prediction as module

    decoded: list[int] = []
    decode = module.decode_masks
    monkeypatch.setattr(
        module, "decode_masks", lambda *inputs: (decoded.append(1), decode(*inputs))[1]
    )
    session = session_of(model, accept=1.0, keep=1.0)
    session.command("the red ball")
    session.step(images[0])
    assert not decoded
    session.settings = EVERYTHING
    session.step(images[1])
    assert len(decoded) == 1


@pytest.mark.parametrize(
    ("stamps", "reason"),
    [((10.0, 8.0), "jumped back by 2.00 s"), ((10.0, 16.0), "gap of 6.00 s")],
)
def test_a_gap_in_time_resets_with_a_warning(
    model: rd.ReferDINO,
    images: list[np.ndarray],
    stamps: tuple[float, float],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    session = session_of(model)
    session.command("the red ball")
    session.step(images[0], stamps[0])
    with caplog.at_level(logging.WARNING, logger="referdino"):
        (target,) = session.step(images[1], stamps[1])
    assert session.last_reset is not None and reason in session.last_reset
    assert reason in caplog.text
    assert target.track_id == 2
    assert len(session.running["command"].memory.window) == 1


def test_consecutive_resets_are_counted_and_logged_once(
    model: rd.ReferDINO, images: list[np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    session = session_of(model)
    session.command("the red ball")
    with caplog.at_level(logging.WARNING, logger="referdino"):
        for stamp in (10.0, 8.0, 6.5, 4.0):
            session.step(images[0], stamp)
    assert (session.reset_count, caplog.text.count("Memories were reset")) == (3, 1)
    assert session.first_reset is not None and "2.00 s" in session.first_reset
    session.restore(session.snapshot())
    assert session.reset_count == 3


def test_another_image_size_resets_and_goes_on(
    model: rd.ReferDINO, images: list[np.ndarray]
) -> None:
    session = session_of(model)
    session.command("the red ball")
    session.step(images[0])
    (target,) = session.step(np.repeat(np.repeat(images[1], 2, axis=0), 2, axis=1))
    assert target.mask.shape == (2 * HEIGHT, 2 * WIDTH)
    assert session.last_reset == f"the image size changed from {WIDTH}x{HEIGHT} to 256x192"


def test_the_window_bounds_what_is_remembered(
    model: rd.ReferDINO, images: list[np.ndarray]
) -> None:
    session = rd.Session(model, window=3, settings=EVERYTHING)
    session.command("the red ball")
    for image in images:
        session.step(image)
    assert len(session.running["command"].memory.window) == 3


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (None, "NumPy array"),
        (np.zeros((4, 4), np.uint8), "uint8 RGB"),
        (np.zeros((4, 4, 4), np.uint8), "uint8 RGB"),
        (np.zeros((4, 4, 3), np.float32), "uint8 RGB"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
    ],
)
def test_a_bad_image_is_one_error_and_the_next_is_answered(
    model: rd.ReferDINO, images: list[np.ndarray], image: np.ndarray, complaint: str
) -> None:
    session = session_of(model)
    session.command("the red ball")
    session.step(images[0])
    with pytest.raises(rd.ImageError, match=complaint):
        session.step(image)
    (target,) = session.step(images[1])
    assert target.track_id == 1


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 200, 3), (200, 3, 3), (97, 131, 3)])
def test_odd_image_sizes_are_answered_in_their_own_size(
    model: rd.ReferDINO, shape: tuple[int, int, int]
) -> None:
    session = session_of(model)
    session.command("the red ball")
    (target,) = session.step(np.full(shape, 127, np.uint8))
    assert target.mask.shape == shape[:2]


@pytest.mark.parametrize(
    ("sentence", "complaint"),
    [
        ("...", "empty"),
        ("ball " * 20_000, "characters"),
        ("ball " * 300, "tokens"),
        (b"the red ball", "text"),
        (7, "text"),
        ("the \x00 ball", "control"),
    ],
)
def test_a_bad_command_is_one_error_and_what_runs_goes_on(
    model: rd.ReferDINO, images: list[np.ndarray], sentence: str, complaint: str
) -> None:
    session = session_of(model)
    session.command("the red ball")
    session.step(images[0])
    with pytest.raises(rd.CommandError, match=complaint):
        session.command(sentence)
    (target,) = session.step(images[1])
    assert (target.command, target.track_id) == ("the red ball", 1)


def test_ids_must_not_be_empty(model: rd.ReferDINO) -> None:
    with pytest.raises(rd.CommandError, match="id"):
        session_of(model).commands = {"": "the red ball"}


def test_unknown_words_are_named(model: rd.ReferDINO, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="referdino"):
        session_of(model).command("the red mug")
    assert "lacks: mug" in caplog.text


def test_an_unknown_model_names_those_there_are() -> None:
    with pytest.raises(rd.ReferDINOError, match="swint, swinb, nano"):
        rd.Session("giant")


def test_an_unusable_device_is_named(model: rd.ReferDINO) -> None:
    with pytest.raises(rd.ReferDINOError, match="'warp'"):
        rd.Session(model, device="warp")


@torch.no_grad()
def test_padding_a_sentence_changes_nothing(model: rd.ReferDINO) -> None:
    session = session_of(model)
    short, long = (
        model.text_encoder([session.tokenizer.encode(text)])
        for text in ("the ball", "the small red box in front of the big green cylinder")
    )
    image = model.image_encoder(torch.randn(1, 3, HEIGHT, WIDTH))
    padded = model.grounder(image.repeat_interleave(2), stack_texts([short, long]))
    plain = model.grounder(image, short)
    torch.testing.assert_close(padded.queries[:1], plain.queries, atol=1e-4, rtol=0)
    torch.testing.assert_close(padded.references[:1], plain.references, atol=1e-5, rtol=0)


@torch.no_grad()
def test_only_a_time_embedding_sees_the_order_of_time() -> None:
    torch.manual_seed(0)
    frames = torch.randn(4, 3, 96, 128)
    ids = torch.tensor([2, 10, 11, 4, 3])
    for time_embedding in (False, True):
        network = rd.build("nano", num_queries=20, keep_ratio=1.0, time_embedding=time_embedding)
        queries, sentence = torch.randn(1, 4, 20, 128), torch.randn(1, 4, 128)
        ages, references = torch.tensor([[0.3, 0.2, 0.1, 0.0]]), torch.rand(1, 4, 20, 4)
        decoder = network.readout.temporal_decoder
        forwards = decoder(queries, sentence, ages, references)
        reverse = (queries.flip(1), sentence.flip(1), ages, references.flip(1))
        backwards = decoder(*reverse).flip(1)
        blind = torch.allclose(forwards, backwards, atol=1e-5)
        assert blind is not time_embedding
        assert network.segment(frames, ids).scores.shape == (4, 20)


@pytest.mark.parametrize(
    "values",
    [
        {"accept": 1.5},
        {"keep": 0.9, "accept": 0.5},
        {"window": 0},
        {"hold": -1.0},
        {"take_up_share": 0.0},
        {"same_appearance": -1.5},
        {"max_lateness": float("nan")},
        {"select": "some"},
        {"memory": "none"},
    ],
)
def test_settings_out_of_range_are_named(values: dict[str, float]) -> None:
    with pytest.raises(rd.ReferDINOError, match=next(iter(values))):
        rd.SessionSettings(**values)  # type: ignore[arg-type]
