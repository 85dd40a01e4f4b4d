"""``acs.deploy``: the one way in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from torch import nn

from actsearch.checks import check_known, check_number
from actsearch.deployment.made import Deployment
from actsearch.deployment.subject import resolve
from actsearch.deployment.targets import TARGETS, Options
from actsearch.deployment.whole_model import DeployedModel, deploy_model
from actsearch.errors import ActivationError

if TYPE_CHECKING:
    from actsearch.task import Task

__all__ = ["Target", "deploy"]

Target = Literal["python", "compiled", "onnx", "hinges", "int8", "int16", "c"]


@overload
def deploy(
    what: Any,
    target: Target,
    *,
    model: None = None,
    inputs: Any = None,
    input_scale: float | None = None,
    input_zero_point: int | None = None,
    output_scale: float | None = None,
    output_zero_point: int | None = None,
    hinges: int = 8,
    interval: tuple[float, float] | None = None,
    opset: int | None = None,
    form: Literal["int8", "int16", "hinges"] | None = None,
    name: str | None = None,
) -> Deployment: ...
@overload
def deploy(
    what: Any,
    target: Target,
    *,
    model: nn.Module,
    task: Task | None = None,
    inputs: Any = None,
    hinges: int = 8,
) -> DeployedModel: ...
def deploy(
    what: Any,
    target: Target,
    *,
    model: nn.Module | None = None,
    task: Task | None = None,
    inputs: Any = None,
    input_scale: float | None = None,
    input_zero_point: int | None = None,
    output_scale: float | None = None,
    output_zero_point: int | None = None,
    hinges: int = 8,
    interval: tuple[float, float] | None = None,
    opset: int | None = None,
    form: Literal["int8", "int16", "hinges"] | None = None,
    name: str | None = None,
) -> Deployment | DeployedModel:
    """Make an activation what a product takes, and say how far that is from the formula in double precision.

    ========== =========================================================================================
    target     what is made
    ========== =========================================================================================
    python     source that needs torch alone, as :func:`actsearch.to_python`
    compiled   a module with one kernel forward and one backward, and its time beside ``nn.GELU``'s
    onnx       a file; input and output (batch, features)
    hinges     the closest sum of ReLUs, with an error that holds at every point of the interval: bounded
               with interval arithmetic, not sampled
    int8       256 codes, as TensorFlow Lite makes them
    int16      513 codes and lines between them, likewise; zero points are 0
    c          a C99 header with one function, of a table or of hinges (``form=``)
    ========== =========================================================================================

    Args:
        what: catalog name, formula, Expression, candidate, trial, verdict or one of its rows, a study (its best trial);
            of a module, what it has learned counts, of a trial what it recorded of that at its first site.
        target: see above.
        model: a trained model with the activation in it: every site is converted, see
            :class:`actsearch.DeployedModel`. Its targets are hinges, int8 and int16.
        task: with ``model=``, its training data calibrate each site, and its validation data say what it costs.
        inputs: what arrives at the activation: a tensor, or ``(low, high)``; of a trial, what was recorded, or one
            of its sites, as ``trial.diagnostics.end[1]``, with what was learned there. With ``model=``, one batch for
            the model, where no task is given.
        input_scale: real number of one step of an input code; chosen by the inputs where it is None.
        input_zero_point: the input code of 0.
        output_scale: of the output; chosen so that every value fits where it is None.
        output_zero_point: the output code of 0.
        hinges: how many at most, 1 to 32.
        interval: where hinges are fitted and errors are looked at; that of the inputs by default, or (-6, 6).
        opset: of ONNX, 18 or later.
        form: of the header: "int8", "int16" or "hinges"; a table where scales or inputs are known.
        name: of the class or C function.

    Raises:
        ActivationError: what cannot be made, and why: a table without inputs or scales, a form that draws numbers or
            learns for each channel, a function that is not finite at a code, an opset that is too old, a compiler that
            is missing.
        FormulaError: a formula that cannot be read.
        PlacementError: a model without the activation.

    Example:
        >>> made = acs.deploy("x * tanh(x)", "hinges", hinges=8)
        >>> made.max_error < 0.02, made.interval
        (True, (-6.0, 6.0))
        >>> made = acs.deploy(
        ...     "silu", "int8", input_scale=.05, input_zero_point=3, output_scale=.04, output_zero_point=-90
        ... )
        >>> made.table[128 + 3], made.max_error <= .5  # the input code 3 stands for 0, and silu(0) = 0 is the code -90
        (-90, True)
    """
    check_known("target", target, TARGETS, ActivationError)
    if model is not None:
        _refuse_ignored(
            input_scale=input_scale, input_zero_point=input_zero_point, output_scale=output_scale,
            output_zero_point=output_zero_point, interval=interval, opset=opset, form=form, name=name,
        )  # fmt: skip
        return deploy_model(what, target, model, task, inputs, hinges)
    if task is not None:
        raise ActivationError(
            "task= belongs to model=: it calibrates and measures a trained model"
        )
    options = Options(
        input_scale, input_zero_point, output_scale, output_zero_point,
        hinges, _check_interval(interval), opset, form, name,
    )  # fmt: skip
    return TARGETS[target](resolve(what, inputs), options)


def _refuse_ignored(**given: Any) -> None:
    """What belongs to one activation must not be dropped without a word."""
    if names := [f"{name}=" for name, value in given.items() if value is not None]:
        raise ActivationError(
            f"{', '.join(names)} cannot be given with model=: each of its sites is calibrated on what arrives there"
        )


def _check_interval(interval: Any) -> tuple[float, float] | None:
    if interval is None:
        return None
    try:
        low, high = interval
    except (TypeError, ValueError):
        raise ActivationError(
            f"interval must be two numbers (low, high), not {interval!r}"
        ) from None
    low = float(check_number("interval's low", low, ActivationError))
    return low, float(check_number("interval's high", high, ActivationError, above=low))
