# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the module `tensorrt` for what no library does without a GPU: loading and running
engines. Its networks are JSON, its engines compute nothing.

It has only what our code calls, under TensorRT's own names; backends/tensorrt/test_api.py compares
those with the real bindings.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from referdino_core.backends.tensorrt import engine as engine_module
from referdino_core.backends.tensorrt import provider as provider_module
from referdino_core.export.stage_io import STAGES

SIZES = {"H": 36, "W": 64, "L": 4, "S": 30, "d": 8, "Q": 5, "C": 6, "h": 9, "w": 16}
WINDOW = 3
_DATA_TYPES = {"float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16"}
_DATA_TYPES |= {"bool": "BOOL", "int32": "INT32"}


class Severity(IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ILogger:
    Severity = Severity

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    pass


class NetworkDefinitionCreationFlag(IntEnum):
    EXPLICIT_BATCH, STRONGLY_TYPED = range(2)


class BuilderFlag(Enum):
    TF32 = 1


class MemoryPoolType(Enum):
    WORKSPACE = 1


class TensorIOMode(Enum):
    INPUT, OUTPUT = range(2)


class TensorLocation(Enum):
    DEVICE, HOST = range(2)


class DataType(Enum):
    FLOAT, HALF, BF16, INT32, BOOL, INT8 = range(6)


class Dims(tuple):
    pass


@dataclass
class ITensor:
    name: str
    shape: Dims
    dtype: DataType


@dataclass
class INetworkDefinition:
    flags: int
    content: dict[str, Any] = field(default_factory=dict)

    @property
    def num_inputs(self) -> int:
        return len(self.content["inputs"])

    @property
    def num_outputs(self) -> int:
        return len(self.content["outputs"])

    def get_input(self, index: int) -> ITensor:
        return self._tensor("inputs", index)

    def get_output(self, index: int) -> ITensor:
        return self._tensor("outputs", index)

    def _tensor(self, side: str, index: int) -> ITensor:
        name, (shape, data_type) = list(self.content[side].items())[index]
        return ITensor(name, Dims(shape), DataType[_DATA_TYPES.get(data_type, "INT8")])


class IOptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Dims, opt: Dims, max: Dims) -> None:
        self.shapes[input] = [list(min), list(opt), list(max)]


@dataclass
class ITimingCache:
    content: bytes

    def serialize(self) -> bytes:
        return self.content + b"+"


class IBuilderConfig:
    def __init__(self) -> None:
        self.profiles: list[IOptimizationProfile] = []
        self.pools: dict[MemoryPoolType, int] = {}
        self.timing_cache: ITimingCache | None = None
        self.progress_monitor: Any = None

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        self.pools[pool] = pool_size

    def clear_flag(self, flag: BuilderFlag) -> None:
        assert flag == BuilderFlag.TF32

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        return ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.timing_cache = cache
        return not cache.content.startswith(b"other GPU")


class ICudaEngine:
    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self.contexts: list[IExecutionContext] = []
        self._tensors: dict[str, Any] = content["inputs"] | content["outputs"]

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.content["inputs"] else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[_DATA_TYPES.get(self._tensors[name][1], "INT8")]

    def get_tensor_location(self, name: str) -> TensorLocation:
        return TensorLocation.DEVICE

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims(self._tensors[name][0])

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        assert profile_index == 0
        return [Dims(shape) for shape in self.content["profile"][name]]

    def create_execution_context(self) -> IExecutionContext:
        self.contexts.append(IExecutionContext(self))
        return self.contexts[-1]


class IExecutionContext:
    """Notes every launch: the addresses by name, the shapes of the inputs and the stream."""

    def __init__(self, engine: ICudaEngine) -> None:
        self.engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.launches: list[tuple[dict, dict, int]] = []
        self.accepts_work = True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return True

    def infer_shapes(self) -> list[str]:
        return [name for name in self.engine.content["inputs"] if name not in self.shapes]

    def get_tensor_shape(self, name: str) -> Dims:
        sizes: dict[int | str, int] = {}
        for tensor in STAGES[self.engine.content["stage"]].inputs:
            sizes |= dict(zip(tensor.axes, self.shapes[tensor.name], strict=True))
        outputs = {tensor.name: tensor for tensor in STAGES[self.engine.content["stage"]].outputs}
        known: dict[int | str, int] = {**SIZES, **sizes}
        return Dims(known.get(axis, axis) for axis in outputs[name].axes)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        self.launches.append((dict(self.addresses), dict(self.shapes), stream_handle))
        return self.accepts_work


@dataclass
class Simulation:
    """How TensorRT is to behave, and what it was asked.

    phases: what a build reports to its monitor; whether it is to go on. engines: those that were
    loaded.
    """

    version: str = "10.13.3.9"
    phases: Callable[[Any], bool] | None = None
    can_load: bool = True
    networks: list[INetworkDefinition] = field(default_factory=list)
    configs: list[IBuilderConfig] = field(default_factory=list)
    engines: list[ICudaEngine] = field(default_factory=list)

    def module(self) -> ModuleType:
        """What takes the place of `tensorrt`."""
        module = ModuleType("tensorrt")
        classes = (
            *(ILogger, IProgressMonitor, NetworkDefinitionCreationFlag),
            *(BuilderFlag, MemoryPoolType, TensorIOMode, TensorLocation, DataType, Dims),
            *(ITensor, INetworkDefinition, IOptimizationProfile, ITimingCache, IBuilderConfig),
            *(ICudaEngine, IExecutionContext),
        )
        vars(module).update({one.__name__: one for one in classes})
        for one in (Builder, OnnxParser, Runtime):
            setattr(module, one.__name__, type(one.__name__, (one,), {"_simulation": self}))
        vars(module).update(__version__=self.version)
        return module


class Builder:
    _simulation: Simulation

    def __init__(self, logger: ILogger) -> None:
        self.logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        self._simulation.networks.append(INetworkDefinition(flags))
        return self._simulation.networks[-1]

    def create_builder_config(self) -> IBuilderConfig:
        self._simulation.configs.append(IBuilderConfig())
        return self._simulation.configs[-1]

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> bytes | None:
        if self._simulation.phases and not self._simulation.phases(config.progress_monitor):
            return None
        profile = config.profiles[0].shapes if config.profiles else {}
        return json.dumps(network.content | {"profile": profile}).encode()


class OnnxParser:
    _simulation: Simulation

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self.network = network

    def parse_from_file(self, model: str) -> bool:
        self.network.content = json.loads(Path(model).read_text())
        return True


class Runtime:
    _simulation: Simulation

    def __init__(self, logger: ILogger) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        if not self._simulation.can_load:
            self.logger.log(Severity.ERROR, "version tag does not match")
            return None
        self._simulation.engines.append(ICudaEngine(json.loads(serialized_engine)))
        return self._simulation.engines[-1]


def gpu_properties(name: str = "Simulated GPU") -> SimpleNamespace:
    """What PyTorch says of a GPU."""
    return SimpleNamespace(name=name, major=8, minor=7)


class SimulatedGraph:
    """In place of a CUDA graph: launches at once, and notes under which key."""

    def __init__(self, function: Callable[[], object], *arguments: Any, **settings: Any) -> None:
        self.function = function
        self.keys: list[object] = []

    def synchronize(self) -> None:
        pass

    def __call__(self, key: object) -> None:
        self.keys.append(key)
        self.function()


def simulate(monkeypatch: pytest.MonkeyPatch) -> Simulation:
    """Put the simulated TensorRT and a simulated GPU, whose memory is the CPU's, into place."""
    simulation = Simulation()
    monkeypatch.setitem(sys.modules, "tensorrt", simulation.module())
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu_properties())
    monkeypatch.setattr(engine_module, "GraphedFunction", SimulatedGraph)
    stream = SimpleNamespace(cuda_stream=7)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(provider_module, "_gpu", lambda device: torch.device("cpu"))
    return simulation


def report_phases(monitor: Any) -> bool:
    """A build as TensorRT reports it: phases within steps of phases. Whether it may go on."""
    monitor.phase_start("Building", None, 2)
    for step in range(2):
        monitor.phase_start("Timing", "Building", 4)
        for inner in range(4):
            if not monitor.step_complete("Timing", inner):
                return False
        monitor.phase_finish("Timing")
        if not monitor.step_complete("Building", step):
            return False
    monitor.phase_finish("Building")
    return True
