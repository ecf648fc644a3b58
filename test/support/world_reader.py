# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the sentences of the world back, independently of the grammar that uttered them."""

from __future__ import annotations

from dataclasses import dataclass

from referdino_core.world import SceneObject

SIZES = {"small": "small", "little": "small", "big": "big", "large": "big"}
COLOURS = {"red", "green", "blue", "yellow", "purple", "orange", "white", "black"}
SHAPES = {
    **{"ball": "ball", "sphere": "ball", "box": "box", "cube": "box"},
    **{"cylinder": "cylinder", "capsule": "capsule"},
    **{"object": None, "thing": None, "one": None},
}
LEADING_CLAIMS = {
    **{"leftmost": "left", "rightmost": "right", "farthest": "farthest"},
    **{"closest": "closest", "nearest": "closest", "moving": "moving", "still": "still"},
}
TRAILING_CLAIMS = {
    **{"on the left": "left", "on the right": "right"},
    **{"in the middle": "middle", "in the center": "middle"},
    **{"that is moving": "moving", "standing still": "still", "that is standing still": "still"},
}
RELATIONS = {
    **{"left of": "left", "to the left of": "left"},
    **{"right of": "right", "to the right of": "right"},
    **{"behind": "behind", "in front of": "front", "next to": "next", "beside": "next"},
}
MOVING_TO = ("moving", "moving to the", "going", "that is moving")


@dataclass(frozen=True)
class Sentence:
    """What a sentence says of its referent.

    described: size, colour and shape, None where open. claim: what is said beyond, if anything.
    anchor: size, colour and shape of what a claimed relation refers to.
    """

    described: tuple[str | None, str | None, str | None]
    claim: str | None
    anchor: tuple[str | None, str | None, str | None] | None


def read_sentence(text: str) -> Sentence:
    """Raises ValueError for a sentence that it does not understand."""
    article, *words = text.split()
    if article not in ("the", "a"):
        raise ValueError(text)
    claim = LEADING_CLAIMS[words.pop(0)] if words[0] in LEADING_CLAIMS else None
    described, rest = _read_noun_phrase(words)
    if not rest:
        return Sentence(described, claim, None)
    if claim is not None:
        raise ValueError(text)
    phrase = " ".join(rest)
    if phrase in TRAILING_CLAIMS:
        return Sentence(described, TRAILING_CLAIMS[phrase], None)
    if rest[-1] in ("left", "right") and " ".join(rest[:-1]) in MOVING_TO:
        return Sentence(described, f"moving {rest[-1]}", None)
    for words_of_relation, relation in RELATIONS.items():
        if phrase.startswith(words_of_relation + " the "):
            anchor, end = _read_noun_phrase(phrase[len(words_of_relation) + 5 :].split())
            if not end:
                return Sentence(described, relation, anchor)
    raise ValueError(text)


def is_described(described: tuple[str | None, str | None, str | None], item: SceneObject) -> bool:
    """Whether size, colour and shape fit the object."""
    return all(
        word in (None, own)
        for word, own in zip(described, (item.size, item.colour, item.shape), strict=True)
    )


def _read_noun_phrase(
    words: list[str],
) -> tuple[tuple[str | None, str | None, str | None], list[str]]:
    words = list(words)
    size = SIZES[words.pop(0)] if words[0] in SIZES else None
    colour = words.pop(0) if words[0] in COLOURS else None
    return (size, colour, SHAPES[words.pop(0)]), words
