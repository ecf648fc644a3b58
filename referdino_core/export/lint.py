# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Lint of an exported graph: what TensorRT would refuse, or silently compute in another way.

Operators and element types are those of the parser's own list for TensorRT 10 (docs/operators.md of
onnx-tensorrt) as far as a graph of this network may use them; the release notes of TensorRT 11
take none of them away. The limit of TopK is that of TensorRT's ITopKLayer. GridSample, which the
list contains, is known to give wrong results in several releases.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from referdino_core.export.stage_io import COMMANDS, FRAMES
from referdino_core.ops.deformable_attention import ONNX_DOMAIN, ONNX_OPERATOR

RELEASES = (10, 11)
"""Major releases of TensorRT that are known here."""
OPSET = 17
MAX_SELECTED = 3840
"""Largest K of TensorRT's TopK."""

_FLOATS = frozenset((TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16))
_NUMBERS = _FLOATS | {TensorProto.INT32, TensorProto.INT64}
_ANY = _NUMBERS | {TensorProto.BOOL}
_BOOL = frozenset((TensorProto.BOOL,))

# fmt: off
_OF_FLOATS = (
    "Ceil", "Clip", "Conv", "ConvTranspose", "Cos", "CumSum", "Einsum", "Erf", "Exp", "Floor",
    "Gemm", "InstanceNormalization", "LayerNormalization", "Log", "MatMul", "Reciprocal",
    "Resize", "Round", "Sigmoid", "Sin", "Softmax", "Sqrt", "Tanh", "TopK",
)
_OF_NUMBERS = (
    "Abs", "Add", "Div", "Max", "Min", "Mod", "Mul", "Neg", "Pad", "Pow", "Range", "ReduceMax",
    "ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Sign", "Sub",
)
_OF_ANYTHING = (
    "Cast", "Concat", "Constant", "ConstantOfShape", "Equal", "Expand", "Flatten", "Gather",
    "GatherElements", "GatherND", "Greater", "GreaterOrEqual", "Identity", "Less",
    "LessOrEqual", "Reshape", "Shape", "Slice", "Split", "Squeeze", "Tile", "Transpose",
    "Unsqueeze", "Where",
)
_OF_TWO_ALIKE = (
    "Add", "Sub", "Mul", "Div", "Mod", "Max", "Min", "Equal", "Greater", "Less", "Concat",
    "MatMul",
)
_MOVES = (
    "Cast", "Concat", "Constant", "Expand", "Gather", "Identity", "Reshape", "Shape", "Slice",
    "Split", "Squeeze", "TopK", "Transpose", "Unsqueeze",
)
# fmt: on
_OPERATORS = {
    **dict.fromkeys(_OF_FLOATS, _FLOATS),
    **dict.fromkeys(_OF_NUMBERS, _NUMBERS),
    **dict.fromkeys(_OF_ANYTHING, _ANY),
    **dict.fromkeys(("And", "Not", "Or", "Xor"), _BOOL),
}
"""The types of an operator's first data input and of its outputs, by its name."""

_REFUSED = {
    "GridSample": "several releases compute it wrongly; export with the plugin or gathers",
    "NonZero": "its result has no fixed shape; compute with a mask",
    "Loop": "unroll it when recording",
    "Scan": "unroll it when recording",
    "If": "choose the branch when recording",
}
_ONE_TYPE = {
    **dict.fromkeys(_OF_TWO_ALIKE, (0, 1)),
    **dict.fromkeys(["Gemm", "Conv", "InstanceNormalization", "LayerNormalization"], (0, 1, 2)),
    "Where": (1, 2),
}
"""Inputs that must have one type in a strongly typed network; of Concat all, not two."""
_FULL_PRECISION = frozenset(("Cos", "Log", "Sigmoid", "Sin", "TopK"))
"""Operators of coordinates and scores."""


@dataclass(frozen=True)
class Finding:
    """One finding: the node, the violated rule, and advice."""

    node: str
    rule: str
    advice: str

    def __str__(self) -> str:
        return f"{self.node}: {self.rule}: {self.advice}"


def lint(model: ModelProto, release: int = RELEASES[0]) -> list[Finding]:
    """All findings in a graph, for one major release of TensorRT.

    Args:
        model: of opset 17, as `export` writes it.
        release: one of `RELEASES`.
    """
    if release not in RELEASES:
        raise ValueError(f"TensorRT {release} is not known; choose one of {RELEASES}")
    checker = _Linter(model, release)
    return [*checker.graph_findings(), *(f for n in model.graph.node for f in checker.check(n))]


class _Linter:
    def __init__(self, model: ModelProto, release: int) -> None:
        self.model, self.release = model, release
        graph = onnx.shape_inference.infer_shapes(_without_weights(model)).graph
        infos = (*graph.input, *graph.value_info, *graph.output)
        self.types = {info.name: info.type.tensor_type.elem_type for info in infos}
        self.shapes = {
            info.name: list(info.type.tensor_type.shape.dim)
            for info in infos
            if info.type.tensor_type.HasField("shape")
        }
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.types.update({name: tensor.data_type for name, tensor in self.constants.items()})
        self.makers = {name: node for node in model.graph.node for name in node.output}

    def graph_findings(self) -> Iterator[Finding]:
        """Findings on inputs, opset and weights."""
        versions = {entry.domain: entry.version for entry in self.model.opset_import}
        if versions.get("") != OPSET:
            yield Finding("graph", "opset", f"opset {versions.get('')}, not {OPSET}")
        for info in self.model.graph.input:
            for dim in info.type.tensor_type.shape.dim:
                if not dim.dim_value and dim.dim_param not in (COMMANDS, FRAMES):
                    yield Finding(
                        info.name, "dynamic shape", "only commands N and frames T may change"
                    )
        for name, tensor in self.constants.items():
            low = tensor.data_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16)
            if low and np.isinf(numpy_helper.to_array(tensor).astype(np.float32)).any():
                yield Finding(name, "precision", "infinite masks are float32")

    def check(self, node: NodeProto) -> Iterator[Finding]:
        """All findings on a node."""
        place = node.name or node.op_type
        if node.op_type in _REFUSED:
            yield Finding(place, "operator", f"{node.op_type}: {_REFUSED[node.op_type]}")
        elif node.domain == ONNX_DOMAIN:
            yield from self.check_plugin(node, place)
        elif node.domain or node.op_type not in _OPERATORS:
            name = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
            advice = f"TensorRT {self.release} is not known to accept {name}"
            yield Finding(place, "operator", f"{advice}; write it with other operators")
        else:
            yield from self.check_types(node, place)
            yield from self.check_shapes(node, place)

    def check_plugin(self, node: NodeProto, place: str) -> Iterator[Finding]:
        """Findings on a node of referdino's plugin."""
        attributes = {attribute.name for attribute in node.attribute}
        needed = {"spatial_shapes", "plugin_version", "plugin_namespace"}
        if node.op_type != ONNX_OPERATOR or not needed <= attributes:
            yield Finding(
                place, "plugin", f"{ONNX_DOMAIN} has {ONNX_OPERATOR} with {', '.join(needed)}"
            )
        elif self.types.get(node.input[1]) != TensorProto.FLOAT:
            yield Finding(place, "precision", "locations are float32")

    def check_types(self, node: NodeProto, place: str) -> Iterator[Finding]:
        """Findings on the element types of a node."""
        types = [self.types.get(name, 0) for name in (*node.input, *node.output) if name]
        if TensorProto.DOUBLE in types:
            yield Finding(place, "type", "float64 does not exist in TensorRT; use float32")
        data = [self.types.get(name, 0) for name in (node.input[:1] or node.output[:1])]
        if any(kind and kind not in _OPERATORS[node.op_type] for kind in data):
            name = TensorProto.DataType.Name(data[0])
            yield Finding(place, "type", f"{node.op_type} does not take {name}; cast it")
        if node.op_type in _FULL_PRECISION and data[0] not in (0, TensorProto.FLOAT):
            yield Finding(place, "precision", f"{node.op_type} is in float32; cast its input")
        yield from self.check_int64(node, place)
        compared = _ONE_TYPE.get(node.op_type, ())
        names = node.input if node.op_type == "Concat" else [*node.input[slice(*_span(compared))]]
        if compared and len({self.types.get(name, 0) for name in names if name} - {0}) > 1:
            yield Finding(place, "strong typing", "inputs of different types; cast one of them")

    def check_int64(self, node: NodeProto, place: str) -> Iterator[Finding]:
        """Findings on int64 tensors that are neither shapes nor indices."""
        if node.op_type in _MOVES:
            return
        for name in node.output:
            is_long = self.types.get(name) == TensorProto.INT64
            if is_long and len(self.shapes.get(name, [])) > 1:
                yield Finding(place, "type", "int64 is for shapes and indices; compute in int32")

    def check_shapes(self, node: NodeProto, place: str) -> Iterator[Finding]:
        """Findings on the sizes of a node."""
        if node.op_type == "TopK":
            k = self.constants.get(node.input[1])
            if k is None:
                yield Finding(place, "TopK", "K must be a constant of the graph")
            elif int(numpy_helper.to_array(k).item()) > MAX_SELECTED:
                yield Finding(place, "TopK", f"K must be at most {MAX_SELECTED}")
        if node.op_type == "Resize":
            sides = self.shapes.get(node.output[0], [])[-2:]
            if len(sides) < 2 or not all(side.dim_value for side in sides):
                yield Finding(place, "dynamic shape", "the sides of an image must be constants")
        if node.op_type == "Sqrt" and self.is_deviation(node):
            yield Finding(place, "LayerNormalization", "export it as one node, from opset 17")

    def is_deviation(self, node: NodeProto) -> bool:
        """Whether the node is the square root of a mean plus a constant, as in LayerNorm."""
        total = self.makers.get(node.input[0])
        if total is None or total.op_type != "Add":
            return False
        terms = [self.makers.get(name) for name in total.input]
        return any(term is not None and term.op_type == "ReduceMean" for term in terms)


def _span(places: Sequence[int]) -> tuple[int, int]:
    return (places[0], places[-1] + 1) if places else (0, 0)


def _without_weights(model: ModelProto) -> ModelProto:
    """The graph with large weights as inputs, since their values do not affect shapes."""
    light = ModelProto()
    light.opset_import.extend(model.opset_import)
    light.ir_version = model.ir_version
    light.graph.name = model.graph.name
    light.graph.node.extend(model.graph.node)
    for field in ("input", "output", "value_info"):
        getattr(light.graph, field).extend(getattr(model.graph, field))
    for tensor in model.graph.initializer:
        if np.prod(tensor.dims) <= 64:
            light.graph.initializer.append(tensor)
        else:
            light.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return light
