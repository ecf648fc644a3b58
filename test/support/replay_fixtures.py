# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests of whole runs, which name this module in `pytest_plugins`."""

from __future__ import annotations

import pytest
from bag_samples import PERIOD, TRUTH_TOPIC, scene, text, write_bag
from replay_cases import BALL, COUNT, MEANINGS, SPHERE

from referdino_core.replay.opening import ReplayJob
from referdino_core.replay.run import replay
from referdino_core.replay.run_folder import RunFolder
from referdino_core.session.model_choice import LoadedModel, ModelChoice, load


@pytest.fixture(scope="session")
def loaded() -> LoadedModel:
    """The bundled model."""
    return load(ModelChoice())


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> ReplayJob:
    """To replay the recorded scene; the first command comes before the first image."""
    folder = tmp_path_factory.mktemp("scene")
    commands = [text(BALL, -PERIOD), text(SPHERE, 12 * PERIOD + 1)]
    bag = write_bag(folder / "bag", [*scene(COUNT, with_truth=True), *commands])
    return ReplayJob(bag, folder / "first", truth=f"topic:{TRUTH_TOPIC}", meanings=MEANINGS)


@pytest.fixture(scope="module")
def first(job: ReplayJob, loaded: LoadedModel) -> RunFolder:
    """The run of that job."""
    return RunFolder(replay(job, loaded))
