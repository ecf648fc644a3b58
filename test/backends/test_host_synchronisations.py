# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""How often a session's step makes the host wait for the device, counted on a simulated GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch
from simulated_device import DEVICE, DeviceTensor, put_on_device, simulated_device, waits

import referdino_core as rd
from referdino_core.building import load_model
from referdino_core.evaluation.davis import region_similarity
from referdino_core.evaluation.recorded_scene import BUNDLED, load
from referdino_core.media.sources import open_source
from referdino_core.network.host_copies import download, upload
from referdino_core.network.pixels import _statistics

pytestmark = pytest.mark.usefixtures("one_thread")

FRAMES = 5


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    with open_source(str(load(BUNDLED).video)) as source:
        return [frame.image for frame in source][:FRAMES]


@pytest.fixture
def counts() -> Iterator[Counter[str]]:
    with simulated_device() as counted:
        yield counted
    _statistics.cache_clear()


def session_on_device() -> rd.Session:
    model = load_model("nano", "cpu")
    put_on_device(model)
    return rd.Session(model, runtime="torch")


def commands(count: int) -> dict[str, str]:
    texts = [one.text for one in load(BUNDLED).commands]
    return {str(n): texts[n % len(texts)] + "." * (n // len(texts)) for n in range(count)}


def counted_steps(
    step: Callable[[np.ndarray], object], images: Sequence[np.ndarray], counts: Counter[str]
) -> list[Counter[str]]:
    found = []
    for image in images:
        counts.clear()
        step(image)
        found.append(Counter(counts))
    return found


@pytest.mark.parametrize(("count", "most"), [(1, 2), (8, 3)])
def test_a_step_on_a_simulated_gpu_waits_twice_and_once_more_where_targets_change(
    count: int, most: int, images: list[np.ndarray], counts: Counter[str]
) -> None:
    session = session_on_device()
    session.commands = commands(count)
    found = counted_steps(session.step, images, counts)
    assert found[0]["downloads"] <= 2
    assert all(waits(one) <= most for one in found[1:])
    assert min(waits(one) for one in found[1:]) == 2
    assert all(one["reads"] == one["blocking uploads"] == 0 for one in found[1:])


def test_commands_that_select_all_and_windows_of_other_lengths_wait_no_more(
    images: list[np.ndarray], counts: Counter[str]
) -> None:
    session = session_on_device()
    session.command("the ball", select="all")
    session.step(images[0])
    session.commands = {**session.requests, "later": "the big cylinder"}
    lengths = {len(one.memory.window) for one in session.running.values()}
    assert lengths == {0, 1}
    assert all(waits(one) <= 3 for one in counted_steps(session.step, images[1:3], counts))


def test_several_cameras_in_one_batch_wait_as_often_as_one_unless_targets_change(
    images: list[np.ndarray], counts: Counter[str]
) -> None:
    group = rd.CameraGroup(session_on_device(), 3)
    for session in group.sessions:
        session.commands = commands(2)
    found = counted_steps(lambda image: group.step([image] * 3), images, counts)
    assert min(waits(one) for one in found[1:]) == 2
    assert max(waits(one) for one in found[1:]) <= 2 + len(group.sessions)
    assert all(one["reads"] == one["blocking uploads"] == 0 for one in found[1:])


@pytest.mark.slow
def test_a_simulated_gpu_gives_the_results_of_the_cpu(
    images: list[np.ndarray], counts: Counter[str]
) -> None:
    session, expected = session_on_device(), rd.Session("nano", runtime="torch", device="cpu")
    session.commands = expected.commands = commands(3)
    tracked = 0
    for image in images:
        for target, wanted in zip(session.step(image), expected.step(image), strict=True):
            assert (target.state, target.track_id) == (wanted.state, wanted.track_id)
            assert target.score == pytest.approx(wanted.score, abs=1e-3)
            assert region_similarity(target.mask, wanted.mask) > 0.98
            tracked += bool(target.mask.any())
    assert tracked >= len(images)


def test_a_prediction_that_is_not_finite_is_reported_from_a_simulated_gpu(
    images: list[np.ndarray], counts: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_on_device()
    session.command("the big cylinder")
    session.step(images[0])
    backend = session.backend
    spoilt = backend.ground

    def ground(*inputs):  # type: ignore[no-untyped-def]
        grounding = spoilt(*inputs)
        grounding.queries[:, 0] = torch.nan
        return grounding

    with monkeypatch.context() as patch:
        patch.setattr(backend, "ground", ground)
        with pytest.raises(rd.InferenceError, match="not finite"):
            session.step(images[1])
    assert session.step(images[2])[0].mask.any()


# ---- The simulation itself ----


def test_the_simulation_counts_what_a_gpu_would_wait_for(counts: Counter[str]) -> None:
    values = DeviceTensor(torch.arange(4.0))
    for read in (
        lambda: values.cpu(),
        lambda: values.max().item(),
        lambda: bool((values > 1).any()),
        lambda: values.nonzero(),
        lambda: values[values > 1],
        lambda: values.to("cpu"),
        lambda: torch.zeros(4).copy_(values),
        lambda: values[torch.tensor([1, 2])],
        lambda: torch.tensor([1.0, 2.0], device=DEVICE),
        lambda: torch.ones(3).to(DEVICE),
    ):
        counts.clear()
        with torch.inference_mode():
            read()
        assert waits(counts) == 1
    counts.clear()
    with torch.inference_mode():
        other = upload(torch.ones(4), DEVICE) + values.clamp(0, 2) * 3
        assert waits(counts) == 0 and counts["uploads"] == 1
        both = download(other, values[:2])
    assert waits(counts) == 1
    assert [one.tolist() for one in both] == [[1.0, 4.0, 7.0, 7.0], [0.0, 1.0]]
    with pytest.raises(RuntimeError, match="mixed"):
        values + torch.ones(4)
