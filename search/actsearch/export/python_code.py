"""An activation as one self-contained file that depends on torch alone."""

from __future__ import annotations

import ast
import keyword
import math
import textwrap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from actsearch.activation_catalog import CATALOG, Row, parse_points
from actsearch.activations import Activation, build_expression, describe, gain
from actsearch.activations.program import fold
from actsearch.errors import ActivationError
from actsearch.export.learned import Learned, check_learned, load_learned
from actsearch.export.several import write_module
from actsearch.export.subject import make_class_name, resolve_records
from actsearch.export.words import escape_comment, escape_docstring
from actsearch.expression import Call, Expression, Parameter, Variable
from actsearch.operators import Operator
from actsearch.records import ActivationRecord, TrainingSettings, TrialRecord
from actsearch.report import Recipe, Verdict, VerdictRow, origin

if TYPE_CHECKING:
    import torch

__all__ = ["to_python"]

_HELPERS = {
    "piecewise": '''def piecewise(x: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Left where x is negative, right elsewhere; NaN stays NaN."""
    return torch.where(x < 0, left, right) + x.detach().clamp(0, 0)
''',
    "mix": '''def mix(a: torch.Tensor, b: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A blend: a for weight 0, b for weight 1."""
    return a + weight * (b - a)
''',
}
"""Functions that a file holds where its formula needs them."""

_FUNCTIONAL = "from torch.nn import functional as F\n"
_HEAD = '''"""{title}

{where}"""

import torch
from torch import nn
from torch.nn import functional as F
{helpers}

class {name}(nn.Module):
    """{doc}"""

'''


def to_python(
    what: Any,
    *,
    learned: Learned | Activation | None = None,
    name: str | None = None,
    note: str = "",
) -> str:
    """Write an activation as Python source for one file that needs torch alone.

    Its parameters start as in the search; those learned per channel take ``channels`` in the constructor, and
    ``channel_axis`` (1 by default; -1 where channels come last, as behind ``nn.Linear`` over sequences).
    With learned values they start there instead, and the number of channels is that of the values.
    Behind a verdict's activation stand the learning rate that it won at, and the optimizer with its groups; behind a
    trial's the learning rate, where its study has chosen one in the place of the task's.
    Maxout takes ``channel_axis``, and its docstring says how wide the layer before it must be.

    Args:
        what: catalog name, formula, Expression, candidate, trial, or a verdict or one of its rows; for the user's own
            model as the winner, a comment that says so. Of a module, what it has learned is written. A candidate of
            several activations becomes a class for each, and a mapping to them from the groups of sites.
        learned: values for the parameters: a trained module of this activation, such as
            ``placement.model.get_submodule(path)``, or a mapping as its ``state_dict()``, names to 0-d or
            ``(channels,)`` numbers.
        name: name of the class; made from the activation's own otherwise.
        note: further words for the head of the file.

    Raises:
        ActivationError: for forms without a formula, for learned values that do not fit, and for what a database holds
            in the place of an activation.

    Example:
        >>> code = acs.to_python("x * tanh(x)", name="TanhGate")
        >>> print("class TanhGate" in code, "actsearch" in code.split("class TanhGate")[1])
        True False
    """
    row = what.winner if isinstance(what, Verdict) else what
    if isinstance(row, VerdictRow) and _is_unchanged_model(row):
        keep = f"Nothing was confirmed to be better: keep {row.label}."
        return f"# {escape_comment(what.sentence if isinstance(what, Verdict) else keep)}\n"
    trial = getattr(row, "record", None)
    if isinstance(trial, TrialRecord) and trial.candidate.is_baseline:
        keep = f"This trial is the model unchanged: keep {trial.candidate.label or 'it'}."
        return f"# {escape_comment(keep)}\n"
    note = " ".join(filter(None, (_origin(what), note)))
    if several := resolve_records(row):
        if learned is not None:
            raise ActivationError("learned values belong to one activation: write each by itself")
        file = write_module(several, name or "FoundActivation", note, to_python)
        return file + _training_code(file, what)
    record = describe(row)
    values = check_learned(record, what if isinstance(what, Activation) else learned)
    row = CATALOG[record.name] if record.name else None
    class_name = name or make_class_name(record)
    taken = {"torch", "nn", "F", *_HELPERS}
    if not class_name.isidentifier() or keyword.iskeyword(class_name) or class_name in taken:
        raise ActivationError(f"{class_name!r} is not a name for a Python class")
    module = what if isinstance(what, Activation) else learned
    axis = module.channel_axis if isinstance(module, Activation) else 1
    body = _class_body(record, row, values, axis)
    needed = "".join(f"\n\n{text}" for call, text in _HELPERS.items() if f"{call}(" in body)
    head = (_HEAD if "F." in body else _HEAD.replace(_FUNCTIONAL, "")).format(
        helpers=needed,
        title=f"{escape_docstring(record.label)}, found with actsearch.",
        where=_where(record, note, values),
        name=class_name,
        doc=_doc(record, row),
    )
    file = head + textwrap.indent(body, "    ")
    return file + _training_code(file, what)


def _training_code(file: str, what: Any) -> str:
    """How to train it: of a verdict, of a trial that one has compared, and of one whose study has chosen its rate."""
    if (recipe := _recipe(what)) is None:
        return ""
    learning = [
        part.name
        for part in ast.parse(file).body
        if isinstance(part, ast.ClassDef) and "nn.Parameter(" in ast.unparse(part)
    ]
    code = recipe.code(learning)
    return f"\n\n{code}" if code else ""


def _recipe(what: Any) -> Recipe | None:
    if isinstance(what, Verdict):
        return what.recipe(what.winner)
    if not isinstance(trial := getattr(what, "record", None), TrialRecord):
        return None
    verdict, rate = what.verdict, what.chosen_rate
    if isinstance(verdict, Verdict) and (row := verdict.row(trial.number)) is not None:
        return verdict.recipe(row)
    if rate is None:
        return None
    return Recipe(trial.candidate.label, rate.used, settings=TrainingSettings(rate.given))


def _class_body(
    record: ActivationRecord, row: Row | None, values: Mapping[str, torch.Tensor], axis: int
) -> str:
    if row is not None and record.name in _SPECIAL:
        return _SPECIAL[str(record.name)](record)
    if row is not None and not row.elementwise:
        raise ActivationError(f"{record.name} is not elementwise: use torch's own module")
    if row is not None and row.function is not None:
        keywords = {**row.fixed, **record.hyperparameters}
        call = row.function.replace("torch.nn.functional.", "F.")
        arguments = "".join(f", {key}={value!r}" for key, value in keywords.items())
        return _method("forward", f"return {call}(x{arguments})")
    return _formula_body(build_expression(record), values, axis)


def _is_unchanged_model(row: VerdictRow) -> bool:
    return row.verdict == "baseline" and row.activation is None and not row.is_damaged


def _origin(what: Any) -> str:
    if isinstance(what, Verdict):
        return origin(what.study_name, None, what, what.winner)
    if isinstance(what, VerdictRow):
        return origin("", None, None, what)
    if isinstance(trial := getattr(what, "record", None), TrialRecord):
        verdict = what.verdict
        row = None if verdict is None else verdict.row(trial.number)
        return origin(what.study_name, trial, verdict, row, what.chosen_rate)
    return ""


def _doc(record: ActivationRecord, row: Row | None) -> str:
    """The class's docstring."""
    if row is None or row.widens is None:
        return f"f(x) = {escape_docstring(record.formula)}"
    times = row.width(record.hyperparameters)
    return (
        f"The largest of each {times} neighbouring channels: {times} c channels in, c out.\n\n"
        f"    The layer before it must be {times} times as wide. Channels lie on axis 1, or on channel_axis.\n    "
    )


def _where(record: ActivationRecord, note: str, values: Mapping[str, torch.Tensor]) -> str:
    lines = [f"Formula: {escape_docstring(record.formula)}"]
    if values:
        lines.append("Parameters start at the values that they learned.")
    what = load_learned(record, values) if values else record
    try:
        lines.append(f"Initialisation gain 1 / sqrt(E[f(z)^2]), z ~ N(0, 1): {gain(what):.6g}")
    except ActivationError:
        lines.append("Initialisation gain: none (the second moment is not finite)")
    if note:
        lines.append(escape_docstring(note))
    return "\n".join(lines) + "\n"


def _method(name: str, *lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"def {name}(self, x: torch.Tensor) -> torch.Tensor:\n{body}"


def _numbers(value: torch.Tensor) -> Any:
    """A number or a list of numbers, with as many digits as their precision needs."""
    digits = 17 if value.element_size() == 8 else 9
    if value.dim():
        return [float(f"{number:.{digits}g}") for number in value.tolist()]
    return float(f"{value.item():.{digits}g}")


def _formula_body(tree: Expression, values: Mapping[str, torch.Tensor], axis: int) -> str:
    parameters = tree.parameters
    per_channel = any(parameter.per == "channel" for parameter in parameters)
    lines: list[str] = []
    if parameters:
        argument = ", channels: int" if per_channel and not values else ""
        if per_channel:
            argument += f", channel_axis: int = {axis}"
        lines.append(f"def __init__(self{argument}) -> None:")
        lines.append("    super().__init__()")
        if per_channel:
            lines.append("    self.channel_axis = channel_axis")
        for index, parameter in enumerate(parameters):
            key = f"theta_{index}"
            shape = "(channels,)" if parameter.per == "channel" else "()"
            start = f"torch.full({shape}, {parameter.init!r})"
            if key in values:
                start = f"torch.tensor({_numbers(values[key])!r})"
            lines.append(f"    self.{key} = nn.Parameter({start})")
        lines.append("")
    forward = []
    if per_channel:
        forward.append("axis = self.channel_axis % x.dim()")
        forward.append("shape = (-1, *[1] * (x.dim() - axis - 1))")
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
        if tree.row.symbol is not None:
            return self._symbol(tree, tree.row.symbol, as_tensor)
        return self._call(tree, tree.row)

    def _symbol(self, tree: Call, symbol: str, as_tensor: bool) -> str:
        *left, right = (self._text(item) for item in tree.arguments)
        if not left:
            return f"({symbol}{right})"
        text = f"({left[0]} {symbol} {right})"
        return text if not as_tensor or tree.uses_x else f"torch.zeros_like(x) + {text}"

    def _call(self, tree: Call, row: Operator) -> str:
        in_call = row.code_separator == ", "  # between symbols, a number may stay a number
        arguments = [
            self._text(item, as_tensor=in_call and (index < row.arity or not row.learned))
            for index, item in enumerate(tree.arguments)
        ]
        if row.code_of_two is not None and len(arguments) == 2:
            return row.code_of_two.format(*arguments)
        if row.code is not None and row.separator is not None:
            return row.code.format(row.code_separator.join(arguments))
        if row.code is not None:
            return f"({row.code.format(*arguments)})"
        function = row.function.replace("torch.nn.functional.", "F.")
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


def _maxout(record: ActivationRecord) -> str:
    pieces = record.hyperparameters["pieces"]
    constructor = (
        "def __init__(self, channel_axis: int = 1) -> None:\n"
        "    super().__init__()\n"
        "    self.channel_axis = channel_axis\n\n"
    )
    return constructor + _method(
        "forward",
        "axis = self.channel_axis % x.dim()",
        f"channels = x.shape[axis] // {pieces}",
        f"return x.unflatten(axis, (channels, {pieces})).amax(axis + 1)",
    )


def _linear_spline(record: ActivationRecord) -> str:
    points = parse_points(str(record.hyperparameters["points"]))
    rows = ", ".join(f"({x!r}, {y!r})" for x, y in points)
    constructor = (
        "def __init__(self) -> None:\n"
        "    super().__init__()\n"
        f"    points = torch.tensor([{rows}])\n"
        '    self.register_buffer("x", points[:, 0].contiguous())\n'
        '    self.register_buffer("y", points[:, 1].contiguous())\n\n'
    )
    return constructor + _method(
        "forward",
        "right = torch.bucketize(x.detach(), self.x[1:-1]) + 1  # the point behind x, or the last one",
        "slope = ((self.y[1:] - self.y[:-1]) / (self.x[1:] - self.x[:-1]))[right - 1]",
        "return self.y[right] + slope * (x - self.x[right])",
    )


def _literal(value: float) -> str:
    text = repr(value) if math.isfinite(value) else f'float("{value}")'
    return f"({text})" if value < 0 else text


_SPECIAL: dict[str, Callable[[ActivationRecord], str]] = {
    "relu": _relu,
    "step": _step,
    "rrelu": _rrelu,
    "maxout": _maxout,
    "linear_spline": _linear_spline,
}
