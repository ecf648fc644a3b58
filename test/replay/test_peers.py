# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Other published models in a replay, from the recording to the report and the comparison, on small
random networks of transformers' real classes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("transformers")

import peer_samples
from bag_samples import TRUTH_TOPIC, scene, write_bag
from replay_cases import assert_equal_results, cancelling_after

from referdino_core.errors import Cancelled, ReferDINOError
from referdino_core.replay.opening import ReplayJob
from referdino_core.replay.run import replay
from referdino_core.replay.run_folder import RunFolder
from referdino_core.replay.unfinished_run import FRAMES_BETWEEN_SNAPSHOTS
from referdino_core.replay.whole_clip import load_for_replay
from referdino_core.report import write_comparison, write_report
from referdino_core.session.model_choice import LoadedModel, LoadedPeer, ModelChoice
from referdino_core.session.peer_session import PeerSession

pytest_plugins = ["replay_fixtures"]

COMMANDS = """
- {at: 0.0, text: "the red ball", id: first, objects: [2]}
- {at: 0.4, text: "the dog that jumps on the table", id: second, objects: [5]}
- {at: 1.2, text: "", id: second}
"""
PEERS: dict[str, Callable[[], PeerSession]] = {
    "grounding-dino": peer_samples.floor,
    "grounded-sam2": peer_samples.grounded_sam2,
    "sam3": peer_samples.sam3,
}


def loaded_peer(name: str) -> LoadedPeer:
    return LoadedPeer(PEERS[name](), ModelChoice(name, device="cpu"))


@pytest.fixture(scope="module")
def peer_job(tmp_path_factory: pytest.TempPathFactory) -> ReplayJob:
    folder = tmp_path_factory.mktemp("peers")
    bag = write_bag(folder / "bag", scene(20, with_truth=True))
    (folder / "commands.yaml").write_text(COMMANDS)
    truth = f"topic:{TRUTH_TOPIC}"
    return ReplayJob(bag, folder / "run", command_file=folder / "commands.yaml", truth=truth)


@pytest.mark.parametrize("name", PEERS)
def test_a_recording_is_replayed_scored_and_reported_twice_alike(
    name: str, peer_job: ReplayJob, tmp_path: Path
) -> None:
    loaded = loaded_peer(name)
    runs = [RunFolder(replay(replace(peer_job, out=tmp_path / place), loaded)) for place in "ab"]
    assert_equal_results(runs[0].path, runs[1].path)
    summary = runs[0].summary
    assert summary["model"]["name"] == name and summary["runtime"] == "torch fp32"
    assert summary["frames"]["answered"] == 20 and not summary["frames"]["failed"]
    assert len(summary["scores"]["commands"]) == 2
    assert summary["capabilities"]["noun_phrases_only"] == (name == "sam3")
    notes = [line for line in summary["problems"] if "noun phrases only" in line]
    assert len(notes) == (name == "sam3")
    timing = list(runs[0].timing())
    assert len(timing) == 20 and all(line["memory"]["resident"] > 0 for line in timing)
    page = write_report(runs[0].path).read_text(encoding="utf-8")
    assert "memory of the stream" in page
    assert ("is answered for" in page) == (name == "sam3")


def test_a_comparison_with_our_own_model_names_both(
    peer_job: ReplayJob, loaded: LoadedModel, tmp_path: Path
) -> None:
    ours = replay(replace(peer_job, out=tmp_path / "ours"), loaded)
    peer = replay(replace(peer_job, out=tmp_path / "peer"), loaded_peer("grounded-sam2"))
    page = write_comparison(ours, peer, tmp_path / "pair.html").read_text(encoding="utf-8")
    assert "A: nano," in page and "B: grounded-sam2," in page
    assert "images per second" in page and "memory of the process, peak" in page


@pytest.mark.parametrize("name", ["grounding-dino", "grounded-sam2"])
def test_a_stopped_run_resumes_with_the_same_results(
    name: str, peer_job: ReplayJob, tmp_path: Path
) -> None:
    whole = replace(peer_job, out=tmp_path / "whole")
    stopped = replace(peer_job, out=tmp_path / "stopped")
    replay(whole, loaded_peer(name))
    with pytest.raises(Cancelled, match="resumes from there"):
        replay(stopped, loaded_peer(name), cancelling_after(8))
    replay(stopped, loaded_peer(name))
    assert_equal_results(whole.out, stopped.out)


def test_a_stopped_run_of_a_model_without_snapshots_starts_again(
    peer_job: ReplayJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert FRAMES_BETWEEN_SNAPSHOTS > 8
    monkeypatch.setattr("referdino_core.replay.run.FRAMES_BETWEEN_SNAPSHOTS", 4)
    job = replace(peer_job, out=tmp_path / "stopped")
    with pytest.raises(Cancelled, match="starts again"):
        replay(job, loaded_peer("sam3"), cancelling_after(8))
    summary = RunFolder(replay(job, loaded_peer("sam3"))).summary
    assert summary["frames"]["answered"] == 20
    lines = (job.out / "frames.jsonl").read_text().splitlines()
    assert [json.loads(line)["index"] for line in lines] == list(range(20))


def test_a_peer_does_not_read_whole_clips() -> None:
    with pytest.raises(ReferDINOError, match="streams only"):
        load_for_replay(ModelChoice("grounded-sam2"), "whole-clip")
