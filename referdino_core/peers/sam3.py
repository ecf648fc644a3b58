# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""SAM 3 (arXiv 2511.16719) on endless streams: noun phrases to the masks of all their instances."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from referdino_core.errors import CommandError
from referdino_core.peers.following import Followed, PeerFollower, PeerSettings, Sought, searching
from referdino_core.peers.loading import computing, image_tensor, masks_at, tensor_bytes
from referdino_core.peers.noun_phrases import head_noun_phrase, is_noun_phrase
from referdino_core.target import TargetState, mask_overlap

_MEAN = _STD = (0.5, 0.5, 0.5)
MAX_TRACKED = 64
"""Instances that SAM 3 tracks at once, of all phrases; its released limit is 10,000."""


@dataclass
class _Instance:
    """One instance of a phrase.

    Attributes:
        score: of its detection. mask: the newest that is not empty. seen: that image's stamp.
        presence: the tracker's score in the newest image.
    """

    identity: int
    score: float
    mask: np.ndarray
    seen: float
    presence: float = 0.0
    is_visible: bool = False


@dataclass
class _Phrase:
    """A noun phrase with its instances by their id in the current window, and earlier ones."""

    prompt: int
    instances: dict[int, _Instance] = field(default_factory=dict)
    earlier: list[_Instance] = field(default_factory=list)

    def hide(self) -> None:
        """Take every instance of the current window as invisible until an image shows it."""
        for instance in self.instances.values():
            instance.is_visible, instance.presence = False, 0.0


class SAM3(PeerFollower):
    """SAM 3's video model, fed image by image.

    A sentence is answered for its head noun phrase. A command that selects one object follows the
    instance with the highest score until it is lost. The memory, which grows with every image, is
    rebuilt after `settings.window` images and when a phrase is no longer sought; an instance keeps
    its identity if the masks before and after overlap.

    Args:
        network: Sam3VideoModel of transformers.
        tokenizer: a `tokenizers.Tokenizer`.
    """

    noun_phrases_only = True
    snapshots = False

    def __init__(
        self, network: nn.Module, tokenizer: Any, settings: PeerSettings, precision: str = "fp32"
    ) -> None:
        model: Any = network
        model.max_num_objects = min(model.max_num_objects, MAX_TRACKED)
        self.network = network
        self.tokenizer, self.settings, self.precision = tokenizer, settings, precision
        self._place = next(network.parameters()).device
        self.name, self.device = "sam3", str(self._place)
        text = model.config.detector_config.text_config
        self.max_tokens = int(text.max_position_embeddings)
        side = model.config.image_size
        self.side = int(side if isinstance(side, int) else side[0])
        self.restart()

    def another(self) -> SAM3:
        return SAM3(self.network, self.tokenizer, self.settings, self.precision)

    def check(self, sentence: str) -> object:
        phrase = head_noun_phrase(sentence)
        if not any(character.isalnum() for character in phrase):
            raise CommandError("The command is empty; name an object, such as 'the red mug'.")
        count = len(self.tokenizer.encode(phrase).ids)
        if count > self.max_tokens:
            raise CommandError(
                f"The noun phrase {phrase!r} has {count} tokens; SAM 3 reads {self.max_tokens}."
            )
        return phrase

    def note_of(self, sentence: str) -> str:
        if is_noun_phrase(sentence):
            return ""
        return (
            f"SAM 3 reads noun phrases only: {sentence!r} is answered for "
            f"{head_noun_phrase(sentence)!r}."
        )

    def restart(self) -> None:
        self.window_count = 0
        self._count = 0
        self.forget()

    def forget(self) -> None:
        self._phrases: dict[str, _Phrase] = {}
        self._chosen: dict[str, tuple[Sought, int]] = {}
        self._begin_window()

    def _begin_window(self) -> None:
        """Start with an empty memory; phrases are prompted again, instances matched by masks."""
        module = sys.modules[type(self.network).__module__]
        self._session: Any = module.Sam3VideoInferenceSession(
            inference_device=self._place,
            inference_state_device=self._place,
            video_storage_device=self._place,
            dtype=torch.float32,
        )
        self._index = -1
        self.window_count += 1
        for text, phrase in self._phrases.items():
            phrase.hide()
            phrase.earlier = [*phrase.instances.values(), *phrase.earlier]
            phrase.instances = {}
            self._add_prompt(text, phrase.prompt)

    def _add_prompt(self, text: str, prompt: int) -> None:
        # The session's own numbers repeat once a prompt has been removed.
        ids = self.tokenizer.encode(text).ids
        mask = [1] * len(ids) + [0] * (self.max_tokens - len(ids))
        ids = ids + [self._padding] * (self.max_tokens - len(ids))
        self._session.prompts[prompt] = text
        self._session.prompt_input_ids[prompt] = torch.tensor([ids], device=self._place)
        self._session.prompt_attention_masks[prompt] = torch.tensor([mask], device=self._place)

    @property
    def _padding(self) -> int:
        """The token that pads a text: CLIP's end of text."""
        found = self.tokenizer.token_to_id("<|endoftext|>")
        return 0 if found is None else int(found)

    def follow(
        self, image: np.ndarray, stamp: float, sought: Mapping[str, Sought]
    ) -> dict[str, list[Followed]]:
        size = image.shape[0], image.shape[1]
        texts = {key: head_noun_phrase(one.sentence) for key, one in sought.items()}
        self._take_phrases(list(dict.fromkeys(texts.values())))
        if not texts:
            return {}
        self._index += 1
        with computing(self._place, self.precision):
            pixels = image_tensor(image, (self.side, self.side), self._place, _MEAN, _STD)
            output = self.network(self._session, frame=pixels[0], frame_idx=self._index)
        # Its place must stay, since the number of frames limits the object pointers.
        self._session.processed_frames[self._index] = torch.empty(0)
        self._update(output, size, stamp)
        self._chosen = {
            key: chosen
            for key, chosen in self._chosen.items()
            if key in sought and chosen[0] == sought[key]
        }
        return {
            key: self._followed(key, one, self._phrases[texts[key]], size, stamp)
            for key, one in sought.items()
        }

    def _take_phrases(self, wanted: list[str]) -> None:
        kept = {text: phrase for text, phrase in self._phrases.items() if text in wanted}
        is_dropped = len(kept) < len(self._phrases)
        self._phrases = kept
        if is_dropped or self._index + 1 >= self.settings.window:
            self._begin_window()
        for text in wanted:
            if text not in kept:
                prompt = max((one.prompt for one in kept.values()), default=-1) + 1
                kept[text] = _Phrase(prompt)
                self._add_prompt(text, prompt)

    def _update(self, output: Any, size: tuple[int, int], stamp: float) -> None:
        """Update the instances with the network's output."""
        numbers = sorted(output.obj_id_to_mask)
        hidden = set(output.suppressed_obj_ids or ()) | set(output.removed_obj_ids or ())
        logits: list[Tensor] = [output.obj_id_to_mask[number] for number in numbers]
        masks = masks_at(torch.cat(logits), size) if logits else np.zeros((0, *size), dtype=bool)
        by_prompt = {phrase.prompt: phrase for phrase in self._phrases.values()}
        for phrase in self._phrases.values():
            phrase.hide()
        for number, mask in zip(numbers, masks, strict=True):
            prompt = self._session.obj_id_to_prompt_id.get(number)
            owner = by_prompt.get(prompt)
            if owner is None:
                continue
            is_visible = bool(mask.any()) and number not in hidden
            score = float(output.obj_id_to_score[number])
            if number not in owner.instances:
                if not is_visible:
                    continue
                owner.instances[number] = self._instance(owner, score, mask, stamp)
            instance = owner.instances[number]
            instance.is_visible = is_visible
            instance.score = score
            instance.presence = float(output.obj_id_to_tracker_score.get(number, score))
            if is_visible:
                instance.mask, instance.seen = mask, stamp
        for phrase in self._phrases.values():
            held = [one for one in phrase.earlier if stamp - one.seen < self.settings.hold]
            if not held and not phrase.instances:  # the last one stays lost, until another is found
                held = sorted(phrase.earlier, key=lambda one: -one.seen)[:1]
            phrase.earlier = held

    def _instance(self, phrase: _Phrase, score: float, mask: np.ndarray, stamp: float) -> _Instance:
        """A new instance; one of the last window with an overlapping mask gives it its identity."""
        held = [one for one in phrase.earlier if stamp - one.seen < self.settings.hold]
        overlaps = [(mask_overlap(mask, one.mask), one) for one in held]
        best = max(overlaps, key=lambda one: one[0], default=None)
        if best is not None and best[0] >= self.settings.same_object:
            phrase.earlier.remove(best[1])
            return _Instance(best[1].identity, score, mask, stamp)
        self._count += 1
        return _Instance(self._count, score, mask, stamp)

    def _followed(
        self, key: str, sought: Sought, phrase: _Phrase, size: tuple[int, int], stamp: float
    ) -> list[Followed]:
        known = sorted(
            [*phrase.instances.values(), *phrase.earlier],
            key=lambda one: (-one.is_visible, -one.score, one.identity),
        )
        held = [one for one in known if one.is_visible or stamp - one.seen < self.settings.hold]
        if sought.every:
            chosen = held[: self.settings.max_objects] or known[:1]
        else:
            before = self._chosen.get(key, (sought, 0))[1]
            same = [one for one in held if one.identity == before]
            visible = [one for one in held if one.is_visible]
            last = [one for one in known if one.identity == before]
            chosen = (same or visible or last or known)[:1]
            if chosen:
                self._chosen[key] = sought, chosen[0].identity
        if not chosen:
            return [searching(size)]
        return [self._result(one, size, stamp) for one in chosen]

    def _result(self, one: _Instance, size: tuple[int, int], stamp: float) -> Followed:
        state = TargetState.TRACKING
        if not one.is_visible:
            is_lost = stamp - one.seen >= self.settings.hold
            state = TargetState.LOST if is_lost else TargetState.OCCLUDED
        mask = one.mask if one.is_visible else np.zeros(size, dtype=bool)
        return Followed(one.identity, state, one.score, one.score * one.presence, mask)

    @property
    def state_bytes(self) -> int:
        session = self._session
        kept = [one for phrase in self._phrases.values() for one in phrase.instances.values()]
        return (
            tensor_bytes(session.output_dict_per_obj)
            + tensor_bytes(session.mask_inputs_per_obj)
            + tensor_bytes(session.processed_frames)
            + sum(one.mask.nbytes for one in kept)
        )
