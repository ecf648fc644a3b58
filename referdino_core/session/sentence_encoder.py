# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""SentenceEncoder: sentences through the text encoder, each once for all streams of a model."""

from __future__ import annotations

import logging
from collections import OrderedDict

from referdino_core.network.text_encoder import TextFeatures
from referdino_core.network.tokenizer import Tokenizer, caption
from referdino_core.session.predictor import Predictor

logger = logging.getLogger("referdino.session")

REMEMBERED = 64
"""Sentences, the most recent ones."""


class SentenceEncoder:
    """Encodes the sentences of commands.

    Args:
        name: of the model, for messages.
    """

    def __init__(self, tokenizer: Tokenizer, predictor: Predictor, name: str) -> None:
        self._tokenizer = tokenizer
        self._predictor = predictor
        self._name = name
        self._encoded: OrderedDict[str, TextFeatures] = OrderedDict()

    def encode(self, sentence: str) -> TextFeatures:
        """The features of a sentence; words that the vocabulary lacks are told the first time.

        Raises:
            CommandError: the sentence cannot be used.
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
        if len(self._encoded) > REMEMBERED:
            self._encoded.popitem(last=False)
        return features
