"""Formula text to tree: Python's own grammar through :mod:`ast`, a whitelist, limits, and no evaluation."""

from __future__ import annotations

import ast
import functools
import re
import warnings
from collections.abc import Mapping

from actsearch.checks import is_number, nearest
from actsearch.errors import FormulaError
from actsearch.expression.nodes import Call, Expression, Limits, Number, Parameter, X
from actsearch.operators import OPERATORS

__all__ = ["parse"]

_INFIX = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Pow: "pow"}
_FOREIGN = re.compile(r"[^A-Za-z0-9_+\-*/().,=\"' \t\n]")
_TOO_DEEP = re.compile(r"(?:[-+]\s*){200}")  # how many Python reads depends on its recursion limit
_TOO_LONG = re.compile(r"[0-9_]{300}")  # Python itself refuses integers of 4300 digits
_CACHED = (
    1024  # texts: a search reads those of its parents and of its latest proposals again and again
)


def parse(
    text: str | Expression, constants: Mapping[str, float | str] | None = None
) -> Expression:
    r"""Read a formula such as ``"x * sigmoid(param(1.0) * x)"``.

    The language: one variable ``x``; numbers; ``+ - * / **``; calls of the operators in
    :data:`actsearch.operators.OPERATORS`; learned numbers ``param(init)`` and
    ``param(init, per="channel")``. ``max``, ``min``, ``sum`` and ``prod`` take two arguments or more; ``mix(a, b)``
    has a learned weight, written out as its third. The text is never evaluated.

    Args:
        text: the formula; an Expression is handed back unchanged.
        constants: values for further names, such as hyperparameters of a catalog row.

    Raises:
        FormulaError: with ``position``, for anything outside the language or beyond the limits.

    Example:
        >>> acs.parse("x*sigmoid(x)").latex()
        'x \\cdot \\sigma\\left(x\\right)'
        >>> str(acs.parse("slope * x", {"slope": 0.25}))
        '0.25 * x'
    """
    if isinstance(text, Expression):
        return text
    if not isinstance(text, str):
        raise FormulaError(f"a formula is a text, not {type(text).__name__}")
    return _read(text, constants) if constants else _read_cached(text)


def _read(text: str, constants: Mapping[str, float | str]) -> Expression:
    if len(text) > Limits.LENGTH:
        raise FormulaError(
            f"formula is {len(text)} characters long: at most {Limits.LENGTH}", text, Limits.LENGTH
        )
    if not text.strip():
        raise FormulaError("formula is empty", text, 0)
    if match := _FOREIGN.search(text):
        raise FormulaError(
            f"character {match.group()!r} has no place in a formula"
            + ("; a power is written **" if match.group() == "^" else ""),
            text,
            match.start(),
        )
    if match := _TOO_DEEP.search(text):
        raise FormulaError("formula is nested too deeply", text, match.start())
    if match := _TOO_LONG.search(text):
        raise FormulaError("number has too many digits", text, match.start())
    return _Reader(text, constants).read()


@functools.lru_cache(maxsize=_CACHED)
def _read_cached(text: str) -> Expression:
    return _read(text, {})


_SYNTAX_NAMES: dict[type[ast.AST], str] = {
    ast.FloorDiv: "//", ast.Mod: "%", ast.MatMult: "@", ast.Not: "not", ast.Invert: "~", ast.IfExp: "if",
    ast.BoolOp: "and, or", ast.Compare: "a comparison", ast.Lambda: "lambda", ast.Attribute: "a dot",
    ast.Await: "await", ast.Subscript: "[...]", ast.NamedExpr: ":=", ast.Tuple: "a comma", ast.Starred: "*",
    ast.Yield: "yield",
}  # fmt: skip


def _name_syntax(node: ast.expr) -> str:
    """A piece of syntax as its writer knows it."""
    kind = type(node.op) if isinstance(node, (ast.BinOp, ast.UnaryOp)) else type(node)
    return _SYNTAX_NAMES.get(kind, type(node).__name__)


class _Reader:
    """Walks the syntax tree of one text once, translating the nodes it knows."""

    def __init__(self, text: str, constants: Mapping[str, float | str]) -> None:
        self.text = text
        self.constants = constants
        self.size = 0

    def read(self) -> Expression:
        tree = self._expression(self._syntax_tree(), 1)
        if tree.size > Limits.SIZE:  # numbers that an operator puts in count as well
            raise FormulaError(f"formula has more than {Limits.SIZE} nodes", self.text, 0)
        return tree

    def _syntax_tree(self) -> ast.expr:
        line = self.text.replace("\n", " ").replace("\t", " ").strip()  # columns are positions
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # such as "1if": refused below in any case
                return ast.parse(line, mode="eval").body
        except SyntaxError as error:
            message = (error.msg or "invalid syntax").split(". Perhaps")[0]
            position = self._position((error.offset or len(line) + 1) - 1)  # 0 means at the end
            raise FormulaError(f"formula cannot be read: {message}", self.text, position) from None
        except (ValueError, MemoryError, RecursionError):
            raise FormulaError("formula is nested too deeply", self.text, 0) from None

    def _position(self, column: int) -> int:
        """Position in the user's text of a column in the stripped one."""
        leading = len(self.text) - len(self.text.lstrip(" \n\t"))
        return max(0, min(column + leading, len(self.text)))

    def _error(self, message: str, node: ast.AST) -> FormulaError:
        return FormulaError(message, self.text, self._position(getattr(node, "col_offset", 0)))

    def _expression(self, node: ast.expr, depth: int) -> Expression:
        self.size += 1
        if depth > Limits.DEPTH:
            raise self._error(f"formula is nested more than {Limits.DEPTH} levels deep", node)
        if self.size > Limits.SIZE:
            raise self._error(f"formula has more than {Limits.SIZE} nodes", node)
        match node:
            case ast.Constant():
                return Number(self._number(node))
            case ast.Name():
                return self._name(node)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self._expression(operand, depth + 1)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() as operand):
                return Number(-self._number(operand))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._operator("neg", [operand], node, depth)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _INFIX:
                return self._operator(_INFIX[type(op)], [left, right], node, depth)
            case ast.Call():
                return self._call(node, depth)
        raise self._error(f"{_name_syntax(node)} is not part of the formula language", node)

    def _number(self, node: ast.Constant) -> float:
        value = node.value
        if not is_number(value):
            raise self._error(f"{str(value)[:30]!r} is not a number", node)
        if not abs(value) <= Limits.NUMBER:
            raise self._error(f"number is too large: at most {Limits.NUMBER:g}", node)
        return float(value)

    def _name(self, node: ast.Name) -> Expression:
        if node.id == "x":
            return X
        value = self.constants.get(node.id)
        if isinstance(value, (int, float)):
            return Number(value)
        if node.id in OPERATORS:
            raise self._error(f"operator {node.id} needs its arguments, as in {node.id}(x)", node)
        raise self._error(
            f"unknown name {node.id!r}" + nearest(node.id, {"x", *self.constants}), node
        )

    def _call(self, node: ast.Call, depth: int) -> Expression:
        if not isinstance(node.func, ast.Name):
            raise self._error("only operators can be called, by their plain name", node)
        name = node.func.id
        if name == "param":
            return self._parameter(node)
        if name not in OPERATORS:
            raise self._error(
                f"unknown operator {name!r}"
                + nearest(name, {"param", *OPERATORS})
                + " A name of the catalog stands alone, with settings as keywords: acs.activation(name, ...); in a "
                "formula, write what it computes, which acs.catalog[name].formula says.",
                node,
            )
        if node.keywords:
            raise self._error(f"{name} takes no keyword arguments", node)
        return self._operator(name, node.args, node, depth)

    def _operator(
        self, name: str, operands: list[ast.expr], node: ast.expr, depth: int
    ) -> Expression:
        arguments = tuple(self._expression(operand, depth + 1) for operand in operands)
        try:
            return Call(name, arguments)
        except FormulaError as error:
            raise self._error(str(error), node) from None

    def _parameter(self, node: ast.Call) -> Parameter:
        per: object = "tensor"
        if len(node.keywords) > 1:
            raise self._error("param takes one keyword, per", node.keywords[1].value)
        for keyword in node.keywords:
            if keyword.arg != "per":
                raise self._error("param takes one keyword, per", keyword.value)
            per = self._scope(keyword.value)
        if len(node.args) != 1:
            raise self._error("param takes one start value, as in param(1.0)", node)
        self.size -= 1  # the start value is not a node of its own
        init = self._expression(node.args[0], 1)
        if not isinstance(init, Number):
            raise self._error("the start value of param must be a number", node.args[0])
        if per == "channel":
            return Parameter(init.value, "channel")
        return Parameter(init.value)

    def _scope(self, node: ast.expr) -> str:
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(node, ast.Name):
            value = self.constants.get(node.id)
        if value not in ("tensor", "channel"):
            raise self._error('per must be "tensor" or "channel"', node)
        return str(value)
