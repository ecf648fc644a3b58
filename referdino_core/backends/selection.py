# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Selection of the backend: the requested runtime, or the fastest that works on this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from referdino_core.backends.backend import Backend, EncodedImage, FrameGrounding, Preparation
from referdino_core.configuration import RUNTIMES
from referdino_core.errors import ExportedSetError, RuntimeUnavailable, one_line
from referdino_core.export.exporting import obstacle
from referdino_core.network.image_geometry import Shape
from referdino_core.network.object_memory import Window
from referdino_core.network.readout import SlotReadings
from referdino_core.network.referdino import ReferDINO
from referdino_core.network.text_encoder import TextFeatures
from referdino_core.ops.library import kernel_library
from referdino_core.precision import PRECISIONS, precisions_of
from referdino_core.progress import ProgressMonitor
from referdino_core.user_files import user_path

logger = logging.getLogger("referdino.runtime")

GET_ONNXRUNTIME = "install it with: pip install onnx onnxruntime"

Opener = Callable[[ReferDINO, str, Path | None, ProgressMonitor], Backend]


def open_backend(
    model: ReferDINO,
    runtime: str = "auto",
    precision: str = "fp32",
    exports: str | Path | None = None,
    monitor: ProgressMonitor | None = None,
) -> Backend:
    """The backend of a model on a runtime; the log says which was chosen, and why.

    Args:
        model: on its device.
        runtime: "torch", "onnxruntime", "tensorrt", or "auto" for the fastest that works here;
            if that cannot be opened, or fails to prepare for an image size, PyTorch takes over.
        precision: "fp32", "bf16" or "fp16", of the tensor stages.
        exports: folder that `referdino export` wrote; by default ONNX Runtime and TensorRT export
            what they need, and keep it.
        monitor: progress and cancellation of preparations that take long.

    Raises:
        ReferDINOError: the runtime is unavailable here, or in this precision; the message says
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
    monitor = monitor or ProgressMonitor()
    if runtime == "auto":
        backend, reason = _open_fastest(model, precision, folder, monitor)
        runtime = backend.name
    else:
        backend, reason = _OPENERS[runtime](model, precision, folder, monitor), "as asked"
    logger.info("Runtime: %s, %s, on %s (%s).", runtime, precision, backend.device, reason)
    return backend


def fastest(device: torch.device, precision: str) -> tuple[str, str]:
    """The runtime that "auto" tries first on a device, and why."""
    if device.type == "cuda":
        if PRECISIONS[precision].runs("tensorrt", device.type):
            return "tensorrt", "the fastest on an NVIDIA GPU"
        return "torch", f"TensorRT is used for {_listed('tensorrt', device)}"
    if kernel_library() is not None:
        return "torch", "with the fused CPU kernels it is the fastest on a CPU"
    if not PRECISIONS[precision].runs("onnxruntime", device.type):
        return "torch", f"ONNX Runtime is used for {_listed('onnxruntime', device)} on a CPU"
    return "onnxruntime", "the fused CPU kernels are not built"


def _listed(runtime: str, device: torch.device) -> str:
    return " and ".join(precisions_of(runtime, device.type))


def _open_fastest(
    model: ReferDINO, precision: str, exports: Path | None, monitor: ProgressMonitor
) -> tuple[Backend, str]:
    """The backend for "auto", and why; PyTorch's if the fastest cannot be opened."""
    name, reason = fastest(model.device, precision)

    def pytorch() -> Backend:
        return _OPENERS["torch"](model, precision, exports, monitor)

    if name == "torch":
        return pytorch(), reason
    try:
        backend = _OPENERS[name](model, precision, exports, monitor)
        return AutomaticBackend(backend, pytorch, monitor, exports), reason
    except RuntimeUnavailable as error:
        return pytorch(), str(error).rstrip(".")


class AutomaticBackend(Backend):
    """One backend until it fails to prepare for an image size, then PyTorch's.

    Args:
        backend: that is tried first.
        fallback: opens PyTorch's.
        monitor: PyTorch does not take over once it is cancelled.
        exports: what the user gave, if anything.
    """

    def __init__(
        self,
        backend: Backend,
        fallback: Callable[[], Backend],
        monitor: ProgressMonitor,
        exports: Path | None = None,
    ) -> None:
        super().__init__(backend.model, backend.precision)
        self.backend = backend
        self.fallback: Callable[[], Backend] | None = fallback
        self.monitor = monitor
        self.exports = exports

    @property
    def name(self) -> str:  # type: ignore[override]
        """Name of the runtime in use."""
        return self.backend.name

    @property
    def takes_batches(self) -> bool:  # type: ignore[override]
        """Whether the backend in use encodes several images in one call."""
        return self.backend.takes_batches

    def prepare(self, size: Shape) -> None:
        """As the base class; if the first backend fails, PyTorch takes over for good.

        A given export that does not fit raises, because the user has to correct it.
        """
        try:
            self.backend.prepare(size)
        except Exception as error:
            is_wrong_export = self.exports is not None and isinstance(error, ExportedSetError)
            if self.fallback is None or is_wrong_export or self.monitor.cancelled.is_set():
                raise
            logger.warning(
                "Runtime: torch from now on, because %s cannot get ready for images of %dx%d: %s",
                self.backend.name, size[1], size[0], one_line(error),
            )  # fmt: skip
            self.backend, self.fallback = self.fallback(), None
            self.backend.prepare(size)

    def encode_text(self, sentences: Sequence[Tensor]) -> TextFeatures:
        """By the backend in use."""
        return self.backend.encode_text(sentences)

    def preparation(self, tokens: int, size: Shape | None) -> Preparation | None:
        """By the backend in use."""
        return self.backend.preparation(tokens, size)

    def try_again(self) -> None:
        """By the backend in use."""
        self.backend.try_again()

    def allow_window(self, frames: int) -> None:
        """By the backend in use; PyTorch, which may take over, reads any window."""
        self.backend.allow_window(frames)

    def encode_image(self, pixels: Tensor) -> EncodedImage:
        """By the backend in use."""
        return self.backend.encode_image(pixels)

    def ground(self, image: EncodedImage, text: TextFeatures) -> FrameGrounding:
        """By the backend in use."""
        return self.backend.ground(image, text)

    def read(self, window: Window, mask_features: Tensor) -> SlotReadings:
        """By the backend in use."""
        return self.backend.read(window, mask_features)


def runtimes_here() -> dict[str, str]:
    """Every runtime by name with "yes", or "no" and how to install it."""
    return {
        "torch": "yes",
        "onnxruntime": _yes_or(onnxruntime_obstacle()),
        "tensorrt": _yes_or(tensorrt_obstacle()),
    }


def _yes_or(found: str | None) -> str:
    return "yes" if found is None else f"no; {found}"


def onnxruntime_obstacle() -> str | None:
    """Why ONNX Runtime is unavailable, and how to install it; None if it is available."""
    found = obstacle("onnxruntime")
    return None if found is None else f"{found}; {GET_ONNXRUNTIME}"


def tensorrt_obstacle() -> str | None:
    """Why TensorRT is unavailable, and how to install it; None if it loads, GPU or not."""
    from referdino_core.backends.tensorrt.library import load_tensorrt

    try:
        load_tensorrt()
    except RuntimeUnavailable as error:
        return str(error).rstrip(".")
    except Exception as error:  # A broken installation raises whatever its parts raise.
        return f"TensorRT cannot be imported ({one_line(error)}): install it again"
    return None


def _torch(
    model: ReferDINO, precision: str, exports: Path | None, monitor: ProgressMonitor
) -> Backend:
    from referdino_core.backends.torch_backend import TorchBackend

    if not PRECISIONS[precision].runs("torch", model.device.type):
        raise RuntimeUnavailable(
            "PyTorch computes in fp16 on GPUs only; on a CPU choose the precision bf16 or fp32."
        )
    return TorchBackend(model, precision)


def _onnxruntime(
    model: ReferDINO, precision: str, exports: Path | None, monitor: ProgressMonitor
) -> Backend:
    found = onnxruntime_obstacle()
    if found is not None:
        raise RuntimeUnavailable(f"ONNX Runtime cannot be used: {found}")
    from referdino_core.backends.onnx_backend import OnnxRuntimeBackend

    return OnnxRuntimeBackend(model, precision, exports, monitor)


def _tensorrt(
    model: ReferDINO, precision: str, exports: Path | None, monitor: ProgressMonitor
) -> Backend:
    if model.device.type != "cuda":
        raise RuntimeUnavailable(
            f"TensorRT runs on NVIDIA GPUs, and the device is {model.device}; choose device cuda, "
            "or the runtime torch or onnxruntime."
        )
    found = tensorrt_obstacle()
    if found is not None:
        raise RuntimeUnavailable(f"{found}.")
    from referdino_core.backends.tensorrt.tensorrt_backend import TensorRTBackend

    return TensorRTBackend(model, precision, exports, monitor)


_OPENERS: dict[str, Opener] = {
    "torch": _torch,
    "onnxruntime": _onnxruntime,
    "tensorrt": _tensorrt,
}
