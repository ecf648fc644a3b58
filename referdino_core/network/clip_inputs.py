# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Checks of what a caller passes to a network's whole-clip inference: pixels and token ids."""

from __future__ import annotations

import torch
from torch import Tensor

from referdino_core.errors import CommandError, ImageError

LARGEST_PIXEL = 20.0
"""Absolute value that normalised pixels do not reach; those of images are below 2.7."""
INTEGERS = (torch.int64, torch.int32)


def check_pixels(pixels: Tensor) -> None:
    """Raise ImageError unless these are the normalised frames of a clip, (T, 3, H, W) float32."""
    if not isinstance(pixels, Tensor) or pixels.dtype != torch.float32:
        kind = pixels.dtype if isinstance(pixels, Tensor) else type(pixels).__name__
        raise ImageError(
            f"Pixels are float32, normalised with ImageNet's mean and deviation, not {kind}."
        )
    if pixels.dim() != 4 or pixels.shape[1] != 3:
        raise ImageError(
            f"The pixels of one clip have the shape (T, 3, H, W), not {tuple(pixels.shape)}."
        )
    if not pixels.numel():
        raise ImageError(f"A clip of the shape {tuple(pixels.shape)} has no pixels.")
    low, high = (float(one) for one in pixels.aminmax())
    if not max(-low, high) < LARGEST_PIXEL:
        raise ImageError(
            f"The pixels range from {low:g} to {high:g}: normalise them with ImageNet's mean and "
            "deviation."
        )


def checked_ids(
    input_ids: Tensor, vocabulary: int, most: int, padding_id: int | None = None
) -> Tensor:
    """The token ids of one sentence, (L,) int64, if the text encoder can process them.

    Args:
        input_ids: (L,) or (1, L) integers.
        vocabulary: number of tokens that there are. most: maximum length.
        padding_id: token of padding, which is allowed after the sentence; None if there is none.

    Raises:
        CommandError: they are no integers, of several sentences, none, too many, or not in the
            vocabulary.
    """
    if not isinstance(input_ids, Tensor) or input_ids.dtype not in INTEGERS:
        kind = input_ids.dtype if isinstance(input_ids, Tensor) else type(input_ids).__name__
        raise CommandError(f"Token ids are int64, of shape (L,), not {kind}.")
    if input_ids.dim() not in (1, 2) or input_ids.shape[:-1].numel() != 1:
        raise CommandError(
            f"Token ids of one sentence have the shape (L,), not {tuple(input_ids.shape)}."
        )
    ids = input_ids.reshape(-1).long()
    if not len(ids) or (padding_id is not None and not (ids != padding_id).any()):
        raise CommandError("The sentence has no tokens.")
    if len(ids) > most:
        raise CommandError(
            f"The command has {len(ids)} tokens; the text encoder reads at most {most}. "
            "Say it in fewer words."
        )
    unknown = ids[(ids < 0) | (ids >= vocabulary)].tolist()
    if unknown:
        raise CommandError(
            f"The vocabulary has the tokens 0 to {vocabulary - 1}, and not {unknown[0]}."
        )
    return ids
