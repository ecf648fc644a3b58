# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""TensorRT engines on torch tensors, on a stream of their own, as CUDA graphs."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from referdino_core.backends.cuda_graph import GraphedFunction
from referdino_core.backends.tensorrt import rtx
from referdino_core.backends.tensorrt.library import forget_errors, last_errors, sizes_of, trt
from referdino_core.backends.tensorrt.networks import AxisRange, match_shape, torch_type
from referdino_core.errors import EngineError
from referdino_core.export.stage_io import StageSpec, TensorSpec

ALIGNMENT = 256
"""Alignment of addresses that TensorRT requires, bytes."""

Shape = tuple[int, ...]


class TensorRTEngine:
    """One stage as an engine, for one thread at a time.

    Inputs that are another stage's outputs are read in place. All others are copied into buffers of
    the engine, whose addresses stay, so that the work can be recorded as a CUDA graph. The engine
    owns its outputs: the next call overwrites them.
    """

    def __init__(
        self,
        payload: bytes,
        stage: StageSpec,
        *,
        low_precision: torch.dtype,
        ranges: Mapping[str, AxisRange],
        sizes: MutableMapping[str, int],
        logger: trt.ILogger,
        device: torch.device,
        kernels: Path | None = None,
    ) -> None:
        """Load an engine, check it, and allocate its memory.

        Args:
            payload: the serialized engine.
            stage: its inputs and outputs.
            low_precision: the element type of the export's precision.
            ranges: of the dynamic axes' sizes.
            sizes: known sizes of the static axes; those of further axes are added.
            logger: TensorRT's logger.
            device: the GPU.
            kernels: file of the kernels that TensorRT for RTX compiles for the engine.

        Raises:
            EngineError: the engine cannot be loaded, or is not that of this stage.
        """
        self.stage = stage
        self._low_precision = low_precision
        self._device = device
        self._logger = logger
        self._shapes: dict[str, Shape] = {}
        self._addresses: dict[str, int] = {}
        self._input_memory: dict[str, Tensor] = {}
        self._outputs: dict[str, Tensor] = {}
        forget_errors(logger)
        with torch.cuda.device(device):
            self._runtime: trt.Runtime = _make_runtime(logger)
            self._engine: trt.ICudaEngine = self._load(payload)
            self._check(ranges, sizes)
            self._context: trt.IExecutionContext = self._make_context(kernels)
            self._limits = {tensor.name: self._limits_of(tensor.name) for tensor in stage.inputs}
            self._output_memory = self._allocate_outputs()
            self._graphed = GraphedFunction(
                self._launch,
                device,
                stream=torch.cuda.Stream(device),
                max_graphs=1,
                can_record=kernels is None,
            )

    def _load(self, payload: bytes) -> trt.ICudaEngine:
        engine: trt.ICudaEngine | None = self._runtime.deserialize_cuda_engine(payload)
        if engine is None:
            raise EngineError(
                f"TensorRT cannot load the {self.stage.name} engine: {last_errors(self._logger)}."
            )
        return engine

    def _make_context(self, kernels: Path | None) -> trt.IExecutionContext:
        context: trt.IExecutionContext | None
        if kernels is None:
            context = self._engine.create_execution_context()
        else:
            context = rtx.make_context(self._engine, kernels, self._logger)
        if context is None:
            raise EngineError(
                f"TensorRT cannot prepare the {self.stage.name} engine: "
                f"{last_errors(self._logger)}."
            )
        return context

    def _allocate_outputs(self) -> dict[str, Tensor]:
        """Memory for the outputs of the largest inputs."""
        self._set_shapes({name: most for name, (_, most) in self._limits.items()})
        self._shapes = {}
        return {
            tensor.name: torch.empty(
                prod(sizes_of(self._context.get_tensor_shape(tensor.name))),
                dtype=self._type_of(tensor),
                device=self._device,
            )
            for tensor in self.stage.outputs
        }

    def _input_buffer(self, tensor: TensorSpec, shape: Shape) -> Tensor:
        """Memory of the engine for an input of this shape."""
        self._check_shape(tensor.name, shape)
        memory = self._input_memory.get(tensor.name)
        if memory is None:
            most = self._limits[tensor.name][1]
            memory = torch.empty(prod(most), dtype=self._type_of(tensor), device=self._device)
            self._input_memory[tensor.name] = memory
        return memory[: prod(shape)].view(shape)

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run the stage, in order with the work on the current stream.

        Args:
            inputs: the stage's inputs by name, in its types, on any device.

        Returns:
            The outputs by name, ready for the current stream, and overwritten by the next call.

        Raises:
            EngineError: an input is missing or does not fit, or TensorRT fails.
        """
        placed = {tensor.name: self._place(tensor, inputs) for tensor in self.stage.inputs}
        shapes = {name: tuple(tensor.shape) for name, tensor in placed.items()}
        if shapes != self._shapes:
            self._graphed.synchronize()
            self._set_shapes(shapes)
            self._outputs = {
                tensor.name: self._output(tensor.name) for tensor in self.stage.outputs
            }
        addresses = {name: tensor.data_ptr() for name, tensor in (placed | self._outputs).items()}
        for name, address in addresses.items():
            if self._addresses.get(name) != address:
                self._require(self._context.set_tensor_address(name, address), name)
                self._addresses[name] = address
        self._graphed(key=(tuple(shapes.items()), tuple(addresses.items())))
        return dict(self._outputs)

    def _launch(self) -> tuple[Tensor, ...]:
        stream = torch.cuda.current_stream(self._device)
        self._require(self._context.execute_async_v3(stream.cuda_stream), "its work")
        return ()

    def _require(self, accepted: bool, what: str) -> None:
        if not accepted:
            raise EngineError(
                f"TensorRT refuses {what} of the {self.stage.name} engine: "
                f"{last_errors(self._logger)}."
            )

    def _place(self, expected: TensorSpec, inputs: Mapping[str, Tensor]) -> Tensor:
        name = expected.name
        if name not in inputs:
            raise EngineError(f"{self.stage.name} needs the input {name!r}.")
        tensor = inputs[name]
        if tensor.dtype != self._type_of(expected):
            raise EngineError(
                f"{name} of {self.stage.name} is {tensor.dtype}, {self._type_of(expected)} was "
                "expected."
            )
        shape = tuple(tensor.shape)
        if (
            name in self.stage.chained
            and tensor.device == self._device
            and tensor.is_contiguous()
            and tensor.data_ptr() % ALIGNMENT == 0
        ):
            self._check_shape(name, shape)
            return tensor
        buffer = self._input_buffer(expected, shape)
        # Memory of the CPU may change as soon as this returns.
        buffer.copy_(tensor, non_blocking=tensor.is_cuda)
        return buffer

    def _check_shape(self, name: str, shape: Shape) -> None:
        least, most = self._limits[name]
        fits = len(shape) == len(most) and all(
            low <= size <= high for low, size, high in zip(least, shape, most, strict=True)
        )
        if not fits:
            raise EngineError(
                f"{name} of {self.stage.name} is {shape}, but the engine takes {least} to {most}."
            )

    def _set_shapes(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = {}
        sizes: dict[str, int] = {}
        for tensor in self.stage.inputs:
            shape = shapes[tensor.name]
            for axis, size in zip(tensor.axes, shape, strict=True):
                if isinstance(axis, str) and sizes.setdefault(axis, size) != size:
                    raise EngineError(
                        f"axis {axis} of {tensor.name} of {self.stage.name} is {size}, but "
                        f"{sizes[axis]} in another input."
                    )
            self._require(self._context.set_input_shape(tensor.name, shape), tensor.name)
        missing = self._context.infer_shapes()
        self._require(not missing, f"the shapes of {', '.join(missing)}")
        self._shapes = dict(shapes)

    def _output(self, name: str) -> Tensor:
        shape = sizes_of(self._context.get_tensor_shape(name))
        memory = self._output_memory[name]
        if min(shape) < 0 or prod(shape) > memory.numel():
            raise EngineError(
                f"{name} of {self.stage.name} has shape {shape}, which exceeds the engine's limits."
            )
        return memory[: prod(shape)].view(shape)

    def _type_of(self, tensor: TensorSpec) -> torch.dtype:
        return tensor.dtype(self._low_precision)

    def _limits_of(self, name: str) -> tuple[Shape, Shape]:
        """The smallest and the largest shape of an input."""
        shape = sizes_of(self._engine.get_tensor_shape(name))
        if min(shape) >= 0:
            return shape, shape
        least, _, most = self._engine.get_tensor_profile_shape(name, 0)
        return sizes_of(least), sizes_of(most)

    def _check(self, ranges: Mapping[str, AxisRange], sizes: MutableMapping[str, int]) -> None:
        """Compare names, directions, types, devices and shapes with those of the stage."""
        engine = self._engine
        wanted = {tensor.name: (trt.TensorIOMode.INPUT, tensor) for tensor in self.stage.inputs}
        for tensor in self.stage.outputs:
            wanted[tensor.name] = (trt.TensorIOMode.OUTPUT, tensor)
        found = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
        if found != set(wanted):
            raise EngineError(
                f"the {self.stage.name} engine has the tensors {', '.join(sorted(found))}, but "
                f"{', '.join(sorted(wanted))} were expected."
            )
        for name, (mode, tensor) in wanted.items():
            if engine.get_tensor_mode(name) != mode:
                raise EngineError(
                    f"{name} of the {self.stage.name} engine should be an {mode.name.lower()}."
                )
            data_type = torch_type(engine.get_tensor_dtype(name))
            if data_type != self._type_of(tensor):
                raise EngineError(
                    f"{name} of the {self.stage.name} engine is {data_type}, "
                    f"{self._type_of(tensor)} was expected."
                )
            if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
                raise EngineError(f"{name} of the {self.stage.name} engine is not on the GPU.")
            match_shape(tensor, sizes_of(engine.get_tensor_shape(name)), ranges, sizes)


def _make_runtime(logger: trt.ILogger) -> trt.Runtime:
    try:
        return trt.Runtime(logger)
    except TypeError as error:  # which is how the bindings say that there is none
        raise EngineError(f"TensorRT cannot start: {last_errors(logger)}.") from error
