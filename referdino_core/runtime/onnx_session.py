# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""One exported stage on ONNX Runtime, from torch tensors to torch tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from referdino_core.errors import ExportedSetError

WARNINGS_OFF = 3
"""ONNX Runtime's level of errors."""

TYPES = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
}


class OnnxSession:
    """Runs a stage; tensors are handed over without copies.

    Args:
        path: of the graph.
        providers: ONNX Runtime's, best first.
        device: where the tensors are.

    Raises:
        ExportedSetError: ONNX Runtime does not understand the graph.
    """

    def __init__(self, path: Path, providers: Sequence[Any], device: torch.device) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = WARNINGS_OFF
        # Threads that wait for work must not take the processor from the rest of a robot.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
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
        self.inputs = [node.name for node in self.session.get_inputs()]
        self.outputs = self.session.get_outputs()
        self.axes = {node.name: node.shape for node in self.session.get_inputs()}

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs by name; every input of the graph must be given."""
        tensors = {name: inputs[name].contiguous() for name in self.inputs}
        if self.device.type == "cpu":
            feed = {name: tensor.numpy() for name, tensor in tensors.items()}
            arrays = self.session.run(None, feed)
            return {
                node.name: torch.from_numpy(array)
                for node, array in zip(self.outputs, arrays, strict=True)
            }
        return self.run_bound(tensors)

    def run_bound(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The same on a GPU, where inputs and outputs stay."""
        binding = self.session.io_binding()
        sizes: dict[str, int] = {}
        for name, tensor in tensors.items():
            named = zip(self.axes[name], tensor.shape, strict=True)
            sizes.update({axis: size for axis, size in named if isinstance(axis, str)})
            kind = np.dtype(str(tensor.dtype).removeprefix("torch."))
            place = (self.device.type, self.device.index or 0)
            binding.bind_input(name, *place, kind, tuple(tensor.shape), tensor.data_ptr())
        results: dict[str, Tensor] = {}
        for node in self.outputs:
            shape = tuple(sizes[axis] if isinstance(axis, str) else axis for axis in node.shape)
            result = torch.empty(shape, dtype=TYPES[node.type], device=self.device)
            kind = np.dtype(str(result.dtype).removeprefix("torch."))
            place = (self.device.type, self.device.index or 0)
            binding.bind_output(node.name, *place, kind, shape, result.data_ptr())
            results[node.name] = result
        # ONNX Runtime works on a stream of its own.
        torch.cuda.current_stream(self.device).synchronize()
        self.session.run_with_iobinding(binding)
        return results
