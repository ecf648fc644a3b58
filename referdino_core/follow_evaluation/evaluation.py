# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Many episodes with several followers, each follower in the very same episodes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from referdino_core.errors import ReferDINOError
from referdino_core.follow_evaluation.contestants import Contestant
from referdino_core.follow_evaluation.film import Film
from referdino_core.follow_evaluation.perception import Perception
from referdino_core.follow_evaluation.running import EpisodeResult, Timing, run_episode
from referdino_core.following import Mounting
from referdino_core.simulation import (
    DISTANCES,
    SPLITS,
    DriveSettings,
    Episode,
    Room,
    Simulation,
    episode_generator,
    open_eye,
    sample_episode,
)
from referdino_core.simulation.sentences import sentence_for

_ATTEMPTS = 50
WIDTH, HEIGHT = 160, 120


class Stage:
    """A room that episodes are put into one after the other; a context manager."""

    def __init__(
        self,
        mounting: Mounting,
        drive: DriveSettings | None = None,
        distances: tuple[float, float] = DISTANCES,
    ) -> None:
        """Compile the model and open the camera.

        Args:
            distances: between which the distance to keep is drawn, metres.

        Raises:
            ReferDINOError: MuJoCo or OpenGL is missing.
        """
        self.mounting, self.drive = mounting, drive or DriveSettings()
        self._distances = distances
        self.room = Room(WIDTH, HEIGHT, self.drive.radius)
        self._stack = ExitStack()
        self.eye = self._stack.enter_context(open_eye(self.room, WIDTH, HEIGHT))

    def __enter__(self) -> Stage:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def simulation(self, episode: Episode) -> Simulation:
        """The episode at its start."""
        return Simulation(
            self.room, self.eye, episode, self.mounting, self.drive, seed=episode.index
        )

    def scripted(self, split: str, index: int) -> tuple[Episode, str]:
        """An episode and the sentence for it, the same ones for the same index and mounting.

        Raises:
            ReferDINOError: no sentence fits the episodes that were sampled.
        """
        rng = episode_generator(split, index)
        for _ in range(_ATTEMPTS):
            episode = sample_episode(split, rng, index, self._distances)
            simulation = self.simulation(episode)
            frame = simulation.frame(colour=False)
            sentence = sentence_for(episode, frame, simulation.intrinsics, self.mounting, rng)
            if sentence is not None:
                return episode, sentence
        raise ReferDINOError(f"No sentence fits an episode of {split!r}; raise the camera.")


def schedule(
    episodes: int, splits: Sequence[str] = SPLITS, first: int = 0
) -> list[tuple[str, int]]:
    """Splits and indices of so many episodes, the splits in turn, from an index on."""
    count = len(splits)
    return [(splits[number % count], first + number // count) for number in range(episodes)]


def evaluate(
    stage: Stage,
    perception: Perception,
    followers: Sequence[Contestant],
    planned: Sequence[tuple[str, int]],
    timing: Timing | None = None,
    films: Path | None = None,
    done: Collection[tuple[str, int, str]] = (),
) -> Iterator[EpisodeResult]:
    """Results as they come: for each planned episode, one of each follower.

    Args:
        done: splits, indices and followers that are left out.
        films: folder for a video of every episode; None for none.
    """
    for split, index in planned:
        open_followers = [one for one in followers if (split, index, one.name) not in done]
        if not open_followers:
            continue
        episode, sentence = stage.scripted(split, index)
        for follower in open_followers:
            simulation = stage.simulation(episode)
            if films is None:
                yield run_episode(simulation, sentence, perception, follower, timing)
                continue
            name = f"{split}_{index}_{follower.name.replace(' ', '_')}.mp4"
            rate = 1 / (timing or Timing()).image_period
            with Film(films / name, simulation, sentence, rate) as film:
                yield run_episode(simulation, sentence, perception, follower, timing, film)
