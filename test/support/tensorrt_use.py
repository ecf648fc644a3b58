# Copyright 2026 The referdino authors
# SPDX-License-Identifier: Apache-2.0
"""Finds what Python sources use of TensorRT's module, and what of that a release does not have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MODULE = "trt"


@dataclass(frozen=True)
class Known:
    """What an expression is: the module, a class, an instance, or something to be called."""

    kind: str
    name: str = ""
    doc: str | None = None


@dataclass
class Use:
    """What was found: uses that exist, as `Class.member`, and complaints about all others."""

    found: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)


def check(source: str, api: dict) -> Use:
    """Hold the uses of `trt` in a source to a release as `Bindings.describe` gives it."""
    use = Use()
    tree = ast.parse(source)
    _Scope(api, use, {MODULE: Known("module")}, {}).enter(tree)
    return use


@dataclass
class _Scope:
    api: dict
    use: Use
    variables: dict[str, Known]
    attributes: dict[str, Known]

    def enter(self, node: ast.AST) -> None:
        """Learn the types of a module's, class's or function's own variables, then check it."""
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            arguments = node.args
            for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
                # What is not known here must not be taken for what it is called outside.
                self.variables.pop(argument.arg, None)
                self.learn(argument, self.annotated(argument.annotation))
        nodes = list(_own_nodes(node))
        for _ in range(2):  # a variable may be learnt from one that stands further down
            for inner in nodes:
                if isinstance(inner, ast.AnnAssign):
                    self.learn(inner.target, self.annotated(inner.annotation))
                elif isinstance(inner, ast.Assign) and len(inner.targets) == 1:
                    quiet = _Scope(self.api, Use(), self.variables, self.attributes)
                    self.learn(inner.targets[0], quiet.evaluate(inner.value))
        for inner in nodes:
            if isinstance(inner, ast.Call | ast.Attribute):
                self.evaluate(inner)
        if isinstance(node, ast.ClassDef):
            self.check_overrides(node)
            for method in ast.walk(node):
                if isinstance(method, ast.AnnAssign) and isinstance(method.target, ast.Attribute):
                    self.learn(method.target, self.annotated(method.annotation))
        for inner in _inner_scopes(node):
            attributes = {} if isinstance(inner, ast.ClassDef) else self.attributes
            _Scope(self.api, self.use, dict(self.variables), attributes).enter(inner)

    def learn(self, target: ast.AST, known: Known | None) -> None:
        if known is None:
            return
        if isinstance(target, ast.arg):
            self.variables[target.arg] = known
        elif isinstance(target, ast.Name):
            self.variables[target.id] = known
        elif isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
            self.attributes[target.attr] = known

    def annotated(self, annotation: ast.AST | None) -> Known | None:
        """The instance that an annotation means: `trt.X`, or `trt.X | None`."""
        if isinstance(annotation, ast.BinOp):
            return self.annotated(annotation.left)
        if not isinstance(annotation, ast.Attribute):
            return None
        known = self.evaluate(annotation)
        return Known("instance", known.name) if known and known.kind == "class" else None

    def evaluate(self, node: ast.AST) -> Known | None:
        if isinstance(node, ast.Name):
            return self.variables.get(node.id)
        if isinstance(node, ast.Call):
            return self.call(node)
        if not isinstance(node, ast.Attribute):
            return None
        if ast.unparse(node.value) == "self" and node.attr in self.attributes:
            return self.attributes[node.attr]
        owner = self.evaluate(node.value)
        if owner is None or owner.kind not in ("module", "class", "instance"):
            return None
        members = self.api["names"] if owner.kind == "module" else self.api["classes"][owner.name]
        use = f"{owner.name or MODULE}.{node.attr}"
        if node.attr not in members and owner.kind != "module":
            use = f"{MODULE}.{use}"
        if node.attr not in members:
            self.complain(node, f"{use} does not exist")
            return None
        self.use.found.add(use)
        return self.member(node.attr, members[node.attr])

    def member(self, name: str, member: dict) -> Known | None:
        if member["kind"] == "class":
            return Known("class", member["class"])
        if member["kind"] == "callable":
            return Known("callable", name, member["doc"])
        if member["kind"] == "property":
            return self.returned(re.sub(r"^.* -> ", "", (member["doc"] or "").split("\n")[0]))
        return (
            Known("instance", member["class"]) if member["class"] in self.api["classes"] else None
        )

    def returned(self, text: str) -> Known | None:
        name = re.sub(r"^(tensorrt\w*\.tensorrt\w*\.|nvinfer1::)", "", text.strip())
        return Known("instance", name) if name in self.api["classes"] else None

    def call(self, node: ast.Call) -> Known | None:
        known = self.evaluate(node.func)
        if known is None or known.kind not in ("class", "callable"):
            return None
        doc = known.doc
        if known.kind == "class":
            doc = self.api["classes"][known.name]["__init__"]["doc"]
        overloads = list(_overloads(doc or ""))
        fitting = [returns for names, returns in overloads if _fits(node, names)]
        if overloads and not fitting:
            self.complain(node, f"{ast.unparse(node)} fits none of {[one[0] for one in overloads]}")
        if known.kind == "class":
            return Known("instance", known.name)
        return self.returned(fitting[0]) if fitting else None

    def check_overrides(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            known = self.evaluate(base)
            if known is None or known.kind != "class":
                continue
            members = self.api["classes"][known.name]
            for method in node.body:
                if not isinstance(method, ast.FunctionDef) or method.name.startswith("_"):
                    continue
                if method.name not in members:
                    self.complain(method, f"{known.name}.{method.name} is never called")
                    continue
                self.use.found.add(f"{known.name}.{method.name}")
                names = [argument.arg for argument in method.args.args]
                if names not in [one[0] for one in _overloads(members[method.name]["doc"])]:
                    self.complain(method, f"{known.name}.{method.name} takes other arguments")

    def complain(self, node: ast.AST, what: str) -> None:
        complaint = f"line {getattr(node, 'lineno', '?')}: {what}"
        if complaint not in self.use.complaints:
            self.use.complaints.append(complaint)


_SCOPES = (ast.FunctionDef, ast.ClassDef, ast.Lambda)


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Everything in a scope, scopes within it left out."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _SCOPES):
            yield child
            yield from _own_nodes(child)


def _inner_scopes(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _SCOPES):
            yield child
        else:
            yield from _inner_scopes(child)


def _overloads(doc: str) -> Iterator[tuple[list[str], str]]:
    """Parameter names and type of the result of each signature in a docstring."""
    for line in doc.splitlines():
        signature = re.match(r"(?:\d+\. )?\w+\((.*)\) -> (.*)$", line)
        if signature and not signature[1].startswith("*args"):
            parts = _split(signature[1])
            yield [re.split(r"[:=]", part)[0].strip() for part in parts], signature[2]


def _split(parameters: str) -> list[str]:
    """A list of parameters at its commas, those within brackets left alone."""
    parts, depth = [""], 0
    for letter in parameters:
        depth += (letter in "([{<") - (letter in ")]}>")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _fits(call: ast.Call, names: list[str]) -> bool:
    """Whether names and number of a call's arguments suit a signature; types are left to mypy."""
    unbound = isinstance(call.func, ast.Attribute) and call.func.attr == "__init__"
    takes = names[1:] if names[:1] in (["self"], ["arg0"]) and not unbound else names
    keywords = [keyword.arg for keyword in call.keywords]
    taken = takes[: len(call.args)]
    return len(call.args) + len(keywords) <= len(takes) and all(
        keyword in takes and keyword not in taken for keyword in keywords
    )
