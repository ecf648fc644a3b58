# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Grounding DINO (Liu et al., ECCV 2024, arXiv 2303.05499): boxes for sentences, image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from referdino_core.errors import CommandError
from referdino_core.peers.following import Followed, PeerFollower, PeerSettings, Sought, searching
from referdino_core.peers.loading import computing, image_tensor, size_between
from referdino_core.sentences import plain
from referdino_core.target import Box, TargetState, box_overlaps

SHORTEST, LONGEST = 800, 1333
"""Pixels of an image's sides in the network, as in its released preprocessing."""
SEPARATORS = str.maketrans({".": " ", "?": " ", "!": " "})


@dataclass(frozen=True)
class Detections:
    """The boxes of one sentence in one image, best first.

    Attributes:
        boxes: (N, 4) left, top, right, bottom in pixels. scores: (N,) in [0, 1].
        best: score of the best candidate, also below the thresholds.
    """

    boxes: np.ndarray
    scores: np.ndarray
    best: float

    def box(self, place: int) -> Box:
        """One box."""
        left, top, right, bottom = (float(side) for side in self.boxes[place])
        return left, top, right, bottom


class GroundingDINO:
    """Grounding DINO with its tokenizer.

    Several sentences are detected in one prompt, as "first sentence. second sentence.": the network
    keeps the words of different sentences apart.

    Args:
        network: GroundingDinoForObjectDetection of transformers.
        tokenizer: a `tokenizers.Tokenizer`.
        name: of the weights.
        sizes: shortest and longest side of an image in the network.
    """

    def __init__(
        self,
        network: nn.Module,
        tokenizer: Any,
        name: str = "grounding-dino",
        sizes: tuple[int, int] = (SHORTEST, LONGEST),
    ) -> None:
        self.network, self.tokenizer, self.name, self.sizes = network, tokenizer, name, sizes
        self.device = next(network.parameters()).device
        self.max_tokens = int(network.config.max_text_len)  # type: ignore[union-attr, arg-type]

    def phrase(self, sentence: str) -> str:
        """A sentence as it stands in a prompt: in lower case, without stops inside.

        Raises:
            CommandError: it is empty or too long.
        """
        words = " ".join(plain(sentence).translate(SEPARATORS).split())
        if not any(character.isalnum() for character in words):
            raise CommandError("The command is empty; name an object, such as 'the red mug'.")
        count = len(self.tokenizer.encode(f"{words}.").ids)
        if count > self.max_tokens:
            raise CommandError(
                f"The command has {count} tokens; Grounding DINO reads {self.max_tokens}."
            )
        return words

    def detect(
        self,
        image: np.ndarray,
        sentences: Sequence[str],
        settings: PeerSettings,
        precision: str = "fp32",
    ) -> list[Detections]:
        """The detections of every sentence in an (H, W, 3) uint8 image."""
        height, width = image.shape[:2]
        pixels = image_tensor(image, size_between(height, width, *self.sizes), self.device)
        found: list[Detections] = []
        for phrases in self._prompts([self.phrase(sentence) for sentence in sentences]):
            encoded = self.tokenizer.encode(_prompt(phrases))
            ids = torch.tensor([encoded.ids], device=self.device)
            with computing(self.device, precision):
                output = self.network(
                    pixel_values=pixels,
                    input_ids=ids,
                    token_type_ids=torch.zeros_like(ids),
                    attention_mask=torch.ones_like(ids),
                )
                scores = output.logits[0, :, : ids.shape[1]].float().sigmoid().cpu().numpy()
                boxes = output.pred_boxes[0].float().cpu().numpy()
            boxes = _corners(boxes, width, height)
            best = scores.max(axis=1)
            for words in _tokens_of(phrases, encoded.offsets):
                found.append(_chosen(boxes, scores[:, words].max(axis=1), best, settings))
        return found

    def _prompts(self, phrases: Sequence[str]) -> list[list[str]]:
        """The phrases in as few prompts as the network's text length allows."""
        prompts: list[list[str]] = []
        for phrase in phrases:
            if prompts:
                together = [*prompts[-1], phrase]
                if len(self.tokenizer.encode(_prompt(together)).ids) <= self.max_tokens:
                    prompts[-1] = together
                    continue
            prompts.append([phrase])
        return prompts


def _prompt(phrases: Sequence[str]) -> str:
    return "".join(f"{phrase}. " for phrase in phrases).strip()


def _tokens_of(phrases: Sequence[str], offsets: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The places of each phrase's tokens, without separators and special tokens."""
    places = []
    start = 0
    for phrase in phrases:
        end = start + len(phrase)
        own = [at for at, (low, high) in enumerate(offsets) if start <= low < high <= end]
        places.append(own)
        start = end + len(". ")
    return places


def _corners(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Boxes in pixels inside the image, from relative centre, width and height."""
    centre, size = boxes[:, :2], boxes[:, 2:]
    corners = np.concatenate((centre - size / 2, centre + size / 2), axis=1)
    sides = np.array([width, height, width, height], dtype=np.float32)
    return np.clip(corners, 0.0, 1.0) * sides


def _chosen(
    boxes: np.ndarray, scores: np.ndarray, best: np.ndarray, settings: PeerSettings
) -> Detections:
    """The boxes that the thresholds give a sentence, without duplicates.

    Args:
        scores, best: (N,) of the sentence's best word, and of the best word of the whole prompt.
    """
    is_found = (best > settings.box_threshold) & (scores > settings.text_threshold)
    order = [place for place in np.argsort(-scores, kind="stable") if is_found[place]]
    kept: list[int] = []
    for place in order:
        if len(kept) == settings.max_objects:
            break
        if (box_overlaps(boxes[kept], boxes[place]) <= settings.duplicate).all():
            kept.append(int(place))
    highest = float(scores.max()) if len(scores) else 0.0
    return Detections(boxes[kept], scores[kept], highest)


def box_mask(box: Box, size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool mask of the pixels whose centres lie in a box."""
    left, top, right, bottom = (round(side) for side in box)
    mask = np.zeros(size, dtype=bool)
    mask[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    return mask


class GroundingDINOFollower(PeerFollower):
    """Grounding DINO alone, on every image: the mask is the box, and nothing is remembered.

    An object keeps its identity while its boxes in consecutive images overlap.
    """

    masks = False
    identities = False

    def __init__(
        self, detector: GroundingDINO, settings: PeerSettings, precision: str = "fp32"
    ) -> None:
        self.detector, self.settings, self.precision = detector, settings, precision
        self.name, self.device = "grounding-dino", str(detector.device)
        self._count = 0
        self._seen: dict[str, tuple[Sought, dict[int, Box]]] = {}

    def another(self) -> GroundingDINOFollower:
        return GroundingDINOFollower(self.detector, self.settings, self.precision)

    def check(self, sentence: str) -> object:
        return self.detector.phrase(sentence)

    def forget(self) -> None:
        self._seen = {}

    def restart(self) -> None:
        self.forget()
        self._count = 0

    def follow(
        self, image: np.ndarray, stamp: float, sought: Mapping[str, Sought]
    ) -> dict[str, list[Followed]]:
        size = image.shape[0], image.shape[1]
        self._seen = {
            key: self._seen[key] if self._seen.get(key, (None,))[0] == one else (one, {})
            for key, one in sought.items()
        }
        found = self.detector.detect(
            image, [one.sentence for one in sought.values()], self.settings, self.precision
        )
        return {key: self._followed(key, one, size) for key, one in zip(sought, found, strict=True)}

    def _followed(self, key: str, found: Detections, size: tuple[int, int]) -> list[Followed]:
        wanted, before = self._seen[key]
        count = len(found.scores) if wanted.every else min(len(found.scores), 1)
        boxes = [found.box(place) for place in range(count)]
        now: dict[int, Box] = {}
        for box in boxes:
            earlier = {one: place for one, place in before.items() if one not in now}
            found_again = box_overlaps(np.reshape(list(earlier.values()), (-1, 4)), box)
            overlaps = dict(zip(earlier, found_again.tolist(), strict=True))
            identity = max(overlaps, key=overlaps.__getitem__, default=0)
            if not identity or overlaps[identity] < self.settings.same_object:
                self._count += 1
                identity = self._count
            now[identity] = box
        if not now:
            if not before:
                return [searching(size, found.best)]
            # The last identity stands for the object until another box comes.
            identity = next(iter(before))
            empty = np.zeros(size, dtype=bool)
            self._seen[key] = wanted, {identity: before[identity]}
            return [Followed(identity, TargetState.LOST, found.best, found.best, empty)]
        self._seen[key] = wanted, now
        return [
            Followed(identity, TargetState.TRACKING, score, score, box_mask(box, size), box)
            for (identity, box), score in zip(now.items(), found.scores.tolist(), strict=False)
        ]

    def snapshot(self) -> dict[str, Any]:
        return {
            "count": self._count,
            "seen": {
                key: [one.sentence, one.every, boxes] for key, (one, boxes) in self._seen.items()
            },
        }

    def restore(self, remembered: Mapping[str, Any]) -> None:
        self._count = remembered["count"]
        self._seen = {
            key: (Sought(sentence, every), dict(boxes))
            for key, (sentence, every, boxes) in remembered["seen"].items()
        }
