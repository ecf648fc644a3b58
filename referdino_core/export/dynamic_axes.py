# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Merges two static graphs of one stage into one graph with dynamic axes.

The graphs are recorded with different numbers of commands N and frames T. They have the same nodes;
where their constants differ, the constant is a shape in which N or T occurs, and it is computed
from an input's shape instead. All other sizes stay constants. Any other difference is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper

from referdino_core.errors import ExportError
from referdino_core.export.constant_folding import IR_VERSION, OPSETS

_SHAPE_INPUTS = {"Expand": 1, "Resize": 3, "ConstantOfShape": 0}
"""Operators other than Reshape that take a shape, with the index of that input."""


Axes = Mapping[str, tuple[str, int]]
"""The dynamic axes: by name, an input that has the axis, and the axis's place there."""


def with_dynamic_axes(
    first: ModelProto,
    second: ModelProto,
    sizes: tuple[Mapping[str, int], Mapping[str, int]],
    axes: Axes,
) -> ModelProto:
    """One graph for all N and T.

    Args:
        first, second: with constants folded, recorded with these `sizes` of the dynamic axes.
        axes: see `StageSpec.dynamic_axes`.

    Raises:
        ExportError: the graphs differ in more than shapes.
    """
    return _Merger(first, second, sizes, axes).run()


class _Merger:
    def __init__(
        self,
        first: ModelProto,
        second: ModelProto,
        sizes: tuple[Mapping[str, int], Mapping[str, int]],
        axes: Axes,
    ) -> None:
        self.first, self.second, self.axes = first.graph, second.graph, axes
        self.ratios = _ratios(*sizes)
        self.constants = [
            {tensor.name: tensor for tensor in graph.initializer}
            for graph in (self.first, self.second)
        ]
        infos = [*self.first.value_info, *self.first.input]
        self.dims = {
            info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim] for info in infos
        }
        self.added: dict[str, onnx.TensorProto] = {}
        self.prologue: list[NodeProto] = []
        self.nodes: list[NodeProto] = []

    def run(self) -> ModelProto:
        if len(self.first.node) != len(self.second.node):
            raise ExportError("Two recordings of one stage have different numbers of nodes.")
        for one, other in zip(self.first.node, self.second.node, strict=True):
            self.nodes.append(self.merge(one, other))
        nodes = [*self.prologue, *self.nodes]
        used = {name for node in nodes for name in node.input}
        kept = [tensor for name, tensor in self.constants[0].items() if name in used]
        graph = helper.make_graph(
            nodes,
            self.first.name,
            self.infos(self.first.input, self.second.input),
            self.infos(self.first.output, self.second.output),
            [*kept, *self.added.values()],
            value_info=self.infos(self.first.value_info, self.second.value_info),
        )
        return helper.make_model(graph, opset_imports=OPSETS, ir_version=IR_VERSION)

    def merge(self, one: NodeProto, other: NodeProto) -> NodeProto:
        """The node of the first graph, with shapes that are right for both."""
        if one.op_type != other.op_type or list(one.attribute) != list(other.attribute):
            raise ExportError(f"{one.name} ({one.op_type}) depends on the number of commands.")
        merged = NodeProto()
        merged.CopyFrom(one)
        for place, names in enumerate(zip(one.input, other.input, strict=True)):
            tensors = [table.get(name) for table, name in zip(self.constants, names, strict=True)]
            if tensors[0] is None or tensors[1] is None:
                if names[0] != names[1] or any(tensors):
                    raise ExportError(f"Two recordings of {one.name} read different tensors.")
            elif tensors[0].raw_data != tensors[1].raw_data or tensors[0].dims != tensors[1].dims:
                arrays = [numpy_helper.to_array(t) for t in tensors if t is not None]
                merged.input[place] = self.shape(one, place, arrays[0], arrays[1])
        return merged

    def shape(self, node: NodeProto, place: int, one: np.ndarray, other: np.ndarray) -> str:
        """Name of a shape that is `one` for N and T of the first graph, `other` for the second."""
        is_shape = one.dtype == np.int64 and one.ndim == 1 and one.shape == other.shape
        if not is_shape or place != _SHAPE_INPUTS.get(node.op_type, 1):
            raise ExportError(f"{node.name} ({node.op_type}) depends on the number of commands.")
        entries: list[int | tuple[str, int]] = []
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            entries.append(a if a == b else (self.axis_of(node, a, b), a))
        varying = [entry for entry in entries if isinstance(entry, tuple)]
        if node.op_type == "Expand":
            entries = self.keep_axes(node, entries)
        elif node.op_type == "Reshape":
            # The largest product is left to the runtime to find out.
            unknown = max(varying, key=lambda entry: (len(entry[0]), entry[1]))
            entries[entries.index(unknown)] = -1
        if all(isinstance(entry, int) for entry in entries):
            return self.constant(np.array(entries, np.int64))
        return self.computed_shape(entries)

    def keep_axes(
        self, node: NodeProto, entries: list[int | tuple[str, int]]
    ) -> list[int | tuple[str, int]]:
        """Size 1 for the axes that an Expand leaves unchanged."""
        dims = self.dims.get(node.input[0], [])
        for place, size in enumerate(reversed(dims), start=1):
            entry = entries[-place]
            if isinstance(entry, tuple) and entry[1] == size:
                entries[-place] = 1
        return entries

    def axis_of(self, node: NodeProto, one: int, other: int) -> str:
        """The axis, or product of axes, that explains a size: "N", "T" or "NT"."""
        for name, (a, b) in self.ratios.items():
            if one * b == other * a and one % a == 0:
                if one != a and node.op_type != "Reshape":
                    break
                return name
        raise ExportError(
            f"{node.name}: a size is {one}, then {other}; neither N nor T explains it."
        )

    def computed_shape(self, entries: list[int | tuple[str, int]]) -> str:
        """Name of a shape with entries that are read from the inputs' shapes."""
        parts: list[str] = []
        numbers: list[int] = []
        for entry in entries:
            if isinstance(entry, int):
                numbers.append(entry)
                continue
            if numbers:
                parts.append(self.constant(np.array(numbers, np.int64)))
                numbers = []
            parts.append(self.size_of(*entry))
        if numbers:
            parts.append(self.constant(np.array(numbers, np.int64)))
        name = "shape_" + "_".join(str(e if isinstance(e, int) else e[0]) for e in entries)
        return self.once("Concat", parts, name, axis=0)

    def size_of(self, axis: str, value: int) -> str:
        """Name of a (1,) int64 tensor that holds the size of an axis."""
        if axis not in self.axes or value != self.ratios[axis][0]:
            raise ExportError(f"A shape needs the product {axis} itself; the network has changed.")
        source, place = self.axes[axis]
        return self.once("Shape", [source], f"size_{axis}", start=place, end=place + 1)

    def once(self, operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add a node to the prologue, once for each name."""
        if all(name not in node.output for node in self.prologue):
            node = helper.make_node(operator, inputs, [name], name, **attributes)
            self.prologue.append(node)
        return name

    def constant(self, array: np.ndarray) -> str:
        """Name of a constant shape."""
        name = "numbers_" + "_".join(str(number) for number in array.tolist())
        self.added.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def infos(
        self, first: Iterable[ValueInfoProto], second: Iterable[ValueInfoProto]
    ) -> list[ValueInfoProto]:
        """Types of tensors, with the names of the dynamic axes."""
        others = {info.name: info for info in second}
        result = []
        for info in first:
            merged = ValueInfoProto()
            merged.CopyFrom(info)
            if info.name not in others:
                continue
            pairs = zip(
                merged.type.tensor_type.shape.dim,
                others[info.name].type.tensor_type.shape.dim,
                strict=True,
            )
            for dim, other in pairs:
                if dim.dim_value != other.dim_value:
                    dim.dim_param = self.symbol(dim.dim_value, other.dim_value)
            result.append(merged)
        return result

    def symbol(self, one: int, other: int) -> str:
        """The name of a dynamic axis."""
        for name, (a, b) in self.ratios.items():
            if one * b == other * a:
                factor = one // a
                return name if factor == 1 else f"{factor}{name}"
        raise ExportError(f"An axis has {one} cells, then {other}; neither N nor T explains it.")


def _ratios(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """The sizes of every axis, and of their product, in the two recordings."""
    ratios = {name: (one[name], other[name]) for name in one}
    if len(ratios) > 1:
        ratios["".join(ratios)] = (
            int(np.prod(list(one.values()))),
            int(np.prod(list(other.values()))),
        )
    return ratios
