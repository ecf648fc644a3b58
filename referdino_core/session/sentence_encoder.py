# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""SentenceEncoder: a text encoder with a cache that all streams of a model share."""

from __future__ import annotations

import logging
from collections import OrderedDict

from referdino_core.network.text_encoder import TextFeatures
from referdino_core.network.tokenizer import Tokenizer, caption
from referdino_core.session.predictor import Predictor

logger = logging.getLogger("referdino.session")

MAX_CACHED = 64
"""Sentences in the cache, the most recently used ones."""


class SentenceEncoder:
    """Encodes the sentences of commands.

    Args:
        name: name of the model, for messages.
    """

    def __init__(self, tokenizer: Tokenizer, predictor: Predictor, name: str) -> None:
        self._tokenizer = tokenizer
        self._predictor = predictor
        self._name = name
        self._encoded: OrderedDict[str, TextFeatures] = OrderedDict()

    def encode(self, sentence: str) -> TextFeatures:
        """Features of a sentence; warns of words that the vocabulary lacks, once per sentence.

        Raises:
            CommandError: the sentence is invalid.
        """
        caption(sentence)
        if sentence in self._encoded:
            self._encoded.move_to_end(sentence)
            return self._encoded[sentence]
        features = self._predictor.encode_text(self._tokenizer.encode(sentence))
        unknown = self._tokenizer.unknown_words(sentence)
        if unknown:
            logger.warning(
                "The vocabulary of %s lacks: %s. It will guess from the other words.",
                self._name,
                ", ".join(dict.fromkeys(unknown)),
            )
        self._encoded[sentence] = features
        if len(self._encoded) > MAX_CACHED:
            self._encoded.popitem(last=False)
        return features
