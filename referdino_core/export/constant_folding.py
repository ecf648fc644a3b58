# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Folds constants in a graph whose shapes are all static.

PyTorch's exporter computes shapes inside the graph even if they are constant. After folding,
the graph holds only what depends on the inputs' values, and the weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper
from onnx.defs import OpSchema, get_schema
from onnx.reference import ReferenceEvaluator

from referdino_core.errors import ExportError
from referdino_core.ops.deformable_attention import ONNX_DOMAIN

OPSET = 17
OPSETS = [helper.make_opsetid("", OPSET), helper.make_opsetid(ONNX_DOMAIN, 1)]
IR_VERSION = 8
"""What goes with opset 17."""

_REPEATS = frozenset(("Expand", "Tile", "ConstantOfShape"))
"""Operators with large results of small inputs: floating-point results are not stored."""

_INTEGERS = "biu"
"""NumPy's kinds of booleans and integers."""

_BY_FLOAT16 = (TensorProto.BFLOAT16, TensorProto.FLOAT16)
_BY_BFLOAT16 = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def fold_constants(model: ModelProto) -> ModelProto:
    """The graph with every constant folded, and with the type of every tensor.

    Args:
        model: opset 17, all shapes static.

    Raises:
        ExportError: the type of a tensor cannot be inferred.
    """
    folder = _Folder(model)
    for node in model.graph.node:
        folder.take(node)
    graph = helper.make_graph(
        folder.nodes,
        model.graph.name,
        list(model.graph.input),
        [folder.output(info) for info in model.graph.output],
    )
    needed = remove_unused(graph.node, [info.name for info in graph.output])
    graph.initializer.extend(
        numpy_helper.from_array(array, name)
        for name, array in folder.stored.items()
        if name in needed
    )
    graph.value_info.extend(
        onnx.ValueInfoProto(name=name, type=kind)
        for name, kind in folder.types.items()
        if name in needed and name not in folder.constants
    )
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=IR_VERSION)


def remove_unused(nodes: Iterable[NodeProto], outputs: Iterable[str]) -> set[str]:
    """Remove, in place, nodes that no output depends on; returns the names that are needed."""
    needed = set(outputs)
    for place in range(len(nodes) - 1, -1, -1):  # type: ignore[arg-type]
        node = nodes[place]  # type: ignore[index]
        if any(name in needed for name in node.output):
            needed.update(node.input)
        else:
            del nodes[place]  # type: ignore[attr-defined]
    return needed


class _Folder:
    """Folds a graph in one pass; tracks types of tensors and values of constants."""

    def __init__(self, model: ModelProto) -> None:
        self.constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.types: dict[str, TypeProto] = {info.name: info.type for info in model.graph.input}
        self.alias: dict[str, str] = {}
        self.names: dict[bytes, str] = {}
        self.stored: dict[str, np.ndarray] = {}
        self.nodes: list[NodeProto] = []
        self.wanted = {info.name for info in model.graph.output}
        for name, array in self.constants.items():
            self.types[name] = _type_of(array)

    def take(self, node: NodeProto) -> None:
        """Fold one node, or keep it."""
        node = _renamed(node, [self.alias.get(name, name) for name in node.input])
        if node.op_type == "Constant":
            self.keep_constant(node.output[0], numpy_helper.to_array(node.attribute[0].t))
        elif self.is_identity(node):
            self.alias[node.output[0]] = node.input[0]
        elif node.op_type == "Shape":
            self.keep_constant(node.output[0], np.array(self.shape_of(node), np.int64))
        elif self.is_foldable(node):
            for name, array in zip(node.output, self.evaluate(node), strict=True):
                self.keep_constant(name, array)
        else:
            self.keep(node)

    def is_identity(self, node: NodeProto) -> bool:
        """Whether the node returns its input unchanged."""
        if node.output[0] in self.wanted:
            return False
        if node.op_type == "Identity":
            return True
        element = self.types[node.input[0]].tensor_type.elem_type if node.input else 0
        return node.op_type == "Cast" and node.attribute[0].i == element

    def is_foldable(self, node: NodeProto) -> bool:
        """Whether the results are constant, and small enough to store."""
        if not all(name in self.constants or not name for name in node.input):
            return False
        if node.domain or node.output[0] in self.wanted:
            return False
        if node.op_type == "ConstantOfShape":
            value = next((numpy_helper.to_array(a.t) for a in node.attribute), np.zeros(1, "f4"))
            return value.dtype.kind in _INTEGERS
        if node.op_type in _REPEATS:
            return self.constants[node.input[0]].dtype.kind in _INTEGERS
        return True

    def shape_of(self, node: NodeProto) -> list[int]:
        """The result of a Shape node."""
        dims = [dim.dim_value for dim in self.types[node.input[0]].tensor_type.shape.dim]
        bounds = {attribute.name: attribute.i for attribute in node.attribute}
        return dims[bounds.get("start", 0) : bounds.get("end", len(dims))]

    def evaluate(self, node: NodeProto) -> list[np.ndarray]:
        """The results of a node with constant inputs."""
        names = list(dict.fromkeys(name for name in node.input if name))
        feed = {name: self.constants[name] for name in names}
        graph = helper.make_graph(
            [node],
            "constant",
            [onnx.ValueInfoProto(name=name, type=self.types[name]) for name in names],
            [onnx.ValueInfoProto(name=name) for name in node.output],
        )
        model = helper.make_model(graph, opset_imports=OPSETS, ir_version=IR_VERSION)
        return [np.asarray(array) for array in ReferenceEvaluator(model).run(None, feed)]

    def keep(self, node: NodeProto) -> None:
        """Keep a node, and store its constants."""
        for name, kind in self.output_types(node).items():
            self.types[name] = kind
        if node.op_type in ("Reshape", "Expand"):
            self.spell_out(node)
        elif node.op_type == "Slice":
            self.make_vectors(node)
        names = [self.store(name) if name in self.constants else name for name in node.input]
        self.nodes.append(_renamed(node, names))

    def spell_out(self, node: NodeProto) -> None:
        """Write out the output shape of a node, in place of -1 and 0."""
        dims = [dim.dim_value for dim in self.types[node.output[0]].tensor_type.shape.dim]
        name = f"{node.output[0]}_shape"
        self.keep_constant(name, np.array(dims, np.int64))
        node.input[1] = name

    def make_vectors(self, node: NodeProto) -> None:
        """Turn scalar bounds of a Slice, as the exporter writes them, into vectors."""
        for place, name in enumerate(node.input):
            if place and self.constants[name].ndim == 0:
                self.keep_constant(f"{name}_vector", self.constants[name].reshape(1))
                node.input[place] = f"{name}_vector"

    def keep_constant(self, name: str, array: np.ndarray) -> None:
        """Remember the value of a tensor."""
        self.constants[name] = array
        self.types[name] = _type_of(array)

    def store(self, name: str) -> str:
        """The name under which all constants of this type, shape and content are stored."""
        array = self.constants[name]
        key = f"{array.dtype} {array.shape} ".encode() + hashlib.sha256(array.tobytes()).digest()
        if key not in self.names:
            self.names[key] = f"constant_{len(self.names)}"
            self.stored[self.names[key]] = array
        stored = self.names[key]
        self.types[stored] = self.types[name]
        self.constants.setdefault(stored, array)
        return stored

    def output(self, info: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
        """An output of the graph, with its inferred shape."""
        return onnx.ValueInfoProto(name=info.name, type=self.types[info.name])

    def output_types(self, node: NodeProto) -> dict[str, TypeProto]:
        """Types of a node's outputs."""
        if node.domain == ONNX_DOMAIN:
            return {node.output[0]: self.deformable_attention_type(node)}
        data = {
            name: numpy_helper.from_array(self.constants[name])
            for name in node.input
            if name in self.constants and self.constants[name].size < 64
        }
        schema: OpSchema = get_schema(node.op_type, OPSET)
        types = {name: self.types[name] for name in node.input if name}
        is_bfloat = any(_element(kind) == TensorProto.BFLOAT16 for kind in types.values())
        if is_bfloat:
            # Opset 17 does not know bfloat16 everywhere; shapes are those of float16.
            types = {name: _in_place_of(kind, *_BY_FLOAT16) for name, kind in types.items()}
        found = onnx.shape_inference.infer_node_outputs(
            schema, node, types, data, opset_imports=OPSETS, ir_version=IR_VERSION
        )
        if is_bfloat:
            found = {name: _in_place_of(kind, *_BY_BFLOAT16) for name, kind in found.items()}
        for name in node.output:
            known = name in found and found[name].tensor_type.HasField("shape")
            if not known or not all(d.dim_value for d in found[name].tensor_type.shape.dim):
                raise ExportError(
                    f"The shape of {name} ({node.op_type}) cannot be inferred while exporting."
                )
        return found

    def deformable_attention_type(self, node: NodeProto) -> TypeProto:
        """Type of the node's output: (N, Q, M * D), with the element type of the values."""
        value, locations = (self.types[name].tensor_type for name in node.input[:2])
        _, _, heads, channels = (dim.dim_value for dim in value.shape.dim)
        count, queries = (dim.dim_value for dim in locations.shape.dim[:2])
        shape = (count, queries, heads * channels)
        return helper.make_tensor_type_proto(value.elem_type, shape)


def _element(kind: TypeProto) -> int:
    return kind.tensor_type.elem_type


def _in_place_of(kind: TypeProto, element: int, replacement: int) -> TypeProto:
    replaced = TypeProto()
    replaced.CopyFrom(kind)
    if _element(kind) == element:
        replaced.tensor_type.elem_type = replacement
    return replaced


def _type_of(array: np.ndarray) -> TypeProto:
    element = helper.np_dtype_to_tensor_dtype(array.dtype)
    return helper.make_tensor_type_proto(element, array.shape)


def _renamed(node: NodeProto, inputs: list[str]) -> NodeProto:
    renamed = NodeProto()
    renamed.CopyFrom(node)
    del renamed.input[:]
    renamed.input.extend(inputs)
    return renamed
