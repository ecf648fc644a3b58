# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Head noun phrases of English sentences, by rules, for models that read noun phrases only.

The rules know word lists and no grammar: a leading verb of command and determiners are left out,
and the phrase ends before the first preposition, relative pronoun, verb or comma. "Follow the red
ball on the table" becomes "red ball".
"""

from __future__ import annotations

import re

from referdino_core.sentences import plain


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


VERBS_OF_COMMAND = _words(
    """
    approach bring catch chase detect fetch find follow get give go grab keep locate look move pick
    point reach search see segment show spot take track watch where what
    """
)
AFTER_COMMANDS = _words("at for me please to towards up after is are us")
DETERMINERS = _words(
    """
    a an the this that these those my your his her its our their some any all every each
    """
)
ENDS = _words(
    """
    about above across after against along among and around as at away before behind below beneath
    beside between beyond but by down during for from in inside into near next of off on onto
    opposite or out outside over past since that through to toward towards under underneath up upon
    when where which while who whom whose with within without am are be been being can could did do
    does get gets goes going had has have is keeps left may might must remains should stays was
    were will would
    """
)
ING_NOUNS = _words(
    """
    awning building ceiling clothing dressing earring king lightning painting pudding railing ring
    spring string swing thing wing writing
    """
)
MODIFIERS = _words(
    """
    big black blond blonde blue brown dark first front gold golden gray green grey large last left
    light little long middle old orange pink purple rear red right round second short silver small
    striped tall third tiny white yellow young
    """
)
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[,;:.!?()]")


def head_noun_phrase(sentence: str) -> str:
    """The head noun phrase of a sentence, in lower case and without its determiner.

    The whole sentence is returned, in lower case, if the rules find no phrase in it.
    """
    words = _WORD.findall(plain(sentence))
    words = _after_command(words)
    phrase: list[str] = []
    for place, word in enumerate(words):
        if word in DETERMINERS:
            if phrase:
                break
            continue
        if not word[0].isalnum() or (phrase and _ends(words, place)):
            if phrase:
                break
            continue
        phrase.append(word)
    return " ".join(phrase) or plain(sentence).strip(" .")


def is_noun_phrase(sentence: str) -> bool:
    """Whether a sentence is its own head noun phrase, apart from determiner and full stop."""
    words = [word for word in _WORD.findall(plain(sentence)) if word[0].isalnum()]
    while words and words[0] in DETERMINERS:
        words = words[1:]
    return " ".join(words) == head_noun_phrase(sentence)


def _after_command(words: list[str]) -> list[str]:
    """The words after leading verbs of command such as "go to" and "show me"."""
    place = 0
    while place < len(words) - 1 and (
        words[place] in VERBS_OF_COMMAND or (place and words[place] in AFTER_COMMANDS)
    ):
        place += 1
    return words[place:]


def _ends(words: list[str], place: int) -> bool:
    """Whether the phrase ends before this word, which is not its first."""
    word = words[place]
    if word in ("left", "right"):
        # "the left ball" and "the ball left of the cup"
        following = words[place + 1] if place + 1 < len(words) else ""
        return not following or following in ENDS or not following[0].isalnum()
    if word in ENDS:
        return True
    is_participle = word.endswith("ing") and word not in ING_NOUNS and len(word) > 4
    return is_participle and words[place - 1] not in DETERMINERS | MODIFIERS
