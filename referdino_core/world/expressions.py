# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Generator of referring expressions: sentences that match one object of a clip, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, product
from typing import TypeVar

import numpy as np

from referdino_core.world.clip import Expression, Kind
from referdino_core.world.grammar import (
    DIRECTION_SIDES,
    LOCATION_WORDS,
    MOTION_WORDS,
    RELATION_WORDS,
    Description,
    Grammar,
)
from referdino_core.world.observation import Observation, Verdict
from referdino_core.world.scene import COLOURS, SHAPES, SIZES

_Found = TypeVar("_Found")
_Utter = Callable[[Description, str], str]

_ANY_OBJECT = Description(None, None, None)
_KEEP_REDUNDANT = 0.15
"""Fraction of sentences that are kept although their static words alone identify the object."""
_MAX_RELATIONS = 24
_MAX_ABSENT_LOOKS = 4
_MAX_ABSENT_OTHERS = 2
_MIN_MOTION_FRAMES = 3
_MAX_PLURALS = 4


def enumerate_expressions(
    rng: np.random.Generator, observation: Observation
) -> tuple[Expression, ...]:
    """The referring expressions of a clip, each text once; `rng` chooses the wording.

    A sentence is kept only if, over the whole clip, one object certainly fits it and every other
    object in view certainly does not. Sentences about motion and direction require a still camera,
    and in most of them the static words fit at least two objects.
    """
    finder = _Finder(rng, observation)
    found = chain(
        finder.attributes(),
        finder.locations(),
        finder.relations(),
        finder.motions(),
        finder.directions(),
        finder.absences(),
        finder.plurals() if observation.settings.scenes == "robot" else (),
    )
    return tuple({expression.text: expression for expression in found}.values())


class _Finder:
    """Search over descriptions of the objects in view for sentences with a unique referent."""

    def __init__(self, rng: np.random.Generator, observation: Observation) -> None:
        self._rng = rng
        self._grammar = Grammar(rng)
        self._observation = observation
        self._objects = observation.objects
        in_view = [
            item for item, seen in zip(self._objects, observation.in_view, strict=True) if seen
        ]
        descriptions = {
            Description(*choice)
            for item in in_view
            for choice in product((None, item.size), (None, item.colour), (None, item.shape))
        }
        order = sorted(descriptions, key=lambda d: (d.word_count, str(d)))
        self._members = {d: self._fitting(d, observation.noticed) for d in order}
        faint = observation.in_view & ~observation.noticed
        # An object with a few pixels is not a distractor, but it is not certainly absent either.
        self._plain_members = {
            d: members
            for d, members in self._members.items()
            if len(members) and not len(self._fitting(d, faint))
        }
        self._names: dict[int, list[Description]] = {}
        for description, members in self._members.items():
            if len(members) == 1 and description != _ANY_OBJECT:
                self._names.setdefault(int(members[0]), []).append(description)
        self._speaks_of_motion = (
            not observation.camera_moves and observation.settings.frames >= _MIN_MOTION_FRAMES
        )
        self._motion = observation.motion()
        self._directions = {side: observation.direction(side) for side in DIRECTION_SIDES}

    def attributes(self) -> Iterator[Expression]:
        for description, members in self._members.items():
            if description != _ANY_OBJECT and self._is_referent(members):
                text = self._grammar.plain(description)
                yield self._referring(text, "attribute", members[0])

    def locations(self) -> Iterator[Expression]:
        for description, members in self._members.items():
            if len(members) < 2:
                continue
            for word in LOCATION_WORDS:
                winner = self._observation.superlative(word, members)
                if winner is not None:
                    text = self._grammar.location(description, word)
                    yield self._referring(text, "location", winner)

    def relations(self) -> Iterator[Expression]:
        """One sentence per target, anchor and relation, at most 24."""
        found = []
        for anchor, word, verdict in self._related():
            wordings: dict[int, list[Description]] = {}
            for description, members in self._members.items():
                rivals = members[members != anchor]
                target = self._only(rivals, verdict)
                if target is None or (len(rivals) < 2 and self._skips()):
                    continue
                wordings.setdefault(target, []).append(description)
            for target, choices in wordings.items():
                description = choices[int(self._rng.integers(len(choices)))]
                text = self._grammar.relation(description, word, self._name(anchor))
                found.append(self._referring(text, "relation", target))
        for number in self._rng.permutation(len(found))[:_MAX_RELATIONS]:
            yield found[number]

    def motions(self) -> Iterator[Expression]:
        if not self._speaks_of_motion:
            return
        for description, members in self._members.items():
            for word in MOTION_WORDS:
                target = self._only(members, self._motion_verdict(word))
                if target is None or (len(members) < 2 and self._skips()):
                    continue
                text = self._grammar.motion(description, word)
                yield self._referring(text, "motion", target, members)

    def directions(self) -> Iterator[Expression]:
        if not self._speaks_of_motion:
            return
        for description, members in self._members.items():
            for side, verdict in self._directions.items():
                target = self._only(members, verdict)
                if target is None or (len(members) < 2 and self._skips()):
                    continue
                text = self._grammar.direction(description, side)
                yield self._referring(text, "direction", target, members)

    def plurals(self) -> Iterator[Expression]:
        """Sentences about several eligible objects that look alike, and one without a referent."""
        found = [
            (description, members)
            for description, members in self._plain_members.items()
            if len(members) > 1 and self._observation.eligible[members].all()
        ]
        for number in self._rng.permutation(len(found))[:_MAX_PLURALS]:
            description, members = found[number]
            ids = tuple(int(member) + 1 for member in members)
            yield Expression(self._grammar.plural(description), "plural", ids[0], ids, ids[1:])
        for description in self._missing_looks()[:1]:
            yield self._absent(self._grammar.plural(description))

    def absences(self) -> Iterator[Expression]:
        """Near misses: no object has the attributes, or those lack the motion or relation."""
        missing = self._missing_looks()
        for description in missing[:_MAX_ABSENT_LOOKS]:
            yield self._absent(self._grammar.plain(description))
        others = [self._located_absence(description) for description in missing[_MAX_ABSENT_LOOKS:]]
        yield from others[:_MAX_ABSENT_OTHERS]
        yield from self._unrelated()
        if self._speaks_of_motion:
            yield from self._unmoved()

    def _missing_looks(self) -> list[Description]:
        """Descriptions that fit nothing in view, but differ in one word from one that fits."""
        near = set()
        for item, seen in zip(self._objects, self._observation.in_view, strict=True):
            if not seen:
                continue
            full = (item.size, item.colour, item.shape)
            for index, values in enumerate((SIZES, tuple(COLOURS), SHAPES)):
                for value in values:
                    changed = [*full[:index], value, *full[index + 1 :]]
                    near.add(Description(*changed))
                    near.add(Description(None, changed[1], changed[2]))
                    near.add(Description(changed[0], None, changed[2]))
                    near.add(Description(changed[0], changed[1], None))
                    near.add(Description(None, changed[1], None))
                    near.add(Description(None, None, changed[2]))
        order = sorted(near, key=str)
        missing = [d for d in order if not len(self._fitting(d, self._observation.in_view))]
        return [missing[number] for number in self._rng.permutation(len(missing))]

    def _located_absence(self, description: Description) -> Expression:
        word = LOCATION_WORDS[int(self._rng.integers(len(LOCATION_WORDS)))]
        return self._absent(self._grammar.location(description, word))

    def _unrelated(self) -> Iterator[Expression]:
        found = [
            (description, word, anchor, members[members != anchor])
            for anchor, word, verdict in self._related()
            for description, members in self._plain_members.items()
            if verdict.sure_not[members].all() and (members != anchor).any()
        ]
        for description, word, anchor, rivals in self._some(found):
            text = self._grammar.relation(description, word, self._name(anchor))
            yield self._absent(text, rivals)

    def _unmoved(self) -> Iterator[Expression]:
        found: list[tuple[_Utter, Description, str, np.ndarray]] = []
        for description, members in self._plain_members.items():
            for word in MOTION_WORDS:
                if self._motion_verdict(word).sure_not[members].all():
                    found.append((self._grammar.motion, description, word, members))
            for side, verdict in self._directions.items():
                if verdict.sure_not[members].all():
                    found.append((self._grammar.direction, description, side, members))
        for utter, description, word, members in self._some(found):
            yield self._absent(utter(description, word), members)

    def _related(self) -> Iterator[tuple[int, str, Verdict]]:
        """Anchors with a unique description, with each relation to them."""
        for anchor in sorted(self._names):
            if self._observation.eligible[anchor]:
                for word in RELATION_WORDS:
                    yield anchor, word, self._observation.relation(word, anchor)

    def _name(self, anchor: int) -> Description:
        """One of the three shortest descriptions that fit only this object."""
        names = self._names[anchor][:3]
        return names[int(self._rng.integers(len(names)))]

    def _motion_verdict(self, word: str) -> Verdict:
        if word == "moving":
            return self._motion
        return Verdict(self._motion.sure_not, self._motion.sure)

    def _only(self, members: np.ndarray, verdict: Verdict) -> int | None:
        """The eligible member that certainly fits while all others certainly do not, or None."""
        sure = members[verdict.sure[members]]
        if len(sure) != 1 or verdict.sure_not[members].sum() != len(members) - 1:
            return None
        return int(sure[0]) if self._observation.eligible[sure[0]] else None

    def _is_referent(self, members: np.ndarray) -> bool:
        return len(members) == 1 and bool(self._observation.eligible[members[0]])

    def _fitting(self, description: Description, among: np.ndarray) -> np.ndarray:
        fits = [
            description.size in (None, item.size)
            and description.colour in (None, item.colour)
            and description.shape in (None, item.shape)
            for item in self._objects
        ]
        return np.flatnonzero(np.array(fits) & among)

    def _skips(self) -> bool:
        return bool(self._rng.random() >= _KEEP_REDUNDANT)

    def _some(self, found: list[_Found]) -> list[_Found]:
        order = self._rng.permutation(len(found))[:_MAX_ABSENT_OTHERS]
        return [found[number] for number in order]

    def _referring(
        self, text: str, kind: Kind, target: int, members: np.ndarray | None = None
    ) -> Expression:
        ids = (int(target) + 1,) if members is None else tuple(int(m) + 1 for m in members)
        return Expression(text, kind, int(target) + 1, ids)

    def _absent(self, text: str, members: np.ndarray | None = None) -> Expression:
        ids = () if members is None else tuple(int(m) + 1 for m in members)
        return Expression(text, "absent", None, ids)
