# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The backend of ONNX Runtime, on a CPU or an NVIDIA GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from referdino_core.backends.exported_backend import ExportedBackend
from referdino_core.errors import ExportedSetError, RuntimeUnavailable
from referdino_core.export.exported_set import ExportedSet
from referdino_core.export.stage_io import STAGES, StageSpec
from referdino_core.network.referdino import ReferDINO
from referdino_core.precision import PRECISIONS
from referdino_core.progress import ProgressMonitor

SEVERITY_ERROR = 3
"""ONNX Runtime's log level that leaves warnings out."""


class OnnxRuntimeBackend(ExportedBackend):
    """ONNX Runtime's sessions over an exported network."""

    name = "onnxruntime"
    title = "ONNX Runtime"
    export_variant = "grid_sample"
    supported_variants = ("grid_sample", "gather")

    def __init__(
        self,
        model: ReferDINO,
        precision: str,
        exports: Path | None = None,
        monitor: ProgressMonitor | None = None,
    ) -> None:
        super().__init__(model, precision, exports, monitor)
        self.providers = providers_for(self.device)

    def open(self, exported: ExportedSet, monitor: ProgressMonitor) -> OnnxRunner:
        """Open sessions for the three stages."""
        return OnnxRunner(exported, self.providers, self.device)


class OnnxRunner:
    """The stages of one exported network as sessions."""

    def __init__(
        self, exported: ExportedSet, providers: Sequence[Any], device: torch.device
    ) -> None:
        low_precision = PRECISIONS[exported.precision].dtype
        self.sessions = {
            name: OnnxSession(exported.files[name], stage, low_precision, providers, device)
            for name, stage in STAGES.items()
        }

    def run(self, stage: str, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Run a stage; its outputs by name."""
        return self.sessions[stage].run(inputs)


class OnnxSession:
    """One stage on ONNX Runtime, from torch tensors to torch tensors without copies.

    Args:
        path: of the graph.
        stage: its inputs and outputs.
        low_precision: the element type of the export's precision.
        providers: ONNX Runtime's execution providers, best first.
        device: of the tensors.

    Raises:
        ExportedSetError: ONNX Runtime cannot load the graph.
    """

    def __init__(
        self,
        path: Path,
        stage: StageSpec,
        low_precision: torch.dtype,
        providers: Sequence[Any],
        device: torch.device,
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = SEVERITY_ERROR
        # Threads that wait for work must not take the processor from the rest of a robot.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.stage = stage
        self.low_precision = low_precision
        self.device = device
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=list(providers)
            )
        except Exception as error:
            raise ExportedSetError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load {path}: "
                f"{str(error).splitlines()[0]}"
            ) from error
        self.sizes = self._static_sizes()

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs by name; every input of the stage must be given."""
        tensors = {name: inputs[name].contiguous() for name in self.stage.input_names}
        names = self.stage.output_names
        if self.device.type == "cpu":
            feed = {name: tensor.numpy() for name, tensor in tensors.items()}
            arrays = self.session.run(names, feed)
            return dict(zip(names, map(torch.from_numpy, arrays), strict=True))
        return self._run_bound(tensors)

    def _static_sizes(self) -> dict[str, int]:
        """Sizes of the static axes of the outputs, by letter."""
        shapes = {node.name: node.shape for node in self.session.get_outputs()}
        return {
            axis: size
            for tensor in self.stage.outputs
            for axis, size in zip(tensor.axes, shapes[tensor.name], strict=True)
            if isinstance(axis, str) and isinstance(size, int)
        }

    def _run_bound(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run on a GPU, with inputs and outputs bound to its memory; see `run`."""
        binding = self.session.io_binding()
        sizes = dict(self.sizes)
        for spec in self.stage.inputs:
            tensor = tensors[spec.name]
            for axis, size in zip(spec.axes, tensor.shape, strict=True):
                if isinstance(axis, str):
                    sizes[axis] = size
            self._bind(binding.bind_input, spec.name, tensor)
        results: dict[str, Tensor] = {}
        for spec in self.stage.outputs:
            dtype = spec.dtype(self.low_precision)
            result = torch.empty(spec.shape(sizes), dtype=dtype, device=self.device)
            self._bind(binding.bind_output, spec.name, result)
            results[spec.name] = result
        # ONNX Runtime works on a stream of its own.
        torch.cuda.current_stream(self.device).synchronize()
        self.session.run_with_iobinding(binding)
        return results

    def _bind(self, bind: Any, name: str, tensor: Tensor) -> None:
        element_type = np.dtype(str(tensor.dtype).removeprefix("torch."))
        place = (self.device.type, self.device.index or 0)
        bind(name, *place, element_type, tuple(tensor.shape), tensor.data_ptr())


def providers_for(device: torch.device) -> list[str | tuple[str, dict[str, str]]]:
    """The execution providers for a device, best first.

    Raises:
        RuntimeUnavailable: this build of ONNX Runtime does not support the device.
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
