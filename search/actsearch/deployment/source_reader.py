"""Computing what a written source says, node by node, so that the text itself is checked.

Nothing is executed as Python: what :func:`actsearch.to_python` may write is read here, and anything else refused.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from actsearch.errors import ActivationError

__all__ = ["run_source"]

Array = npt.NDArray[np.float64]

_OPERATORS: Mapping[type, Callable[..., Any]] = MappingProxyType(
    {
        ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
        ast.Pow: operator.pow, ast.Mod: operator.mod, ast.FloorDiv: operator.floordiv, ast.USub: operator.neg,
        ast.UAdd: operator.pos, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    }
)  # fmt: skip
_NAMES: Mapping[str, Any] = MappingProxyType(
    {"torch": torch, "nn": nn, "F": functional, "float": float}
)


def run_source(text: str) -> Callable[[Array], Array]:
    """The values of a source's only class in single precision, at points ``(n,)``, as it runs in a product.

    Raises:
        ActivationError: something in it that :func:`actsearch.to_python` does not write for a function of one number.
    """
    body = ast.parse(text).body
    functions = {part.name: part for part in body if isinstance(part, ast.FunctionDef)}
    (written,) = [part for part in body if isinstance(part, ast.ClassDef)]
    methods = {part.name: part for part in written.body if isinstance(part, ast.FunctionDef)}
    reader = _Reader(functions)
    itself = SimpleNamespace(training=False)
    itself.register_buffer = lambda name, value: setattr(itself, name, value)
    if "__init__" in methods:
        reader.call(methods["__init__"], [itself])

    def run(points: Array) -> Array:
        x = torch.from_numpy(points).float().reshape(-1, 1)
        with torch.no_grad():
            y = reader.call(methods["forward"], [itself, x])
        values: Array = y.double().reshape(-1).numpy()
        return values

    return run


class _Reader:
    def __init__(self, functions: Mapping[str, ast.FunctionDef]) -> None:
        self._functions = functions

    def call(self, function: ast.FunctionDef, arguments: list[Any]) -> Any:
        """What a function of the source returns."""
        names = [item.arg for item in function.args.args]
        known = dict(zip(names, arguments, strict=False))
        for name, default in zip(reversed(names), reversed(function.args.defaults), strict=False):
            if name not in known:
                known[name] = self._value(default, {})
        for line in function.body:
            if isinstance(line, ast.Return) and line.value is not None:
                return self._value(line.value, known)
            self._do(line, known)
        return None

    def _do(self, line: ast.stmt, known: dict[str, Any]) -> None:
        if isinstance(line, ast.Assign) and len(line.targets) == 1:
            value, target = self._value(line.value, known), line.targets[0]
            if isinstance(target, ast.Name):
                known[target.id] = value
                return
            if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
                setattr(known["self"], target.attr, value)
                return
        elif isinstance(line, ast.Expr):
            if isinstance(line.value, ast.Constant) or ast.unparse(line) == "super().__init__()":
                return
            if ast.unparse(line).startswith("self.register_buffer("):
                assert isinstance(line.value, ast.Call)
                name, value = line.value.args
                assert isinstance(name, ast.Constant)
                known["self"].register_buffer(name.value, self._value(value, known))
                return
        raise _unknown(line)

    def _value(self, node: ast.expr, known: Mapping[str, Any]) -> Any:
        if isinstance(node, ast.Constant) and not isinstance(node.value, (str, bytes)):
            return node.value  # no function that the source may call gets a text, such as a path
        if isinstance(node, ast.Name) and node.id in (known.keys() | _NAMES.keys()):
            return known.get(node.id, _NAMES.get(node.id))
        if isinstance(node, ast.Attribute) and not node.attr.startswith("_"):
            return getattr(self._value(node.value, known), node.attr)
        if isinstance(node, (ast.BinOp, ast.UnaryOp, ast.Compare)):
            return self._operation(node, known)
        if isinstance(node, (ast.Tuple, ast.List)):
            items = self._items(node.elts, known)
            return tuple(items) if isinstance(node, ast.Tuple) else items
        if isinstance(node, ast.Subscript):
            return self._value(node.value, known)[self._value(node.slice, known)]
        if isinstance(node, ast.Slice):
            ends = (node.lower, node.upper, node.step)
            return slice(*(None if end is None else self._value(end, known) for end in ends))
        if isinstance(node, ast.Call):
            return self._called(node, known)
        raise _unknown(node)

    def _operation(
        self, node: ast.BinOp | ast.UnaryOp | ast.Compare, known: Mapping[str, Any]
    ) -> Any:
        kind: ast.AST
        if isinstance(node, ast.UnaryOp):
            kind, parts = node.op, [node.operand]
        elif isinstance(node, ast.BinOp):
            kind, parts = node.op, [node.left, node.right]
        else:
            kind, parts = node.ops[0], [node.left, *node.comparators]
        if type(kind) not in _OPERATORS or len(parts) > 2:
            raise _unknown(node)
        return _OPERATORS[type(kind)](*(self._value(part, known) for part in parts))

    def _items(self, nodes: list[ast.expr], known: Mapping[str, Any]) -> list[Any]:
        items: list[Any] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                items.extend(self._value(node.value, known))
            else:
                items.append(self._value(node, known))
        return items

    def _called(self, node: ast.Call, known: Mapping[str, Any]) -> Any:
        if ast.unparse(node) in ("float('inf')", "float('-inf')", "float('nan')"):
            assert isinstance(node.args[0], ast.Constant)
            return float(str(node.args[0].value))
        arguments = self._items(node.args, known)
        words = {str(word.arg): self._word(word, known) for word in node.keywords}
        if isinstance(node.func, ast.Name) and node.func.id in self._functions:
            return self.call(self._functions[node.func.id], arguments)
        return self._value(node.func, known)(*arguments, **words)

    def _word(self, word: ast.keyword, known: Mapping[str, Any]) -> Any:
        if word.arg == "approximate" and isinstance(word.value, ast.Constant):  # of gelu
            return word.value.value
        return self._value(word.value, known)


def _unknown(node: ast.AST) -> ActivationError:
    return ActivationError(
        f"the source that was written cannot be checked: {ast.unparse(node)!r} is nothing that it should hold"
    )
