# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""SAM 2 (arXiv 2408.00714) and EdgeTAM (arXiv 2501.07256) on endless streams: boxes to masks."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from referdino_core.peers.loading import computing, image_tensor, masks_at, tensor_bytes
from referdino_core.target import Box

_OBJECT = 1
_BOX_LABELS = (2, 3)
"""The prompt encoder's labels of a box's two corners."""
_NOT_REMEMBERED = ("high_res_masks", "pred_masks")
_SPATIAL_MEMORY = ("maskmem_features", "maskmem_pos_enc")


@dataclass(frozen=True)
class SegmentedObject:
    """One object in one image: its mask (H, W) bool, and the probability that it is visible."""

    mask: np.ndarray
    presence: float


class VideoSegmenter:
    """SAM 2 or EdgeTAM, and the encoded newest image that all objects of a stream share.

    Args:
        network: Sam2VideoModel or EdgeTamVideoModel of transformers.
        name: of the weights.
    """

    def __init__(self, network: nn.Module, name: str = "sam2", precision: str = "fp32") -> None:
        self.network, self.name, self.precision = network, name, precision
        self.device = next(network.parameters()).device
        configuration: Any = network.config
        side = configuration.image_size
        self.side = int(side if isinstance(side, int) else side[0])
        self.remembered = int(
            max(configuration.num_maskmem, configuration.max_object_pointers_in_encoder)
        )
        self.spatially_remembered = int(configuration.num_maskmem)
        self.index = -1
        self._pixels: Tensor | None = None
        self._size = (0, 0)
        self._cache = self.session().cache

    def another(self) -> VideoSegmenter:
        """The same network for another stream."""
        return VideoSegmenter(self.network, self.name, self.precision)

    def restart(self, index: int = -1) -> None:
        """Begin another stream, after the image with this index."""
        self.index = index
        self._cache.clear_all()

    def session(self) -> Any:
        """An empty inference session of transformers, for one object."""
        module = sys.modules[type(self.network).__module__]
        kind = type(self.network).__name__.removesuffix("Model")
        return getattr(module, f"{kind}InferenceSession")(
            inference_device=self.device,
            inference_state_device=self.device,
            video_storage_device=self.device,
            dtype=torch.float32,
        )

    def show(self, image: np.ndarray) -> None:
        """Take the next (H, W, 3) uint8 image; it is encoded when the first object asks for it."""
        self.index += 1
        self._size = image.shape[0], image.shape[1]
        self._pixels = image_tensor(image, (self.side, self.side), self.device)

    def track(self, session: Any) -> SegmentedObject:
        """The object of a session in the newest image."""
        assert self._pixels is not None
        session.cache = self._cache
        with computing(self.device, self.precision):
            output = self.network(session, frame=self._pixels[0], frame_idx=self.index)
            mask = masks_at(output.pred_masks[:, 0], self._size)[0]
            presence = float(self._stored(session)["object_score_logits"].float().sigmoid())
        self._bound(session)
        return SegmentedObject(mask if presence > 0.5 else np.zeros_like(mask), presence)

    def _stored(self, session: Any) -> dict[str, Any]:
        """What the session keeps of the newest image."""
        (outputs,) = session.output_dict_per_obj.values()
        found = [entries[self.index] for entries in outputs.values() if self.index in entries]
        return dict(found[0])

    def start(self, box: Box) -> Any:
        """A session for the object in a box of the newest image, in pixels."""
        session = self.session()
        height, width = self._size
        scale = torch.tensor([self.side / width, self.side / height])
        corners = torch.tensor(box).view(1, 1, 2, 2) * scale
        labels = torch.tensor(_BOX_LABELS, dtype=torch.int32).view(1, 1, 2)
        place = session.obj_id_to_idx(_OBJECT)
        session.add_point_inputs(
            place, self.index, {"point_coords": corners, "point_labels": labels}
        )
        session.obj_with_new_inputs = [_OBJECT]
        return session

    def _bound(self, session: Any) -> None:
        """Forget what no later image uses: pixels, large masks, old memories."""
        session.processed_frames = None
        for outputs in session.output_dict_per_obj.values():
            remembered = outputs["non_cond_frame_outputs"]
            for index in [one for one in remembered if one <= self.index - self.remembered]:
                del remembered[index]
            for kind in outputs.values():
                for index, output in kind.items():
                    for name in _NOT_REMEMBERED:
                        output.pop(name, None)
                    is_old = index <= self.index - self.spatially_remembered
                    if is_old and kind is remembered:
                        for name in _SPATIAL_MEMORY:
                            output.pop(name, None)
        for tracked in session.frames_tracked_per_obj.values():
            for index in [one for one in tracked if one < self.index]:
                del tracked[index]
        for inputs in session.point_inputs_per_obj.values():
            inputs.clear()

    def state_bytes(self, session: Any) -> int:
        """Bytes of an object's memory."""
        return tensor_bytes(session.output_dict_per_obj)

    def snapshot(self, session: Any) -> dict[str, Any]:
        """An object's memory as plain data."""
        (outputs,) = session.output_dict_per_obj.values()
        return {
            kind: {index: dict(output) for index, output in entries.items()}
            for kind, entries in outputs.items()
        }

    def restore(self, remembered: Mapping[str, Any]) -> Any:
        """A session with the memory of a snapshot."""
        session = self.session()
        place = session.obj_id_to_idx(_OBJECT)
        for kind, entries in remembered.items():
            session.output_dict_per_obj[place][kind] = {
                index: {
                    name: value.to(self.device) if isinstance(value, Tensor) else value
                    for name, value in output.items()
                }
                for index, output in entries.items()
            }
        return session
