# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Instructions and episodes of the demo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache

from referdino_core.following import Instruction, Intent, parse
from referdino_core.following.goals import FollowState
from referdino_core.simulation import DISTANCES, Episode, episode_generator, sample_episode
from referdino_core.world.scene import COLOURS, SHAPES


class Expected(str, Enum):
    """Expected outcome of an instruction."""

    REACHES = "reaches it"
    STANDS = "stands still"
    DRIVES = "drives towards it"
    OPEN = "not known beforehand"
    DIES = "the base stops by itself"
    """The follower's process is killed."""


@dataclass(frozen=True)
class Line:
    """An instruction.

    Attributes:
        text: as it is said.
        seconds: of the robot's time, that it gets at most.
        expected: what is to come of it.
        least: seconds that it gets at least, for everything to happen that is to happen.
        recording: file name of the same text as synthetic speech, for the node voice; "" for none.
    """

    text: str
    seconds: float
    expected: Expected = Expected.REACHES
    least: float = 0.0
    recording: str = ""


@dataclass(frozen=True)
class Chapter:
    """An episode, and what is said in it.

    title: for people.
    """

    title: str
    split: str
    index: int
    lines: tuple[Line, ...]

    def episode(self) -> Episode:
        """What the simulation runs."""
        return _episode(self.split, self.index)


@cache
def _episode(split: str, index: int) -> Episode:
    return sample_episode(split, episode_generator(split, index), index, DISTANCES)


SCRIPT = (
    Chapter(
        "It moves",
        "moving",
        96,
        (
            Line("follow the red ball", 22.0, least=22.0),
            Line("stop", 3.0, Expected.STANDS, recording="stop.wav"),
            Line("follow the", 2.0, Expected.STANDS),
        ),
    ),
    Chapter(
        "It stands",
        "static",
        125,
        (Line("go to the blue box", 25.0, recording="go_to_the_blue_box.wav"),),
    ),
    Chapter(
        "True of nothing",
        "absent",
        1,
        (Line("go to the red ball", 8.0, Expected.STANDS),),
    ),
    Chapter(
        "A twin passes by", "distractors", 9, (Line("follow the white ball", 24.0, least=24.0),)
    ),
    Chapter(
        "Something hides it", "occlusion", 2, (Line("follow the purple ball", 26.0, least=26.0),)
    ),
    Chapter(
        "The follower dies",
        "static",
        125,
        (
            Line("go to the blue box", 3.5, Expected.DRIVES),
            Line("(SIGKILL of the follower)", 3.0, Expected.DIES),
        ),
    ),
)


def own_chapter(instructions: Sequence[str]) -> Chapter:
    """The user's own instructions, one after the other, in a room where seven things stand."""
    room = Chapter("Your own", "static", 125, ())
    lines = tuple(Line(text, 25.0, _expected_in(room, text)) for text in instructions)
    return replace(room, lines=lines)


def looks_of(chapter: Chapter) -> list[str]:
    """Descriptions of the objects in a chapter's room, such as "small red ball"."""
    looks = [body.look for body in chapter.episode().bodies]
    return [f"{look.size} {look.colour} {look.shape}" for look in looks]


def target_of(chapter: Chapter, text: str) -> int | None:
    """Index of the body that an instruction means, by the colour and shape it names; None where
    that is none, or not one alone. A twin is never meant: it was not there when it was said.
    """
    fitting = _fitting(chapter, text)
    return fitting[0] if len(fitting) == 1 else None


def _fitting(chapter: Chapter, text: str) -> list[int]:
    instruction = parse(text)
    if not isinstance(instruction, Instruction):
        return []
    words = set(instruction.sentence.split())
    episode = chapter.episode()
    return [
        slot
        for slot, body in enumerate(episode.bodies)
        if {body.look.colour, body.look.shape} <= words and slot != episode.twin
    ]


def _expected_in(chapter: Chapter, text: str) -> Expected:
    """What an instruction of the user's is to bring about, as far as that is known."""
    instruction = parse(text)
    if not isinstance(instruction, Instruction) or not instruction.intent.wants_object:
        return Expected.STANDS
    fitting = len(_fitting(chapter, text))
    if fitting == 1 and instruction.intent in (Intent.FOLLOW, Intent.APPROACH):
        return Expected.REACHES
    words = set(instruction.sentence.split())
    names_look = words & set(COLOURS) and words & set(SHAPES)
    return Expected.STANDS if names_look and not fitting else Expected.OPEN


ENDED = FollowState.ENDED.value
