# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""RoBERTa's tokenizer: byte-level BPE, cased."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from referdino_core.errors import CheckpointError, CommandError
from referdino_core.network.tokenizer import caption


class RobertaTokenizer:
    """Byte-level BPE with <s> and </s>; case and white space of sentences are kept.

    Args:
        vocabulary: vocab.json of roberta-base.
        merges: its merges.txt.
        max_tokens: maximum number of tokens, including <s> and </s>.

    Raises:
        CheckpointError: the files are damaged.
    """

    def __init__(self, vocabulary: Path, merges: Path, max_tokens: int = 512) -> None:
        from tokenizers import ByteLevelBPETokenizer

        self.max_tokens = max_tokens
        damaged = (
            f"{vocabulary.name} and {merges.name} in {vocabulary.parent} are damaged; delete them "
            "and run: referdino download roberta"
        )
        try:
            self.tokenizer = ByteLevelBPETokenizer(str(vocabulary), str(merges))
        except Exception as error:  # tokenizers raises nothing more specific
            raise CheckpointError(damaged) from error
        self.start, self.end = (self.tokenizer.token_to_id(token) for token in ("<s>", "</s>"))
        if self.start is None or self.end is None:
            raise CheckpointError(damaged)

    def encode(self, sentence: str) -> Tensor:
        """(L,) int64 ids with <s> and </s>.

        Raises:
            CommandError: the sentence is empty, no text, or has too many tokens.
        """
        caption(sentence)
        ids = [self.start, *self.tokenizer.encode(sentence).ids, self.end]
        if len(ids) > self.max_tokens:
            raise CommandError(
                f"The command has {len(ids)} tokens; the text encoder reads at most "
                f"{self.max_tokens}. Say it in fewer words."
            )
        return torch.tensor(ids, dtype=torch.int64)

    def unknown_words(self, sentence: str) -> tuple[str, ...]:
        """None: every byte has a token."""
        return ()
