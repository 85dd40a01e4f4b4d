"""One function for each target: from a subject to a deployment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from actsearch.activations import HingeSum, approximate
from actsearch.activations.lookup_table import (
    Bits,
    LookupTable,
    Quantisation,
    check_quantisation,
    make_table,
    quantisation_for,
)
from actsearch.bounds import bound_magnitude
from actsearch.checks import check_one_of
from actsearch.deployment.c_header import c_name, write_hinges, write_table
from actsearch.deployment.checking import DEFAULT_INTERVAL, check, run_module
from actsearch.deployment.compiler import check_cpp_compiler
from actsearch.deployment.made import Deployment
from actsearch.deployment.onnx_file import export_onnx, run_onnx
from actsearch.deployment.source_reader import run_source
from actsearch.deployment.subject import Subject
from actsearch.errors import ActivationError, FormulaError
from actsearch.evaluation.timing import time_interleaved
from actsearch.export import to_python
from actsearch.expression import Call, Expression, Number, Variable, parse
from actsearch.placement.random_streams import isolated_random

__all__ = ["TARGETS", "Options", "certify", "hinge_terms"]

_SHAPE = (256, 1024)  # on which the compiled form is timed

Terms = tuple[float, float, tuple[tuple[float, float], ...]]


@dataclass(frozen=True)
class Options:
    """What a user may say of a target; None for what is chosen."""

    input_scale: Any = None
    input_zero_point: Any = None
    output_scale: Any = None
    output_zero_point: Any = None
    hinges: Any = 8
    interval: tuple[float, float] | None = None
    opset: Any = None
    form: Any = None
    name: str | None = None


def _interval(subject: Subject, options: Options) -> tuple[float, float]:
    if options.interval is not None:
        return options.interval
    return DEFAULT_INTERVAL if subject.inputs is None else subject.inputs.interval


def make_python(subject: Subject, options: Options) -> Deployment:
    """Source that needs torch alone."""
    module = subject.module()
    text = to_python(subject.source, learned=subject.recorded, name=options.name)
    return _of_module(
        subject,
        options,
        "python",
        module,
        "paste it into your code; its class takes the place of the activation",
        run=lambda points: run_source(text)(points),  # the text, not the module beside it
        text=text,
    )


def make_compiled(subject: Subject, options: Options) -> Deployment:
    """A module whose forward and backward torch.compile makes one kernel each."""
    check_cpp_compiler()
    module = subject.module()
    compiled = cast(nn.Module, torch.compile(module, fullgraph=True))
    with isolated_random(0):
        shape = _SHAPE if _channels(module) is None else (_SHAPE[0], _channels(module))
        own, gelu = time_interleaved([compiled, nn.GELU()], torch.randn(shape))
    return _of_module(
        subject,
        options,
        "compiled",
        compiled,
        "put made.module() in the place of the activation, or torch.compile the whole model, which does the same",
        ratio=own / gelu,
    )


def _channels(module: nn.Module) -> Any:
    """Of a form that learns for each channel; None for any number."""
    return getattr(module, "channels", None)


def make_onnx(subject: Subject, options: Options) -> Deployment:
    """An ONNX file of the activation alone, for any batch and number of features."""
    module = subject.module()
    features = _channels(module) or 1
    data = export_onnx(module, options.opset, (2, max(features, 2) if features == 1 else features))
    run = run_onnx(data, features)
    notes = subject.notes
    if run is None:
        notes += (
            "Not run: onnxruntime is not installed, so the checks are those of the module it was written from.",
        )
    made = _of_module(
        subject,
        options,
        "onnx",
        module,
        "made.save('activation.onnx'); to export a whole model, use torch.onnx.export(model, ..., dynamo=True)",
        run=None if features > 1 else run,
        data=data,
    )
    return replace(made, notes=notes, _make=None)


def _of_module(
    subject: Subject,
    options: Options,
    target: str,
    module: nn.Module,
    usage: str,
    run: Callable[[Any], Any] | None = None,
    **more: Any,
) -> Deployment:
    """A deployment of the formula itself: it differs by single precision alone."""
    interval = _interval(subject, options)
    checks: tuple[Any, ...] = ()
    notes = subject.notes
    try:
        subject.check_one_function("a comparison by points")
    except ActivationError as refusal:
        notes += (f"Not compared with float64: {refusal}.",)
    else:
        checks = check(subject, run or run_module(module.eval()), interval)
    error = max((item.max_error for item in checks), default=float("nan"))
    return Deployment(
        target, subject.label, error, "absolute", checks, usage,
        notes=notes, _make=lambda: module, **more,
    )  # fmt: skip


def make_hinges(subject: Subject, options: Options) -> Deployment:
    """The closest sum of straight pieces, with a bound that holds at every point of the interval."""
    subject.check_one_function("a sum of hinges")
    fit = _fit(subject, options)
    bound = certify(subject.tree, fit)
    module = fit.module().eval()
    return Deployment(
        "hinges", subject.label, bound, "absolute",
        check(subject, run_module(module), fit.interval),
        "put made.module(), or acs.parse(made.text), in the place of the activation: ReLUs and sums alone",
        text=fit.formula, interval=fit.interval, notes=subject.notes, _make=fit.module,
        settings={"hinges": len(fit.knots), "knots": fit.knots},
    )  # fmt: skip


def _fit(subject: Subject, options: Options) -> HingeSum:
    return approximate(subject.tree, options.hinges, _interval(subject, options))


def certify(tree: Expression, fit: HingeSum) -> float:
    """No point of a fit's interval is further from the formula than this.

    Raises:
        ActivationError: there is no finite bound, as where the formula has a pole.
    """
    low, high = fit.interval
    try:
        bound = bound_magnitude(Call("sub", (tree, parse(fit.formula))), low, high)
    except FormulaError as error:
        raise ActivationError(f"no sure error of the hinges can be given: {error}") from None
    if not np.isfinite(bound.at_most):
        raise ActivationError(
            f"no sure error of the hinges can be given: nothing bounds the formula around x = {bound.doubtful:g}; "
            "choose another interval"
        )
    return bound.at_most


def hinge_terms(fit: HingeSum) -> Terms:
    """Height at 0 and slope of the leftmost line, and (weight, knot) of each hinge."""
    height = slope = 0.0
    hinges: list[tuple[float, float]] = []
    for weight, term in _terms(parse(fit.formula), 1.0):
        if term is None:
            height += weight
        elif isinstance(term, Variable):
            slope += weight
        else:
            hinges.append((weight, _knot(term.children[0])))
    return height, slope, tuple(hinges)


def _terms(tree: Expression, weight: float) -> list[tuple[float, Expression | None]]:
    """A weighted sum as its terms: numbers, x, and relu(x - t)."""
    if isinstance(tree, Number):
        return [(weight * tree.value, None)]
    if isinstance(tree, Call) and tree.operator in ("add", "sub"):
        left, right = tree.arguments
        return _terms(left, weight) + _terms(right, weight if tree.operator == "add" else -weight)
    if isinstance(tree, Call) and tree.operator == "neg":
        return _terms(tree.arguments[0], -weight)
    if isinstance(tree, Call) and tree.operator == "mul":
        number, term = tree.arguments
        assert isinstance(number, Number)
        return _terms(term, weight * number.value)
    return [(weight, tree)]


def _knot(shifted: Expression) -> float:
    if isinstance(shifted, Variable):
        return 0.0
    assert isinstance(shifted, Call)
    number = shifted.arguments[1]
    assert isinstance(number, Number)
    return number.value if shifted.operator == "sub" else -number.value


def _make_table(subject: Subject, options: Options, bits: Bits) -> LookupTable:
    subject.check_one_function("a table")
    return make_table(subject.values, *_quantisations(subject, options, bits), subject.label)


def _quantisations(
    subject: Subject, options: Options, bits: Bits
) -> tuple[Quantisation, Quantisation]:
    """As given, or as the inputs want it: theirs holds the range of the inputs, the output's that of the function."""
    source = _given("input", options.input_scale, options.input_zero_point, bits)
    if source is None:
        if options.interval is None and subject.inputs is None:
            raise ActivationError(
                f"int{bits} needs to know which inputs arrive at {subject.label}: give a trial or a study whose "
                "inputs were recorded, inputs= as a tensor of them or (low, high), or input_scale= and "
                "input_zero_point="
            )
        source = quantisation_for(*_interval(subject, options), bits)
    target = _given("output", options.output_scale, options.output_zero_point, bits)
    if target is None:
        low, high = source.interval
        values = subject.values(np.linspace(low, high, 4097))
        kept = values[np.isfinite(values)]
        if not kept.size:
            raise ActivationError(
                f"{subject.label} is not finite anywhere from {low:g} to {high:g}"
            )
        target = quantisation_for(float(kept.min()), float(kept.max()), bits)
    return source, target


def _given(side: str, scale: Any, zero_point: Any, bits: Bits) -> Quantisation | None:
    if scale is None and zero_point is None:
        return None
    if scale is None:
        raise ActivationError(f"{side}_zero_point needs {side}_scale as well: give both or none")
    return check_quantisation(side, scale, 0 if zero_point is None else zero_point, bits)


def _deploy_table(subject: Subject, options: Options, bits: Bits) -> Deployment:
    table = _make_table(subject, options, bits)
    notes = subject.notes
    if table.saturated:
        notes += (
            f"{table.saturated:.1%} of the input codes have a value beyond the output's range, and become its end: "
            "a larger output_scale holds them.",
        )
    target = table.output
    module = table.module()
    usage = (
        "made.table is what TensorFlow Lite and its like look up; made.module() computes the same from real to real "
        "numbers" if bits == 8 else
        "made.table has the ends of 512 spans, read as TensorFlow Lite does; made.module() computes the same from real "
        "to real numbers"
    )  # fmt: skip
    return Deployment(
        f"int{bits}", subject.label, table.max_error, "codes",
        _check_table(subject, table), usage,
        table=table.entries, interval=table.input.interval, notes=notes, _make=lambda: module,
        settings={
            "input_scale": table.input.scale, "input_zero_point": table.input.zero_point,
            "output_scale": target.scale, "output_zero_point": target.zero_point,
            "saturated": table.saturated,
        },
    )  # fmt: skip


def _check_table(subject: Subject, table: LookupTable) -> tuple[Any, ...]:
    """From real to real numbers, in codes: rounding the input counts here as well."""

    def made(points: Any) -> Any:
        return table.output.real(table.look_up(table.input.codes(points)))

    return check(subject, made, table.input.interval, table.output.exact)


def make_c(subject: Subject, options: Options) -> Deployment:
    """A C header of a table or of hinges."""
    form = check_one_of(
        "form",
        options.form or _usual_form(subject, options),
        ("int8", "int16", "hinges"),
        ActivationError,
    )
    name = c_name(options.name, subject.label)
    if form == "hinges":
        made = make_hinges(subject, options)
        fit = _fit(subject, options)
        text = write_hinges(
            fit, hinge_terms(fit), name, subject.label, made.max_error, subject.notes
        )
    else:
        bits: Bits = 8 if form == "int8" else 16
        made = _deploy_table(subject, options, bits)
        text = write_table(_make_table(subject, options, bits), name, subject.label, subject.notes)
    usage = f"made.save('{name}.h'), and call {name}(x)"
    settings = {**made.settings, "form": form, "name": name}
    return replace(made, target="c", text=text, usage=usage, settings=settings)


def _usual_form(subject: Subject, options: Options) -> str:
    return "hinges" if options.input_scale is None and subject.inputs is None else "int8"


TARGETS: Mapping[str, Callable[[Subject, Options], Deployment]] = MappingProxyType(
    {
        "python": make_python,
        "compiled": make_compiled,
        "onnx": make_onnx,
        "hinges": make_hinges,
        "int8": lambda subject, options: _deploy_table(subject, options, 8),
        "int16": lambda subject, options: _deploy_table(subject, options, 16),
        "c": make_c,
    }
)
"""Every target by name."""
