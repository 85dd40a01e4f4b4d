"""Properties that a space requires: shown by bounds, or refused with a point at which they fail."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.activations import build_expression
from actsearch.activations.met_inputs import met_inputs
from actsearch.bounds import find_violation
from actsearch.screening.required import find_missing

HOLDS = {
    "smooth": ("gelu", "tanh", "softplus", "square(relu(x))", "x * abs(x)", "softsign", "celu", "x * exp(-square(x))"),
    "monotone": ("relu", "tanh", "softplus", "x + sin(x)", "max(x, 0.1 * x)", "-atan(x)"),
    "bounded": ("tanh", "atan(x)", "sign(x)", "gauss(x)", "x / (1 + square(x))", "sin(x)", "erf(x)", "x * exp(-x * x)",
                "sin(x) * tanh(x)", "softsign", "dsilu", "relu(x) - relu(x - 1)", "x * sin(x) / (1 + abs(x))"),
    "lipschitz<=1": ("relu", "tanh", "softplus", "sin(x)"),
    "lipschitz<=1.13": ("gelu",),
    "odd": ("tanh", "x * abs(x)", "x + sin(x)", "cube(x)"),
    "even": ("abs", "gauss(x)", "cos", "x * tanh(x)"),
    "cheap": ("relu", "gelu", "x * tanh(x)"),
    "onnx": ("relu", "i0e(x)"),
    "int8": ("relu", "exp", "sign(x)"),
}  # fmt: skip
FAILS: list[tuple[str, str, str]] = [
    ("smooth", "relu", "slope goes from 0 to 1 at x = 0"),
    ("smooth", "selu", "slope goes from 1.76 to 1.05 at x = 0"),
    ("smooth", "abs(x - 1)", "slope goes from -1 to 1 at x = 1"),
    ("smooth", "sign(x)", "goes from -1 to 1 at x = 0"),
    ("monotone", "gelu", "it rises at x = .* and falls at x = -"),
    ("monotone", "sin(x)", "it rises at x = .* and falls at x = "),
    ("bounded", "relu", "1e\\+06 in size at x = 1e\\+06"),
    ("bounded", "1 / x", "nothing bounds it around x = "),
    ("bounded", "log(1 + abs(x))", "13.8 in size"),
    (
        "bounded",
        "asinh(x) * sin(x)",
        r"21\.\d in size at x = -?[89]\.\d+e\+08",
    ),  # at a million it happens to be small
    ("bounded", "x * sin(x)", "in size at x = "),
    ("bounded", "log(1 + log(1 + abs(x))) * cos(x)", "in size at x = "),
    ("bounded", "1 / (x - 100)", "nothing bounds it around x = (99|100)"),
    ("bounded", "sqrt(1 + square(x)) - abs(x)", "nothing rules out that it grows, as around x = "),
    ("lipschitz<=1", "gelu", "slope is 1.129 in size at x = 1.41"),
    ("lipschitz<=1", "sign(x)", "nothing bounds its slope by 1 around x = "),
    ("odd", "relu", r"f\(.*\) is .* and f\(-.*\) is 0"),
    ("even", "tanh", r"f\(.*\) is 1 and f\(-.*\) is -1"),
    ("cheap", "gelu(x) * tanh(x) + sin(x)", "more than 8"),
    ("int8", "log(x)", "nothing bounds it"),
    ("int8", 'param(1.0, per="channel") * x', "learns for each channel"),
]


@pytest.mark.parametrize(("name", "formula"), [(p, f) for p, fs in HOLDS.items() for f in fs])
def test_what_has_a_property_passes(name: str, formula: str) -> None:
    assert find_violation(build_expression(formula), [name]) == ""


@pytest.mark.parametrize(("name", "formula", "words"), FAILS)
def test_what_lacks_a_property_is_refused_with_a_point(
    name: str, formula: str, words: str
) -> None:
    reason = find_violation(build_expression(formula), [name])
    assert re.search(words, reason), reason
    assert reason.startswith(f"not {name}: ")


def test_the_point_is_one_where_torch_says_so_too() -> None:
    reason = find_violation(build_expression("mish"), ["monotone"])
    rises, falls = (float(x) for x in re.findall(r"x = (-?[\d.]+)", reason))
    x = torch.tensor([rises, falls], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(F.mish(x).sum(), x)
    assert slope[0] > 0 > slope[1]


def test_learned_numbers_count_near_their_start_too() -> None:
    record = acs.activation(
        "x + param(1.0) * sin(x)"
    ).record  # at its start it only just rises everywhere
    assert find_violation(build_expression("x + sin(x)"), ["monotone"]) == ""
    assert "learned numbers +0.137 from their start" in find_missing(record, ["monotone"])
    assert find_missing(acs.activation("prelu").record, ["monotone"]) == ""


@pytest.mark.parametrize("name", ["rrelu", "maxout"])
def test_what_is_no_fixed_function_of_one_number_has_none(name: str) -> None:
    assert find_missing(acs.activation(name).record, ["smooth"]).startswith("not smooth: it d")


def objective(candidate: Any, run: Any) -> float:
    return float(candidate.module()(torch.ones(3)).sum().detach())


def test_a_search_trains_only_what_has_them() -> None:
    space = acs.Space(
        activations=["relu", "gelu", "tanh", "sin"],
        operators=["add", "tanh"],
        require=["monotone"],
    )
    study = acs.create_study(
        study_name="s", strategy="random", space=space, direction="minimize", seed=0
    )
    study.enqueue_trial("x * tanh(x)")
    study.enqueue_trial("tanh")
    study.optimize(objective, n_trials=6, show_progress_bar=False)
    first, second = study.trials[:2]
    assert (first.state.name, second.state.name) == ("REJECTED", "COMPLETE")
    assert "not monotone: it rises at x = " in first.reason
    trained = {t.candidate.formula for t in study.trials if t.state.name == "COMPLETE"}
    assert not trained & {"gelu", "sin"}


def test_a_study_keeps_what_it_requires(sqlite_url: str) -> None:
    space = acs.Space(require=("smooth", "lipschitz<=2"))
    assert acs.Space.from_json(space.to_json()).require == ("smooth", "lipschitz<=2")
    acs.create_study(study_name="s", storage=sqlite_url, space=space, direction="minimize")
    with pytest.raises(
        acs.StudyError, match="space require: \\[\\], stored \\['smooth', 'lipschitz<=2'\\]"
    ):
        acs.create_study(
            study_name="s", storage=sqlite_url, space=acs.Space(), load_if_exists=True
        )
    assert "require" not in acs.Space().to_json()  # older studies have none


@pytest.mark.parametrize(
    ("require", "words"),
    [
        (["smoth"], "unknown property 'smoth'; did you mean 'smooth'"),
        ("smooth", "require must be a list of properties"),
        (["odd", "even"], "only 0 is both odd and even"),
        (["lipschitz<=x"], "unknown property"),
    ],
)
def test_bad_requirements_are_refused(require: Any, words: str) -> None:
    with pytest.raises(acs.SpaceError, match=words):
        acs.Space(require=require)


def test_costs_of_a_product_are_objectives() -> None:
    x = torch.randn(120, 4, generator=torch.Generator().manual_seed(0))
    task = acs.Task(
        model=lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1)),
        train=(x[:60], x[:60, :1]), valid=(x[60:], x[60:, :1]), loss=F.mse_loss, metric="mse", epochs=1, device="cpu",
        objectives=("mse", "int8_error", "hinges", "saved_bytes"), tune_lr=False,
    )  # fmt: skip
    study = acs.create_study(study_name="s", strategy="random", seed=0)
    for formula in ("relu", "x * tanh(x)", 'x * param(1.0, per="channel")  * tanh(x)'):
        study.enqueue_trial(formula)
    study.optimize(task, n_trials=3, show_progress_bar=False)
    relu, composed, per_channel = study.trials[:3]
    assert study.directions[1:] == ("minimize",) * 3
    assert relu.diagnostics is not None
    numbers = sum(int(np.prod(site.shape)) for site in relu.diagnostics.end)
    assert relu.values[2:] == (1.0, 4.0 * numbers)  # one hinge; its output in single precision
    _, _, hinges, kept = (float(value or 0) for value in composed.values)
    assert kept == 2 * 4.0 * numbers  # x and tanh(x)
    assert composed.diagnostics is not None
    errors = [
        [
            acs.approximate("x * tanh(x)", int(count), met_inputs(site).interval).max_error
            for count in (hinges, hinges - 1)
        ]
        for site in composed.diagnostics.end
    ]
    assert max(error for error, _ in errors) <= 0.0101
    assert max(error for _, error in errors) > 0.0099
    # half an output code, and half an input code where the slope is about 1
    assert 0.3 < float(relu.values[1] or 0) < 1.6
    assert per_channel.state.name == "FAILED"
    assert "learns for each channel, and a table" in per_channel.reason
