# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The stages on ONNX Runtime, on a CPU or an NVIDIA GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from referdino_core.errors import RuntimeUnavailable
from referdino_core.export.exported_set import ExportedSet
from referdino_core.network.referdino import ReferDINO
from referdino_core.runtime.exported_stages import ExportedStages
from referdino_core.runtime.onnx_session import OnnxSession
from referdino_core.runtime.stages import Watch


class OnnxRunner:
    """The sessions of one exported set."""

    def __init__(self, exported: ExportedSet, providers: Sequence[Any], device: torch.device):
        self.image_encoder, self.grounder, self.readout = (
            OnnxSession(exported.files[stage], providers, device)
            for stage in ("image_encoder", "grounder", "readout")
        )

    def encode_image(self, pixels: Tensor) -> Mapping[str, Tensor]:
        """`tokens` and `finest`."""
        return self.image_encoder.run({"pixels": pixels})

    def ground(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """`queries`, `references`, `fused_text` and `mask_features`."""
        return self.grounder.run(inputs)

    def read(self, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """`scores`, `boxes` and `mask_embeddings`."""
        return self.readout.run(inputs)


class OnnxRuntimeStages(ExportedStages):
    """ONNX Runtime's sessions over an exported network."""

    name = "onnxruntime"
    title = "ONNX Runtime"
    form = "grid_sample"
    readable_forms = ("grid_sample", "gather")

    def __init__(
        self,
        model: ReferDINO,
        precision: str,
        exports: Path | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.precisions = ("fp32",) if model.device.type == "cpu" else ("fp32", "fp16")
        super().__init__(model, precision, exports, watch)
        self.providers = providers_for(self.device)

    def open(self, exported: ExportedSet, watch: Watch) -> OnnxRunner:
        """Sessions over the three stages."""
        return OnnxRunner(exported, self.providers, self.device)


def providers_for(device: torch.device) -> list[str | tuple[str, dict[str, str]]]:
    """What ONNX Runtime computes with on a device.

    Raises:
        RuntimeUnavailable: this ONNX Runtime was not built for the device.
    """
    if device.type == "cpu":
        return ["CPUExecutionProvider"]
    if device.type != "cuda":
        raise RuntimeUnavailable(
            f"ONNX Runtime is used on CPUs and NVIDIA GPUs, not on {device}; choose the runtime "
            "torch."
        )
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise RuntimeUnavailable(
            "This ONNX Runtime was built for CPUs; on a GPU install onnxruntime-gpu in place of "
            "onnxruntime, or choose the runtime torch."
        )
    options = {"device_id": str(device.index or 0), "use_tf32": "0"}
    return [("CUDAExecutionProvider", options), "CPUExecutionProvider"]
