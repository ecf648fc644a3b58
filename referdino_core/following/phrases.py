# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Small grammars without recursion, in the syntax of JSGF: read, cut down to words, matched.

One text serves both ends: a speech recogniser gets it as JSGF, written or typed instructions are
matched against the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from referdino_core.errors import ReferDINOError

_TOKEN = re.compile(r"\s*(<\w+>|[\[\]()|]|[^\s\[\]()|<>]+)")


@dataclass(frozen=True)
class Expansion:
    """Part of a rule.

    kind: "word", "rule" (a reference), "sequence", "choice" or "optional". text: the word or the
    rule's name. parts: what a sequence, a choice or an option is of.
    """

    kind: str
    text: str = ""
    parts: tuple[Expansion, ...] = field(default=())


def read_rule(text: str) -> Expansion:
    """An expansion in the syntax of JSGF: words, <rules>, [options], (groups), alternatives |.

    Raises:
        ReferDINOError: brackets do not match.
    """
    tokens = _TOKEN.findall(text)
    expansion, rest = _read_choice(tokens)
    if rest:
        raise ReferDINOError(f"The grammar rule {text!r} has an unmatched {rest[0]!r}.")
    return expansion


def _read_choice(tokens: list[str]) -> tuple[Expansion, list[str]]:
    choices: list[Expansion] = []
    parts: list[Expansion] = []
    while tokens and tokens[0] not in "])":
        token, tokens = tokens[0], tokens[1:]
        if token == "|":
            choices.append(_sequence(parts))
            parts = []
        elif token in "[(":
            inner, tokens = _read_choice(tokens)
            if not tokens or tokens[0] != {"[": "]", "(": ")"}[token]:
                raise ReferDINOError(f"A grammar rule has an unmatched {token!r}.")
            tokens = tokens[1:]
            parts.append(Expansion("optional", parts=(inner,)) if token == "[" else inner)
        elif token.startswith("<"):
            parts.append(Expansion("rule", token[1:-1]))
        else:
            parts.append(Expansion("word", token))
    choices.append(_sequence(parts))
    return (choices[0] if len(choices) == 1 else Expansion("choice", parts=tuple(choices))), tokens


def _sequence(parts: list[Expansion]) -> Expansion:
    return parts[0] if len(parts) == 1 else Expansion("sequence", parts=tuple(parts))


class Grammar:
    """Rules by name; each may refer to others, none to itself."""

    def __init__(self, rules: Mapping[str, Expansion]) -> None:
        self.rules = dict(rules)

    @classmethod
    def read(cls, rules: Mapping[str, str]) -> Grammar:
        """From rules in the syntax of JSGF.

        Raises:
            ReferDINOError: a rule cannot be read.
        """
        return cls({name: read_rule(text) for name, text in rules.items()})

    def within(self, words: Collection[str]) -> Grammar:
        """What can be said with these words alone; rules that cannot be said are left out."""
        kept: dict[str, Expansion] = {}
        for name in self._from_the_ground_up():
            cut = _cut(self.rules[name], words, kept)
            if cut is not None:
                kept[name] = cut
        return Grammar({name: kept[name] for name in self.rules if name in kept})

    def words(self) -> tuple[str, ...]:
        """Every word of every rule, once, in order of its first use."""
        found = {word: None for rule in self.rules.values() for word in _words(rule)}
        return tuple(found)

    def jsgf(self, name: str, public: str) -> str:
        """The text of a JSGF grammar with one public rule."""
        lines = ["#JSGF V1.0;", f"grammar {name};"]
        for rule, expansion in self.rules.items():
            prefix = "public " if rule == public else ""
            lines.append(f"{prefix}<{rule}> = {_written(expansion)};")
        return "\n".join(lines) + "\n"

    def matches(self, rule: str, text: str) -> bool:
        """Whether the whole text, words with single spaces, is an instance of a rule."""
        if rule not in self.rules:
            return False
        return re.fullmatch(self._pattern(self.rules[rule]), f"{text} ") is not None

    def _pattern(self, expansion: Expansion) -> str:
        if expansion.kind == "word":
            return re.escape(expansion.text) + " "
        if expansion.kind == "rule":
            return self._pattern(self.rules[expansion.text])
        parts = [self._pattern(part) for part in expansion.parts]
        if expansion.kind == "sequence":
            return "".join(parts)
        return f"(?:{'|'.join(parts)})" + ("?" if expansion.kind == "optional" else "")

    def _from_the_ground_up(self) -> list[str]:
        order: dict[str, None] = {}

        def visit(name: str) -> None:
            for reference in _references(self.rules[name]):
                visit(reference)
            order.setdefault(name)

        for name in self.rules:
            visit(name)
        return list(order)


def _cut(
    expansion: Expansion, words: Collection[str], kept: Mapping[str, Expansion]
) -> Expansion | None:
    """The expansion as far as it can be said; None where it cannot."""
    if expansion.kind == "word":
        return expansion if expansion.text in words else None
    if expansion.kind == "rule":
        return expansion if expansion.text in kept else None
    parts = [_cut(part, words, kept) for part in expansion.parts]
    sayable = tuple(part for part in parts if part is not None)
    if expansion.kind == "optional":
        return Expansion("optional", parts=sayable) if sayable else Expansion("sequence")
    if expansion.kind == "choice":
        whole = Expansion("choice", parts=sayable)
        return (sayable[0] if len(sayable) == 1 else whole) if sayable else None
    return Expansion("sequence", parts=sayable) if len(sayable) == len(parts) else None


def _words(expansion: Expansion) -> Iterator[str]:
    if expansion.kind == "word":
        yield expansion.text
    for part in expansion.parts:
        yield from _words(part)


def _references(expansion: Expansion) -> Iterator[str]:
    if expansion.kind == "rule":
        yield expansion.text
    for part in expansion.parts:
        yield from _references(part)


def _written(expansion: Expansion) -> str:
    if expansion.kind == "word":
        return expansion.text
    if expansion.kind == "rule":
        return f"<{expansion.text}>"
    parts = [_written(part) for part in expansion.parts]
    if expansion.kind == "sequence":
        return " ".join(part for part in parts if part)
    if expansion.kind == "optional":
        return f"[ {parts[0]} ]"
    return f"( {' | '.join(parts)} )"
