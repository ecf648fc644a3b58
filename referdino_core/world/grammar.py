# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Vocabulary and grammar of the world's sentences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

VOCABULARY: tuple[str, ...] = (
    *("the", "a", "red", "green", "blue", "yellow", "purple", "orange", "white", "black"),
    *("ball", "sphere", "box", "cube", "cylinder", "capsule", "object", "thing", "one"),
    *("small", "little", "big", "large", "on", "in", "of", "to"),
    *("left", "right", "leftmost", "rightmost", "middle", "center"),
    *("closest", "nearest", "farthest", "behind", "front", "next", "beside"),
    *("moving", "going", "standing", "still", "that", "is"),
    *("all", "balls", "spheres", "boxes", "cubes", "cylinders", "capsules"),
    *("objects", "things", "ones"),
)
"""All words of the world's sentences."""

_NOUNS: dict[str | None, tuple[str, ...]] = {
    "ball": ("ball", "ball", "sphere"),
    "box": ("box", "box", "cube"),
    "cylinder": ("cylinder",),
    "capsule": ("capsule",),
    None: ("object", "object", "thing", "one"),
}
_PLURALS = {
    noun: f"{noun}es" if noun.endswith("x") else f"{noun}s"
    for nouns in _NOUNS.values()
    for noun in nouns
}
_SIZE_WORDS = {"small": ("small", "small", "little"), "big": ("big", "big", "large")}

_LOCATIONS = {
    "left": ("{phrase} on the left", "{phrase} on the left", "leftmost {phrase}"),
    "right": ("{phrase} on the right", "{phrase} on the right", "rightmost {phrase}"),
    "middle": ("{phrase} in the middle", "{phrase} in the center"),
    "closest": ("closest {phrase}", "nearest {phrase}"),
    "farthest": ("farthest {phrase}",),
}
_RELATIONS = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "behind": ("behind",),
    "front": ("in front of",),
    "next": ("next to", "beside"),
}
_MOTIONS = {
    "moving": ("moving {phrase}", "{phrase} that is moving"),
    "still": (
        "still {phrase}",
        "{phrase} standing still",
        "{phrase} that is standing still",
    ),
}
_DIRECTIONS = (
    "{phrase} moving {side}",
    "{phrase} moving to the {side}",
    "{phrase} going {side}",
    "{phrase} that is moving {side}",
)

LOCATION_WORDS = tuple(_LOCATIONS)
RELATION_WORDS = tuple(_RELATIONS)
MOTION_WORDS = tuple(_MOTIONS)
DIRECTION_SIDES = ("left", "right")
_INDEFINITE = 0.08
"""Fraction of sentences that begin with "a", which is never used before an o."""


@dataclass(frozen=True)
class Description:
    """Static attributes that describe an object; None for unspecified ones."""

    size: str | None
    colour: str | None
    shape: str | None

    @property
    def word_count(self) -> int:
        """Number of specified attributes."""
        return sum(word is not None for word in (self.size, self.colour, self.shape))


class Grammar:
    """Generator of sentences from descriptions, with random synonyms and forms from `rng`."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def plain(self, description: Description) -> str:
        """A sentence such as "the small red box"."""
        return self._sentence(self._noun_phrase(description))

    def location(self, description: Description, word: str) -> str:
        """A sentence such as "the ball on the left"; `word` is one of LOCATION_WORDS."""
        return "the " + self._fill(_LOCATIONS[word], description)

    def relation(self, description: Description, word: str, anchor: Description) -> str:
        """A sentence such as "the ball behind the green box"; `word` is one of RELATION_WORDS."""
        words = self._pick(_RELATIONS[word])
        own, other = self._noun_phrase(description), self._noun_phrase(anchor)
        return self._sentence(f"{own} {words} the {other}")

    def motion(self, description: Description, word: str) -> str:
        """A sentence such as "the ball that is standing still"; `word` is one of MOTION_WORDS."""
        return self._sentence(self._fill(_MOTIONS[word], description))

    def direction(self, description: Description, side: str) -> str:
        """A sentence such as "the cylinder moving right"; `side` is one of DIRECTION_SIDES."""
        return self._sentence(self._fill(_DIRECTIONS, description)).replace("{side}", side)

    def plural(self, description: Description) -> str:
        """A sentence such as "the red balls", "all boxes" or "all the small things"."""
        words = self._noun_phrase(description).split()
        words[-1] = _PLURALS[words[-1]]
        return f"{self._pick(('the', 'the', 'all', 'all the'))} {' '.join(words)}"

    def _fill(self, forms: tuple[str, ...], description: Description) -> str:
        phrase = self._noun_phrase(description)
        return self._pick(forms).replace("{phrase}", phrase)

    def _sentence(self, words: str) -> str:
        indefinite = self._rng.random() < _INDEFINITE and not words.startswith("o")
        return f"{'a' if indefinite else 'the'} {words}"

    def _noun_phrase(self, description: Description) -> str:
        words = []
        if description.size is not None:
            words.append(self._pick(_SIZE_WORDS[description.size]))
        if description.colour is not None:
            words.append(description.colour)
        words.append(self._pick(_NOUNS[description.shape]))
        return " ".join(words)

    def _pick(self, forms: tuple[str, ...]) -> str:
        return forms[int(self._rng.integers(len(forms)))]
