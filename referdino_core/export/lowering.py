# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Lowers the node of deformable attention to ONNX's own operators, in one of two variants.

"gather" suits every runtime. "grid_sample" uses GridSample, which is fast in ONNX Runtime on a CPU
and unreliable in TensorRT. Values keep their precision until they are weighted; sampling locations,
softmax and sums are float32. Shapes are written as in `network.deformable_attention`, K = levels x
points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from referdino_core.ops.deformable_attention import ONNX_DOMAIN, ONNX_OPERATOR


def lower(model: ModelProto, variant: str) -> ModelProto:
    """The graph with deformable attention in a lowering variant; "plugin" keeps the node."""
    lowered = ModelProto()
    lowered.CopyFrom(model)
    has_node = any(node.domain == ONNX_DOMAIN for node in model.graph.node)
    if not has_node or variant != "plugin":
        del lowered.opset_import[1:]
    if not has_node or variant == "plugin":
        return lowered
    write = {"gather": write_gathers, "grid_sample": write_grid_samples}[variant]
    builder = _Builder()
    dims = {
        info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        for info in (*model.graph.value_info, *model.graph.input)
    }
    for node in model.graph.node:
        if node.domain == ONNX_DOMAIN and node.op_type == ONNX_OPERATOR:
            builder.begin(node)
            value, locations, logits = node.input
            result = write(builder, value, locations, logits, _Sizes.of(node, dims))
            builder.finish(result, node.output[0], element_type=_element_type(model, node.input[0]))
        else:
            builder.nodes.append(node)
    del lowered.graph.node[:]
    lowered.graph.node.extend(builder.nodes)
    lowered.graph.initializer.extend(builder.constants.values())
    return lowered


@dataclass(frozen=True)
class _Sizes:
    """Sizes of one node: tokens S, queries Q, heads M, channels D, samples K, and the levels."""

    cells: int
    queries: int
    heads: int
    channels: int
    samples: int
    levels: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, node: NodeProto, dims: dict[str, list[int]]) -> _Sizes:
        """Sizes of a node in a graph whose tensors have these dimensions."""
        _, cells, heads, channels = dims[node.input[0]]
        _, queries, _, samples, _ = dims[node.input[1]]
        sides = next(list(a.ints) for a in node.attribute if a.name == "spatial_shapes")
        levels = tuple(zip(sides[::2], sides[1::2], strict=True))
        return cls(cells, queries, heads, channels, samples, levels)

    def per_sample(self, numbers: Sequence[int]) -> np.ndarray:
        """(K,) a value of every level, repeated for each of its points."""
        return np.repeat(np.array(numbers, np.int32), self.samples // len(self.levels))


class _Builder:
    """Appends nodes, and names their outputs."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self.prefix = ""
        self.count = 0

    def begin(self, node: NodeProto) -> None:
        """Begin the replacement of this node."""
        self.prefix, self.count = node.name, 0

    def add(self, operator: str, *inputs: str | np.ndarray, **attributes: Any) -> str:
        """Append a node, with arrays as constants; returns the name of its output."""
        name = f"{self.prefix}/{operator}_{self.count}"
        self.count += 1
        names = [self.constant(i) if isinstance(i, np.ndarray) else i for i in inputs]
        self.nodes.append(helper.make_node(operator, names, [name], name, **attributes))
        return name

    def cast(self, name: str, element: int) -> str:
        """Cast a tensor to another element type."""
        return self.add("Cast", name, to=element)

    def constant(self, array: np.ndarray) -> str:
        """Name of a constant, the same one for the same content."""
        content = "_".join(str(number) for number in array.ravel().tolist())
        name = f"attention_{array.dtype}_{'x'.join(map(str, array.shape))}_{content}"
        self.constants.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def finish(self, result: str, output: str, element_type: int) -> None:
        """Cast the float32 result to the node's element type, under its output's name."""
        self.nodes.append(helper.make_node("Cast", [result], [output], output, to=element_type))


def write_gathers(builder: _Builder, value: str, locations: str, logits: str, sizes: _Sizes) -> str:
    """The "gather" variant: one Gather for each of the four tokens around a sampling location."""
    add = builder.add
    heights, widths = (sizes.per_sample(sides) for sides in zip(*sizes.levels, strict=True))
    areas = [height * width for height, width in sizes.levels]
    starts = sizes.per_sample([sum(areas[:level]) for level in range(len(areas))])
    # Every head of every token of every image is a row.
    rows = add("Reshape", value, _shape(-1, sizes.channels))
    count = add("Squeeze", add("Shape", value, start=0, end=1), _shape(0))
    images = add("Range", _number(0), builder.cast(count, TensorProto.INT32), _number(1))
    images = add("Reshape", images, _shape(-1, 1, 1, 1))
    first_rows = add("Mul", images, _number(sizes.cells * sizes.heads))
    first_rows = add("Add", first_rows, np.arange(sizes.heads, dtype=np.int32)[:, None])
    weights = add("Softmax", builder.cast(logits, TensorProto.FLOAT), axis=-1)

    columns = _neighbours(builder, locations, 0, widths)
    parts = []
    for row, vertical_weight in _neighbours(builder, locations, 1, heights):
        row_start = add("Add", add("Mul", row, widths), starts)
        weighted = add("Mul", weights, vertical_weight)
        for column, horizontal_weight in columns:
            cell = add("Mul", add("Add", row_start, column), _number(sizes.heads))
            sampled = add("Gather", rows, add("Add", cell, first_rows), axis=0)
            share = add("Unsqueeze", add("Mul", weighted, horizontal_weight), _shape(-1))
            product = add("Mul", builder.cast(sampled, TensorProto.FLOAT), share)
            parts.append(add("ReduceSum", product, _shape(3), keepdims=0))
    total = parts[0]
    for part in parts[1:]:
        total = add("Add", total, part)
    return add("Reshape", total, _shape(-1, sizes.queries, sizes.heads * sizes.channels))


def _neighbours(
    builder: _Builder, locations: str, axis: int, sizes: np.ndarray
) -> list[tuple[str, str]]:
    """The two tokens that every sampling location lies between along one axis.

    For each of the two its int32 index, clamped to the axis, and its float32 weight, which is 0
    beyond the axis.
    """
    add, half, one = builder.add, np.float32(0.5), np.float32(1)
    coordinates = add("Gather", locations, np.array(axis, np.int64), axis=-1)
    places = add("Sub", add("Mul", coordinates, sizes.astype(np.float32)), np.array(half))
    before = add("Floor", places)
    after = add("Add", before, np.array(one))
    result = []
    for cell, share in ((before, ("Sub", after, places)), (after, ("Sub", places, before))):
        nearest = add("Max", cell, np.array(np.float32(0)))
        nearest = add("Min", nearest, (sizes - 1).astype(np.float32))
        inside = builder.cast(add("Equal", cell, nearest), TensorProto.FLOAT)
        result.append((builder.cast(nearest, TensorProto.INT32), add("Mul", add(*share), inside)))
    return result


def write_grid_samples(
    builder: _Builder, value: str, locations: str, logits: str, sizes: _Sizes
) -> str:
    """The "grid_sample" variant: one GridSample for each level."""
    add = builder.add
    points = sizes.samples // len(sizes.levels)
    weights = add("Softmax", builder.cast(logits, TensorProto.FLOAT), axis=-1)
    weights = add("Transpose", weights, perm=[0, 2, 1, 3])
    weights = add("Reshape", weights, _shape(-1, 1, sizes.queries, sizes.samples))
    grid = add("Mul", locations, np.array(np.float32(2)))
    grid = add("Sub", grid, np.array(np.float32(1)))
    grid = add("Transpose", grid, perm=[0, 2, 1, 3, 4])
    grid = add("Reshape", grid, _shape(-1, sizes.queries, sizes.samples, 2))
    maps = add("Transpose", builder.cast(value, TensorProto.FLOAT), perm=[0, 2, 3, 1])
    maps = add("Reshape", maps, _shape(-1, sizes.channels, sizes.cells))
    sampled, start = [], 0
    for level, (height, width) in enumerate(sizes.levels):
        cells, places = maps, grid
        if len(sizes.levels) > 1:
            end = start + height * width
            cells = add("Slice", maps, _shape(start), _shape(end), _shape(2))
            bounds = _shape(level * points), _shape((level + 1) * points)
            places = add("Slice", grid, *bounds, _shape(2))
            start = end
        cells = add("Reshape", cells, _shape(-1, sizes.channels, height, width))
        modes = {"mode": "bilinear", "padding_mode": "zeros", "align_corners": 0}
        sampled.append(add("GridSample", cells, places, **modes))
    every = sampled[0] if len(sampled) == 1 else add("Concat", *sampled, axis=-1)
    total = add("ReduceSum", add("Mul", every, weights), _shape(-1), keepdims=0)
    total = add("Reshape", total, _shape(-1, sizes.heads * sizes.channels, sizes.queries))
    return add("Transpose", total, perm=[0, 2, 1])


def _shape(*sides: int) -> np.ndarray:
    return np.array(sides, np.int64)


def _number(value: int) -> np.ndarray:
    return np.array(value, np.int32)


def _element_type(model: ModelProto, name: str) -> int:
    infos = (*model.graph.value_info, *model.graph.input)
    return next(info.type.tensor_type.elem_type for info in infos if info.name == name)
