# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Which runtime computes the network: the one that is asked for, or the fastest that works here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from referdino_core.configuration import PRECISIONS, RUNTIMES
from referdino_core.errors import ExportedSetError, RuntimeUnavailable
from referdino_core.export.requirements import obstacle, one_line
from referdino_core.network.image_geometry import Shape
from referdino_core.network.object_memory import Window
from referdino_core.network.readout import SlotReadings
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.ops.library import kernel_library
from referdino_core.runtime.stages import (
    EncodedImage,
    FrameGrounding,
    Preparation,
    Stages,
    Watch,
)
from referdino_core.user_files import user_path

logger = logging.getLogger("referdino.runtime")

GET_ONNXRUNTIME = "install it with: pip install onnx onnxruntime"

Opener = Callable[[ReferDINO, str, Path | None, Watch], Stages]


def open_stages(
    model: ReferDINO,
    runtime: str = "auto",
    precision: str = "fp32",
    exports: str | Path | None = None,
    watch: Watch | None = None,
) -> Stages:
    """The stages of a model on a runtime; what was chosen, and why, is in the log.

    Args:
        model: on its device.
        runtime: "torch", "onnxruntime", "tensorrt", or "auto" for the fastest that works here:
            where that cannot be opened, or cannot get ready for an image size, PyTorch takes over.
        precision: "fp32", "bf16" or "fp16", of the tensor stages.
        exports: folder that `referdino export` wrote; by default ONNX Runtime and TensorRT make
            and keep their own where none fits.
        watch: hears of progress where getting ready takes long, and can cancel it.

    Raises:
        ReferDINOError: the runtime cannot be had here, or not in this precision; the message says
            what is missing and how to get it.
    """
    if precision not in PRECISIONS:
        raise RuntimeUnavailable(
            f"There is no precision {precision!r}; choose one of {', '.join(PRECISIONS)}."
        )
    if runtime not in RUNTIMES:
        raise RuntimeUnavailable(
            f"There is no runtime {runtime!r}; choose one of {', '.join(RUNTIMES)}."
        )
    folder = None if exports is None else user_path(exports)
    watch = watch or Watch()
    if runtime == "auto":
        stages, reason = _open_fastest(model, precision, folder, watch)
        runtime = stages.name
    else:
        stages, reason = _OPENERS[runtime](model, precision, folder, watch), "as asked"
    logger.info("Runtime: %s, %s, on %s (%s).", runtime, precision, stages.device, reason)
    return stages


def fastest(device: torch.device, precision: str) -> tuple[str, str]:
    """Name of the runtime that "auto" tries first on a device, and why."""
    if device.type == "cuda" and precision == "bf16":
        return "torch", "TensorRT is used for fp32 and fp16"
    if device.type == "cuda":
        return "tensorrt", "the fastest on an NVIDIA GPU"
    if kernel_library() is not None:
        return "torch", "with the fused CPU kernels it is the fastest on a CPU"
    if precision != "fp32":
        return "torch", "ONNX Runtime is used for fp32 on a CPU"
    return "onnxruntime", "the fused CPU kernels are not built"


def _open_fastest(
    model: ReferDINO, precision: str, exports: Path | None, watch: Watch
) -> tuple[Stages, str]:
    """The stages that "auto" stands for, and why; PyTorch's where the fastest cannot be opened."""
    name, reason = fastest(model.device, precision)

    def pytorch() -> Stages:
        return _OPENERS["torch"](model, precision, exports, watch)

    if name == "torch":
        return pytorch(), reason
    try:
        stages = _OPENERS[name](model, precision, exports, watch)
        return AutomaticStages(stages, pytorch, watch, exports), reason
    except RuntimeUnavailable as error:
        return pytorch(), str(error).rstrip(".")


class AutomaticStages(Stages):
    """The stages of one runtime until it cannot get ready for an image size, then PyTorch's.

    Args:
        stages: of the runtime that is tried first.
        fallback: opens PyTorch's.
        watch: who cancels does not want PyTorch's either.
        exports: what the user gave, if anything.
    """

    def __init__(
        self,
        stages: Stages,
        fallback: Callable[[], Stages],
        watch: Watch,
        exports: Path | None = None,
    ) -> None:
        super().__init__(stages.model, stages.precision)
        self.stages = stages
        self.fallback: Callable[[], Stages] | None = fallback
        self.watch = watch
        self.exports = exports

    @property
    def name(self) -> str:  # type: ignore[override]
        """Of the runtime in use."""
        return self.stages.name

    @property
    def takes_batches(self) -> bool:  # type: ignore[override]
        """Whether the runtime in use encodes several images at once."""
        return self.stages.takes_batches

    def prepare(self, size: Shape) -> None:
        """As the base class; what the first runtime fails at, PyTorch does from then on.

        An export that was given and does not fit is the user's to correct, and raises.
        """
        try:
            self.stages.prepare(size)
        except Exception as error:
            is_wrong_export = self.exports is not None and isinstance(error, ExportedSetError)
            if self.fallback is None or is_wrong_export or self.watch.cancelled.is_set():
                raise
            logger.warning(
                "Runtime: torch from now on, because %s cannot get ready for images of %dx%d: %s",
                self.stages.name, size[1], size[0], one_line(error),
            )  # fmt: skip
            self.stages, self.fallback = self.fallback(), None
            self.stages.prepare(size)

    def encode_text(self, sentences: Sequence[Tensor]) -> TextFeatures:
        """By the runtime in use."""
        return self.stages.encode_text(sentences)

    def preparation(self, tokens: int, size: Shape | None) -> Preparation | None:
        """By the runtime in use."""
        return self.stages.preparation(tokens, size)

    def try_again(self) -> None:
        """By the runtime in use."""
        self.stages.try_again()

    def allow_window(self, frames: int) -> None:
        """By the runtime in use; PyTorch, which may follow it, reads any window."""
        self.stages.allow_window(frames)

    def encode_image(self, pixels: Tensor) -> EncodedImage:
        """By the runtime in use."""
        return self.stages.encode_image(pixels)

    def ground(self, image: EncodedImage, text: TextFeatures) -> FrameGrounding:
        """By the runtime in use."""
        return self.stages.ground(image, text)

    def read(self, window: Window, mask_features: Tensor) -> SlotReadings:
        """By the runtime in use."""
        return self.stages.read(window, mask_features)


def runtimes_here() -> dict[str, str]:
    """For every runtime by name: whether it is installed and can be loaded, or how to get it."""
    return {
        "torch": "yes",
        "onnxruntime": _yes_or(onnxruntime_obstacle()),
        "tensorrt": _yes_or(tensorrt_obstacle()),
    }


def _yes_or(found: str | None) -> str:
    return "yes" if found is None else f"no; {found}"


def onnxruntime_obstacle() -> str | None:
    """Why ONNX Runtime cannot be used, with how to get it; None where it can be."""
    found = obstacle("onnxruntime")
    return None if found is None else f"{found}; {GET_ONNXRUNTIME}"


def tensorrt_obstacle() -> str | None:
    """Why TensorRT cannot be used, with how to get it; None where it can be, GPU or not."""
    from referdino_core.runtime.tensorrt.library import load_tensorrt

    try:
        load_tensorrt()
    except RuntimeUnavailable as error:
        return str(error).rstrip(".")
    except Exception as error:  # A broken installation raises whatever its parts raise.
        return f"TensorRT cannot be imported ({one_line(error)}): install it again"
    return None


def _torch(model: ReferDINO, precision: str, exports: Path | None, watch: Watch) -> Stages:
    from referdino_core.runtime.torch_stages import TorchStages

    if model.device.type == "cpu" and precision == "fp16":
        raise RuntimeUnavailable(
            "PyTorch computes in fp16 on GPUs only; on a CPU choose the precision bf16 or fp32."
        )
    return TorchStages(model, precision)


def _onnxruntime(model: ReferDINO, precision: str, exports: Path | None, watch: Watch) -> Stages:
    found = onnxruntime_obstacle()
    if found is not None:
        raise RuntimeUnavailable(f"ONNX Runtime cannot be used: {found}")
    from referdino_core.runtime.onnx_stages import OnnxRuntimeStages

    return OnnxRuntimeStages(model, precision, exports, watch)


def _tensorrt(model: ReferDINO, precision: str, exports: Path | None, watch: Watch) -> Stages:
    if model.device.type != "cuda":
        raise RuntimeUnavailable(
            f"TensorRT runs on NVIDIA GPUs, and the device is {model.device}; choose device cuda, "
            "or the runtime torch or onnxruntime."
        )
    found = tensorrt_obstacle()
    if found is not None:
        raise RuntimeUnavailable(f"{found}.")
    from referdino_core.runtime.tensorrt_stages import TensorRTStages

    return TensorRTStages(model, precision, exports, watch)


_OPENERS: dict[str, Opener] = {
    "torch": _torch,
    "onnxruntime": _onnxruntime,
    "tensorrt": _tensorrt,
}
