# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""The lint finds each of the things that TensorRT would refuse or compute otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from referdino_core.export.lint import RELEASES, lint

FLOAT, HALF, INT64, BOOL = (
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.INT64,
    TensorProto.BOOL,
)
Shape = Sequence[int | str]


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, tuple[int, Shape]],
    constants: dict[str, np.ndarray] | None = None,
    outputs: Sequence[str] = (),
    opset: int = 17,
) -> onnx.ModelProto:
    """A graph of these nodes, whose last output is the graph's unless others are named."""
    names = outputs or [nodes[-1].output[0]]
    body = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
        [onnx.ValueInfoProto(name=name) for name in names],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", opset)])


def rules(model: onnx.ModelProto) -> set[str]:
    """The rules that a graph breaks, the same for every release."""
    found = [{finding.rule for finding in lint(model, release)} for release in RELEASES]
    assert all(entry == found[0] for entry in found)
    return found[0]


def test_a_graph_that_keeps_the_rules_has_no_findings() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"]),
        helper.make_node("Cast", ["product"], ["exact"], to=FLOAT),
        helper.make_node("TopK", ["exact", "k"], ["values", "places"]),
        helper.make_node("GatherElements", ["product", "places"], ["y"], axis=1),
    ]
    constants = {"w": np.ones((8, 16), np.float16), "k": np.array([4])}
    assert rules(graph(nodes, {"x": (HALF, ("N", 8))}, constants)) == set()


@pytest.mark.parametrize("operator", ("NonZero", "Det", "GridSample", "Hardmax"))
def test_operators_that_are_not_to_be_there(operator: str) -> None:
    nodes = [helper.make_node(operator, ["x", "x"][: 1 + (operator == "GridSample")], ["y"])]
    assert rules(graph(nodes, {"x": (FLOAT, (1, 2, 4, 4))})) == {"operator"}


def test_loops_and_branches_are_not_to_be_there() -> None:
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value_float=1.0)],
        "branch",
        [],
        [helper.make_tensor_value_info("c", FLOAT, ())],
    )
    nodes = [helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)]
    assert rules(graph(nodes, {"x": (BOOL, ())})) == {"operator"}


def test_operators_of_another_domain() -> None:
    nodes = [helper.make_node("FusedThing", ["x"], ["y"], domain="com.example")]
    model = graph(nodes, {"x": (FLOAT, (4,))})
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    assert rules(model) == {"operator"}


@pytest.mark.parametrize(
    ("attributes", "locations", "expected"),
    (
        ({"spatial_shapes": [4, 4], "plugin_version": "1", "plugin_namespace": "referdino"},
         FLOAT, set()),
        ({"spatial_shapes": [4, 4], "plugin_version": "1", "plugin_namespace": "referdino"},
         HALF, {"precision"}),
        ({"spatial_shapes": [4, 4]}, FLOAT, {"plugin"}),
    ),
)  # fmt: skip
def test_the_plugins_node(attributes: dict, locations: int, expected: set[str]) -> None:
    node = helper.make_node(
        "ReferdinoDeformableAttention",
        ["value", "locations", "logits"],
        ["y"],
        domain="referdino",
        **attributes,
    )
    inputs = {
        "value": (HALF, (1, 16, 2, 8)),
        "locations": (locations, (1, 5, 2, 4, 2)),
        "logits": (HALF, (1, 5, 2, 4)),
    }
    model = graph([node], inputs)
    model.opset_import.append(helper.make_opsetid("referdino", 1))
    assert rules(model) == expected


def test_double_precision() -> None:
    nodes = [helper.make_node("Add", ["x", "x"], ["y"])]
    assert "type" in rules(graph(nodes, {"x": (TensorProto.DOUBLE, (4,))}))


def test_types_that_an_operator_does_not_take() -> None:
    nodes = [helper.make_node("Not", ["x"], ["n"]), helper.make_node("Relu", ["i"], ["y"])]
    inputs = {"x": (BOOL, (4,)), "i": (TensorProto.INT8, (4,))}
    assert rules(graph(nodes, inputs, outputs=("n", "y"))) == {"type"}


def test_whole_numbers_of_64_bits_are_for_shapes_and_indices() -> None:
    nodes = [helper.make_node("Mul", ["x", "x"], ["y"])]
    assert rules(graph(nodes, {"x": (INT64, (4, 4))})) == {"type"}
    assert rules(graph(nodes, {"x": (INT64, (4,))})) == set()


def test_how_many_are_selected_is_a_constant_within_the_limit() -> None:
    nodes = [helper.make_node("TopK", ["x", "k"], ["y", "places"])]
    image = {"x": (FLOAT, (1, 9000))}
    assert rules(graph(nodes, {**image, "k": (INT64, (1,))})) == {"TopK"}
    assert rules(graph(nodes, image, {"k": np.array([3841])})) == {"TopK"}
    assert rules(graph(nodes, image, {"k": np.array([3840])})) == set()


def test_only_commands_and_frames_may_change() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    assert rules(graph(nodes, {"x": (FLOAT, ("N", "T", 4))})) == set()
    assert rules(graph(nodes, {"x": (FLOAT, ("N", 3, "height", 4))})) == {"dynamic shape"}


def test_sides_of_images_are_constants() -> None:
    nodes = [
        helper.make_node("Concat", ["counts", "sides"], ["sizes"], axis=0),
        helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], mode="nearest"),
    ]
    inputs = {"x": (FLOAT, (1, 3, 4, 4)), "sides": (INT64, (2,))}
    assert rules(graph(nodes, inputs, {"counts": np.array([1, 3])})) == {"dynamic shape"}
    constants = {"sizes": np.array([1, 3, 8, 8])}
    assert rules(graph(nodes[1:], {"x": inputs["x"]}, constants)) == set()


def test_a_norm_is_one_node() -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[-1]),
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "centred"], ["squared"]),
        helper.make_node("ReduceMean", ["squared"], ["variance"], axes=[-1]),
        helper.make_node("Add", ["variance", "epsilon"], ["safe"]),
        helper.make_node("Sqrt", ["safe"], ["deviation"]),
        helper.make_node("Div", ["centred", "deviation"], ["y"]),
    ]
    constants = {"epsilon": np.array(1e-5, np.float32)}
    assert rules(graph(nodes, {"x": (FLOAT, (4, 8))}, constants)) == {"LayerNormalization"}
    whole = [helper.make_node("LayerNormalization", ["x", "scale"], ["y"])]
    scale = {"scale": np.ones(8, np.float32)}
    assert rules(graph(whole, {"x": (FLOAT, (4, 8))}, scale)) == set()


@pytest.mark.parametrize("operator", ("Add", "Concat", "MatMul"))
def test_inputs_have_one_type(operator: str) -> None:
    attributes = {"axis": 0} if operator == "Concat" else {}
    nodes = [helper.make_node(operator, ["x", "h"], ["y"], **attributes)]
    inputs = {"x": (FLOAT, (4, 4)), "h": (HALF, (4, 4))}
    assert rules(graph(nodes, inputs)) == {"strong typing"}
    assert rules(graph(nodes, {**inputs, "h": (FLOAT, (4, 4))})) == set()


@pytest.mark.parametrize("operator", ("Sin", "Cos", "Log", "Sigmoid"))
def test_coordinates_are_in_full_precision(operator: str) -> None:
    nodes = [helper.make_node(operator, ["x"], ["y"])]
    assert rules(graph(nodes, {"x": (HALF, (4,))})) == {"precision"}
    assert rules(graph(nodes, {"x": (FLOAT, (4,))})) == set()


def test_infinite_masks_are_in_full_precision() -> None:
    nodes = [helper.make_node("Where", ["c", "hidden", "x"], ["y"])]
    inputs = {"c": (BOOL, (4,)), "x": (HALF, (4,))}
    constants = {"hidden": np.array(-np.inf, np.float16)}
    assert rules(graph(nodes, inputs, constants)) == {"precision"}


def test_another_opset() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    assert rules(graph(nodes, {"x": (FLOAT, (4,))}, opset=20)) == {"opset"}


def test_a_finding_names_the_node_and_what_to_do() -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["y"], name="places")]
    (finding,) = lint(graph(nodes, {"x": (FLOAT, (4,))}))
    assert str(finding).startswith("places: operator: NonZero: ")
    assert "compute with a mask" in finding.advice


def test_a_release_that_is_not_known() -> None:
    with pytest.raises(ValueError, match="TensorRT 9 is not known"):
        lint(graph([helper.make_node("Relu", ["x"], ["y"])], {"x": (FLOAT, (4,))}), 9)
