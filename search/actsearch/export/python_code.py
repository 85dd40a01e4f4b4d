"""An activation as one self-contained file that depends on torch alone."""

from __future__ import annotations

import keyword
import math
import textwrap
from collections.abc import Callable
from typing import Any

from actsearch.activation import describe, expression_of, gain
from actsearch.activation.program import fold
from actsearch.catalog import CATALOG
from actsearch.errors import ActivationError
from actsearch.expression import Call, Expression, Parameter, Variable
from actsearch.operators import OPERATORS
from actsearch.records import ActivationRecord
from actsearch.report import VerdictRow

__all__ = ["to_python"]

_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**"}
_OWN: dict[str, str] = {
    "identity": "{0}",
    "cube": "({0}) ** 3",
    "gauss": "torch.exp(-torch.square({0}))",
    "gate": "torch.sigmoid({0}) * ({1})",
    "piecewise": "torch.where(x < 0, {0}, {1})",
    "logsigmoid": "F.logsigmoid({0})",
    "i0e": "torch.special.i0e({0})",
    "i1e": "torch.special.i1e({0})",
}

_HEAD = '''"""{title}

{where}"""

import torch
from torch import nn
from torch.nn import functional as F


class {name}(nn.Module):
    """{doc}"""

'''


def to_python(what: Any, *, name: str | None = None, note: str = "") -> str:
    """Write an activation as Python source for one file that needs torch alone.

    Parameters learned per channel take ``channels`` in the constructor, on axis 1.

    Args:
        what: catalog name, formula, Expression, candidate, trial, or a row of a verdict such as its winner; for the
            user's own model as the winner, a comment that says so.
        name: name of the class; made from the activation's own otherwise.
        note: where it comes from, for the head of the file.

    Raises:
        ActivationError: for forms without a formula.
    """
    if isinstance(what, VerdictRow) and what.verdict == "baseline" and what.activation is None:
        return f"# Nothing was confirmed to be better: keep {' '.join(what.label.split())}.\n"
    record = _record(what)
    row = CATALOG[record.name] if record.name else None
    class_name = name or _class_name(record)
    if not class_name.isidentifier() or keyword.iskeyword(class_name):
        raise ActivationError(f"{class_name!r} is no name for a Python class")
    if row is not None and record.name in _SPECIAL:
        body = _SPECIAL[str(record.name)](record)
    elif row is not None and not row.elementwise:
        raise ActivationError(f"{record.name} is not elementwise: use torch's own module")
    elif row is not None and row.function is not None:
        keywords = {**row.fixed, **record.hyperparameters}
        call = row.function.replace("torch.nn.functional.", "F.")
        arguments = "".join(f", {key}={value!r}" for key, value in keywords.items())
        body = _method("forward", f"return {call}(x{arguments})")
    else:
        body = _formula_body(expression_of(record))
    head = _HEAD.format(
        title=f"{record.label}, found with actsearch.",
        where=_where(record, note),
        name=class_name,
        doc=f"f(x) = {record.formula}",
    )
    return head + textwrap.indent(body, "    ")


def _record(what: Any) -> ActivationRecord:
    """Also of a trial, and of a verdict's row."""
    if isinstance(what, VerdictRow):
        if what.activation is not None:
            return ActivationRecord.from_json(what.activation)
        return describe(what.formula)
    return describe(getattr(what, "candidate", what))


def _class_name(record: ActivationRecord) -> str:
    if record.name:
        return "".join(part.capitalize() for part in record.name.split("_"))
    return "FoundActivation"


def _where(record: ActivationRecord, note: str) -> str:
    lines = [f"Formula: {record.formula}"]
    try:
        lines.append(f"Initialisation gain 1 / sqrt(E[f(z)^2]), z ~ N(0, 1): {gain(record):.6g}")
    except ActivationError:
        lines.append("Initialisation gain: none (the second moment is not finite)")
    if note:
        lines.append(" ".join(note.replace('"""', "").replace("\\", "/").split()))
    return "\n".join(lines) + "\n"


def _method(name: str, *lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"def {name}(self, x: torch.Tensor) -> torch.Tensor:\n{body}"


def _formula_body(tree: Expression) -> str:
    parameters = tree.parameters
    per_channel = any(parameter.per == "channel" for parameter in parameters)
    lines: list[str] = []
    if parameters:
        lines.append(f"def __init__(self{', channels: int' if per_channel else ''}) -> None:")
        lines.append("    super().__init__()")
        for index, parameter in enumerate(parameters):
            shape = "(channels,)" if parameter.per == "channel" else "()"
            start = f"torch.full({shape}, {parameter.init!r})"
            lines.append(f"    self.theta_{index} = nn.Parameter({start})")
        lines.append("")
    forward = []
    if per_channel:
        forward.append("shape = (-1, *[1] * (x.dim() - 2))  # channels on axis 1")
    for index, parameter in enumerate(parameters):
        view = ".view(shape)" if parameter.per == "channel" else ""
        forward.append(f"theta_{index} = self.theta_{index}{view}")
    forward.append(f"return {_Writer().write(tree)}")
    return "\n".join(lines) + ("\n" if lines else "") + _method("forward", *forward)


class _Writer:
    """Writes a tree as a torch expression; parameters are numbered as they come."""

    def __init__(self) -> None:
        self._count = 0

    def write(self, tree: Expression) -> str:
        if not tree.uses_x:
            return f"torch.zeros_like(x) + {self._text(tree)}"
        return self._text(tree)

    def _text(self, tree: Expression, as_tensor: bool = False) -> str:
        if isinstance(tree, Variable):
            return "x"
        if not tree.uses_x and not tree.parameters:
            text = _literal(fold(tree))  # Python's own 1 / 0 would raise
            return f"torch.full_like(x, {text})" if as_tensor else text
        if isinstance(tree, Parameter):
            self._count += 1
            return f"theta_{self._count - 1}"
        assert isinstance(tree, Call)
        if tree.operator in _INFIX:
            left, right = (self._text(item) for item in tree.arguments)
            text = f"({left} {_INFIX[tree.operator]} {right})"
            return text if not as_tensor or tree.uses_x else f"torch.zeros_like(x) + {text}"
        if tree.operator == "neg":
            return f"(-{self._text(tree.arguments[0])})"
        arguments = [self._text(item, as_tensor=True) for item in tree.arguments]
        if tree.operator in _OWN:
            return f"({_OWN[tree.operator].format(*arguments)})"
        function = OPERATORS[tree.operator].function.replace("torch.nn.functional.", "F.")
        return f"{function}({', '.join(arguments)})"


def _relu(record: ActivationRecord) -> str:
    grad = record.hyperparameters["grad_at_zero"]
    call = {
        0.0: "torch.relu(x)",
        0.5: "torch.maximum(x, torch.zeros_like(x))",
        1.0: "torch.clamp_min(x, 0)",
    }
    return _method("forward", f"return {call[float(grad)]}  # derivative at 0: {grad:g}")


def _step(record: ActivationRecord) -> str:
    return _method(
        "forward",
        "value = (x >= 0).to(x.dtype)",
        "surrogate = torch.clamp(x, -1, 1)  # straight-through gradient",
        "return value + (surrogate - surrogate.detach())",
    )


def _rrelu(record: ActivationRecord) -> str:
    lower, upper = record.hyperparameters["lower"], record.hyperparameters["upper"]
    return _method("forward", f"return F.rrelu(x, {lower!r}, {upper!r}, self.training)")


def _literal(value: float) -> str:
    text = repr(value) if math.isfinite(value) else f'float("{value}")'
    return f"({text})" if value < 0 else text


_SPECIAL: dict[str, Callable[[ActivationRecord], str]] = {
    "relu": _relu,
    "step": _step,
    "rrelu": _rrelu,
}
