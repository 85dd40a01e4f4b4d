"""Code to paste computes what the search trained; a plot shows the function and its derivative."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from torch import Tensor, nn

import actsearch as acs
from actsearch.activations import Activation, curve
from actsearch.evaluation import Candidate
from actsearch.report import Verdict, VerdictRow


def imported(code: str, folder: Path, *args: Any, name: str | None = None) -> nn.Module:
    """An instance of the only class in a file that holds the code."""
    file = folder / "found.py"
    file.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("found", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (found,) = [item for item in vars(module).values() if isinstance(item, type)]
    assert name in (None, found.__name__)
    made = found(*args)
    assert isinstance(made, nn.Module)
    return made


def points(dtype: torch.dtype = torch.float32) -> Tensor:
    kinks = torch.tensor([-6.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0])
    return torch.cat([torch.linspace(-7, 7, 64), kinks]).to(dtype)


def value_and_gradients(module: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    y = module(x)
    wanted = [x, *module.parameters()]
    weights = torch.linspace(0.5, 1.5, y.numel(), dtype=y.dtype).reshape(y.shape)
    grads = torch.autograd.grad((y * weights).sum(), wanted, allow_unused=True)
    return [y.detach(), *(g for g in grads if g is not None)]


def assert_same(exported: nn.Module, act: nn.Module, x: Tensor) -> None:
    found, expected = value_and_gradients(exported, x), value_and_gradients(act, x)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)


SETTINGS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in acs.catalog.names(role="hidden") if acs.catalog[name].elementwise),
    ("relu", {"grad_at_zero": 0.5}),
    ("relu", {"grad_at_zero": 1.0}),
    ("leaky_relu", {"negative_slope": 0.3}),
    ("prelu", {"init": -0.5}),
    ("elu", {"alpha": 2.5}),
    ("celu", {"alpha": 0.2}),
    ("softplus", {"beta": 5.0}),
    ("hardtanh", {"min_val": -2.0, "max_val": 3.0}),
    ("sin", {"omega": 12.0}),
    ("swish", {"beta": 0.3}),
    ("max_affine", {"pieces": 4}),
]


@pytest.mark.parametrize(("name", "settings"), SETTINGS, ids=str)
def test_exported_catalog_rows_compute_the_same(
    name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    exported = imported(acs.to_python(Candidate.of(name, **settings)), tmp_path).eval()
    assert_same(exported, acs.activation(name, **settings).eval(), points())


FORMULAS = [
    "x*tanh(x)",
    "x * sigmoid(param(1.0) * x)",
    "param(0.5)*x*x + param(-0.25)*abs(x) - 3",
    "piecewise(0.1*x, x*x)",
    "piecewise(param(0.1)*x, 2)",
    "gate(sin(x), x) + gate(2, x)",
    "max(x, 0.5) - min(-1.5, x)",
    "max(param(0.3), x)*tanh(param(0.7))",
    "2**x + x**2 - (-x)**3",
    "1/(1 + exp(-x)) - x/(-2)",
    "-(x - (1 - (2 - x)))",
    "mix(relu(x), tanh(x)) + mix(x, 0, -0.3)",
    "max(x, 0.1*x, sin(x)) - min(x, 1, param(0.4))",
    "sum(x, sin(x), param(0.3), 2) + prod(x, sigmoid(x), 1.5)",
    "sinc(x) + i0e(x) - i1e(x) + erfc(x)",
    "log1p(square(x)) + sqrt(abs(x) + 1e-6) + cube(gauss(x))",
    "hardsigmoid(x)*softsign(x) + logsigmoid(x) + reciprocal(x*x + 1)",
    "asinh(x) + atan(cos(x)) + sinh(0.1*x)*cosh(0.1*x) + expm1(-x*x)",
    "mish(x) + selu(x)*elu(x) + gelu(silu(x)) + softplus(relu(x)) + sign(x)*x",
    "identity(neg(x)) + log(2)*x + exp(1)",
    "tanh(min(x, 1/(1 - 1)))",
    "x/0",
    "-2.5e-7*x + 100000*tanh(x)",
    "param(1.0)",
    "3",
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("formula", FORMULAS)
def test_exported_formulas_compute_the_same(
    formula: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    x = points(dtype).requires_grad_()
    exported = imported(acs.to_python(formula), tmp_path).to(dtype)
    act = acs.activation(formula).to(dtype)
    y, expected = exported(x), act(x)
    assert y.shape == x.shape
    assert y.dtype == dtype
    torch.testing.assert_close(y, expected, equal_nan=True)
    if expected.requires_grad:
        assert_same(exported, act, x.detach())


PER_CHANNEL = [
    'param(0.5, per="channel")*x',
    'max(x, 0) + param(0.25, per="channel")*min(x, 0)',
    'tanh(param(1.0, per="channel")*x)*param(2.0) + param(0.1, per="channel")',
    'max(param(0.3, per="channel"), x)',
    'piecewise(param(0.3, per="channel"), x)',
]


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 4), (2, 3, 4, 4)], ids=str)
@pytest.mark.parametrize("formula", PER_CHANNEL)
def test_parameters_per_channel_stand_on_axis_one(
    formula: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    exported = imported(acs.to_python(formula), tmp_path, 3)
    act = acs.activation(formula, channels=3)
    with torch.no_grad():
        for parameter in act.parameters():
            parameter.add_(torch.randn(parameter.shape))
    exported.load_state_dict(act.state_dict())
    assert_same(exported, act, torch.randn(shape))


@pytest.mark.parametrize("formula", ["prelu", *PER_CHANNEL])
def test_or_on_the_axis_that_is_said(formula: str, tmp_path: Path) -> None:
    """Behind a linear layer over sequences as long as they are wide, axis 1 would be a silent mistake."""
    what: Any = Candidate.of("prelu", per="channel") if formula == "prelu" else formula
    exported = imported(acs.to_python(what), tmp_path, 3, -1)
    act = acs.activation(what, channels=3, channel_axis=-1)
    with torch.no_grad():
        for parameter in act.parameters():
            parameter.add_(torch.randn(parameter.shape))
    exported.load_state_dict(act.state_dict())
    x = torch.randn(2, 3, 3)
    torch.testing.assert_close(exported(x), act(x))


@pytest.mark.parametrize("formula", [FORMULAS[1], FORMULAS[2], FORMULAS[7], "prelu", "max_affine"])
def test_learned_values_can_be_loaded(formula: str, tmp_path: Path) -> None:
    act = acs.activation(formula)
    with torch.no_grad():
        for index, parameter in enumerate(act.parameters()):
            parameter.add_(0.1 + 0.2 * index)
    exported = imported(acs.to_python(formula), tmp_path)
    exported.load_state_dict(act.state_dict())
    assert_same(exported, act, points())


def _trained(what: str, channels: int | None = None, axis: int = 1) -> Activation:
    act = acs.activation(what, channels=channels, channel_axis=axis)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in act.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=generator))
    return act


def test_numbers_that_are_none_are_kept_and_many_arguments_nest_nothing(tmp_path: Path) -> None:
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), -1.0, 0.0, 2.0])
    several = "max(" + ", ".join(f"x * {index}" for index in range(90)) + ")"
    for formula in ("piecewise(0, 1)", "mix(x, x)", "max(3 * x, x, 2 * x)", several):
        exported, act = imported(acs.to_python(formula), tmp_path), acs.activation(formula)
        torch.testing.assert_close(exported(x), act(x), equal_nan=True)


@pytest.mark.parametrize(
    "learned",
    [{"theta_0": "abc"}, {"theta_0": None}, [0.1], 0.1, nn.PReLU(), {"theta_0": [[0.1]]}],
)
def test_learned_values_of_another_kind_are_refused(learned: Any) -> None:
    with pytest.raises(acs.ActivationError, match="learned"):
        acs.to_python("prelu", learned=learned)


@pytest.mark.parametrize(("low", "high"), [("a", 3), (0, float("inf")), (float("nan"), 1)])
def test_a_plot_needs_finite_ends(low: Any, high: Any) -> None:
    with pytest.raises(acs.ActivationError, match="must be a finite number"):
        acs.plot("gelu", low, high)


@pytest.mark.parametrize(
    "what", ["prelu", "x * sigmoid(param(1.0) * x)", "rational", "mix(x, tanh(x))"]
)
def test_what_a_module_has_learned_is_written_into_the_file(what: str, tmp_path: Path) -> None:
    act = _trained(what)
    exported = imported(acs.to_python(act), tmp_path)
    assert_same(exported, act, points())
    assert "learned" in acs.to_python(act)
    assert f"N(0, 1): {acs.gain(act):.6g}" in acs.to_python(act)
    start = imported(acs.to_python(what), tmp_path)
    assert not torch.allclose(start(points()), act(points()))


@pytest.mark.parametrize(("axis", "shape"), [(1, (4, 3)), (1, (4, 3, 5, 2)), (-1, (4, 5, 3))])
def test_so_are_values_by_channel_on_the_axis_of_the_module(
    axis: int, shape: tuple[int, ...], tmp_path: Path
) -> None:
    act = _trained('tanh(param(0.5, per="channel") * x) + param(1.0)', 3, axis)
    exported = imported(acs.to_python(act), tmp_path)
    assert_same(exported, act, torch.randn(shape, generator=torch.Generator().manual_seed(0)))


def test_learned_values_can_be_given_beside_a_candidate(tmp_path: Path) -> None:
    act = _trained("prelu", 3)
    candidate = Candidate.of("prelu", per="channel")
    x = torch.linspace(-3, 3, 12).reshape(4, 3)
    for learned in (act, act.state_dict(), {"theta_0": act.get_parameter("theta_0").tolist()}):
        assert_same(imported(acs.to_python(candidate, learned=learned), tmp_path), act, x)


@pytest.mark.parametrize(
    ("learned", "complaint"),
    [
        ({}, "learns theta_0, theta_1; values were given for nothing"),
        ({"theta_0": 1.0, "theta_1": 1.0, "beta": 2.0}, "given for theta_0, theta_1, beta"),
        ({"theta_0": 1.0, "theta_1": [1.0, 2.0]}, "theta_1 has shape .2,.; it is one number"),
        ({"theta_0": float("nan"), "theta_1": 1.0}, "theta_0 is not finite"),
        (acs.activation("prelu"), "those of prelu, not of"),
    ],
)
def test_learned_values_that_do_not_fit_are_refused(learned: Any, complaint: str) -> None:
    with pytest.raises(acs.ActivationError, match=complaint):
        acs.to_python("param(1.0)*tanh(param(2.0)*x)", learned=learned)


def test_the_file_says_from_which_study_trial_and_verdict_it_comes(
    tiny_task: acs.Task, sqlite_url: str
) -> None:
    study = acs.create_study(study_name="origins", storage=sqlite_url)
    study.enqueue_trial("x * tanh(x)")
    study.optimize(tiny_task, n_trials=1, show_progress_bar=False)
    trial = study.trials[0]
    head = ast.get_docstring(ast.parse(acs.to_python(trial)))
    assert head is not None
    assert f"Study origins, trial 0. Its score in the search was {trial.value:.6g}." in head
    assert "Compared" not in head
    verdict = study.confirm(tiny_task, seeds=8, top_k=1, show_progress_bar=False)
    row = verdict.rows[0]
    sentence = f"8 paired seeds: {row.verdict}, {verdict.metric} {row.difference:+.4f}"
    for reloaded in (study, acs.load_study(study_name="origins", storage=sqlite_url)):
        head = " ".join(acs.to_python(reloaded.trials[0]).split())
        assert "Study origins, trial 0." in head
        assert sentence in head


def test_a_verdict_is_exported_as_its_winner(tmp_path: Path) -> None:
    base = VerdictRow("ReLU", "ReLU", 0.9, 0.0, 0.0, 0.0, 1.0, "baseline", (0.9,), 0.9)
    row = VerdictRow(
        "x * sin(x)", "wave", 0.95, 0.05, 0.01, 0.09, 0.01, "better", (0.95,) * 10, 0.9, number=4
    )
    verdict = Verdict("waves", "accuracy", "maximize", 10, 3, base, (row,), row, None, 0.01)
    code = acs.to_python(verdict)
    assert_same(imported(code, tmp_path), acs.activation("x*sin(x)"), points())
    assert (
        "Study waves, trial 4. Compared with ReLU on test data, 10 paired seeds: better, " in code
    )
    assert "accuracy +0.0500 (95 % interval +0.0100 to +0.0900)." in code


def test_an_exported_rrelu_is_random_in_training(tmp_path: Path) -> None:
    exported = imported(acs.to_python(Candidate.of("rrelu", lower=0.2, upper=0.3)), tmp_path)
    slopes = -exported(-torch.ones(2000))
    assert 0.2 <= slopes.min() < 0.21
    assert 0.29 < slopes.max() <= 0.3


# form


@pytest.mark.parametrize("what", ["relu", "max_affine", "x*tanh(x)", PER_CHANNEL[2]])
def test_the_file_needs_torch_alone_and_says_what_it_is(what: str) -> None:
    code = acs.to_python(what, note="study digits, trial 7")
    tree = ast.parse(code)
    modules = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [item.name for item in node.names] if isinstance(node, ast.Import)
            else [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        )
    }  # fmt: skip
    assert modules == {"torch"}
    head = ast.get_docstring(tree)
    assert head is not None
    assert "found with actsearch" in head
    assert f"Formula: {acs.activation(what, channels=2).formula}" in head or what in acs.catalog
    assert "study digits, trial 7" in head
    assert len([node for node in tree.body if isinstance(node, ast.ClassDef)]) == 1


@pytest.mark.parametrize(
    ("what", "gain"),
    [("relu", "1.41421"), ("x", "1"), ("2*x", "0.5"), ("abs(x)", "1"), ("1/x", "none")],
)
def test_the_head_tells_the_initialisation_gain(what: str, gain: str) -> None:
    head = ast.get_docstring(ast.parse(acs.to_python(what)))
    assert head is not None
    line = next(line for line in head.splitlines() if line.startswith("Initialisation gain"))
    assert line.split(": ")[1].split(" (")[0] == gain


@pytest.mark.parametrize(
    ("what", "given", "name"),
    [
        ("leaky_relu", None, "LeakyRelu"),
        ("x*tanh(x)", None, "FoundActivation"),
        ("gelu", "Best", "Best"),
    ],
)
def test_the_class_has_a_name(what: str, given: str | None, name: str, tmp_path: Path) -> None:
    imported(acs.to_python(what, name=given), tmp_path, name=name)


@pytest.mark.parametrize(
    "name", ["1st", "my class", "x; import os", "class", "None", "torch", "nn", "F", "mix"]
)
def test_a_name_that_python_does_not_take_is_refused(name: str) -> None:
    with pytest.raises(acs.ActivationError, match="not a name for a Python class"):
        acs.to_python("relu", name=name)


@pytest.mark.parametrize(
    "note", ['"""\nimport os\n"""', "C:\\new\\table", 'a "quoted" "', "x" * 500]
)
def test_a_note_cannot_become_code(note: str, tmp_path: Path) -> None:
    code = acs.to_python("tanh", note=note)
    assert not any(
        isinstance(node, ast.Import) and node.names[0].name == "os"
        for node in ast.walk(ast.parse(code))
    )
    assert_same(imported(code, tmp_path), acs.activation("tanh"), points())


@pytest.mark.parametrize("what", ["softmax", Candidate.baseline()])
def test_what_has_no_formula_is_refused(what: Any) -> None:
    with pytest.raises(acs.ActivationError):
        acs.to_python(what)


def test_a_row_of_a_verdict_can_be_exported(tmp_path: Path) -> None:
    row = VerdictRow("x * sin(x)", "wave", 0.9, 0.1, 0.0, 0.2, 0.01, "better", (0.9,), 0.9)
    assert_same(imported(acs.to_python(row), tmp_path), acs.activation("x*sin(x)"), points())


# plot


def lines(figure: go.Figure) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    return [(np.asarray(line.x), np.asarray(line.y)) for line in figure.data]


@pytest.mark.parametrize(("low", "high"), [(-6.0, 6.0), (-1.0, 0.5)])
def test_a_plot_shows_the_function_and_its_derivative(low: float, high: float) -> None:
    figure = acs.plot("tanh", low, high)
    assert isinstance(figure, go.Figure)
    (x, y), (also_x, slope) = lines(figure)
    assert (x[0], x[-1]) == (low, high)
    assert len(x) > 200
    np.testing.assert_array_equal(x, also_x)
    np.testing.assert_allclose(y, np.tanh(x), atol=1e-12)
    np.testing.assert_allclose(slope, 1 - np.tanh(x) ** 2, atol=1e-12)
    assert [line.name for line in figure.data] == ["f(x)", "f′(x)"]
    assert figure.layout.title.text == "tanh"


@pytest.mark.parametrize("what", ["x*sigmoid(x)", acs.parse("x*sigmoid(x)"), Candidate.of("silu")])
def test_a_plot_takes_an_activation_in_any_form(what: Any) -> None:
    (x, y), _ = lines(acs.plot(what))
    np.testing.assert_allclose(y, x / (1 + np.exp(-x)), atol=1e-12)


def test_learned_parameters_are_plotted_at_their_start() -> None:
    (x, y), (_, slope) = lines(acs.plot('param(2.0, per="channel")*x*x'))
    np.testing.assert_allclose(y, 2 * x * x)
    np.testing.assert_allclose(slope, 4 * x)


def test_a_trained_module_is_plotted_with_what_it_has_learned() -> None:
    act = acs.activation("param(2.0)*x*x")
    with torch.no_grad():
        act.get_parameter("theta_0").fill_(5.0)
    (x, y), (_, slope) = lines(acs.plot(act))
    np.testing.assert_allclose(y, 5 * x * x)
    np.testing.assert_allclose(slope, 10 * x)
    assert acs.gain(act) == pytest.approx(1 / np.sqrt(75))  # E[(5 z^2)^2]


def test_channels_are_thin_lines_beside_the_function_of_their_mean() -> None:
    act = acs.activation('param(1.0, per="channel")*x', channels=3)
    with torch.no_grad():
        act.get_parameter("theta_0").copy_(torch.tensor([1.0, 2.0, 6.0]))
    drawn = lines(acs.plot(act))
    assert len(drawn) == 5
    for factor, (x, y) in zip((1, 2, 6, 3), drawn, strict=False):
        np.testing.assert_allclose(y, factor * x)
    many = acs.activation('param(1.0, per="channel")*x', channels=500)
    assert len(acs.plot(many).data) == 34


def test_a_channel_that_is_not_there_is_refused() -> None:
    act = acs.activation("prelu", channels=3)
    assert curve(act, channel=2).y[0] == pytest.approx(-1.5)
    for what, channel in ((act, 3), (act, -1), ("prelu", 0)):
        with pytest.raises(acs.ActivationError, match="no channel"):
            curve(what, channel=channel)


def test_a_long_formula_is_cut_in_the_title() -> None:
    title = acs.plot(" + ".join(["tanh(x)*sin(x)"] * 10)).layout.title.text
    assert len(title) <= 80
    assert title.endswith("…")


def test_softmax_has_no_plot() -> None:
    with pytest.raises(acs.ActivationError, match="no.* function of one number"):
        acs.plot("softmax")


def test_the_user_s_own_model_as_the_winner_gives_the_word_to_keep_it() -> None:
    row = VerdictRow("ReLU", "ReLU", 0.9, 0.0, 0.0, 0.0, 1.0, "baseline", (0.9,), 0.9)
    code = acs.to_python(row)
    assert code == "# Nothing was confirmed to be better: keep ReLU.\n"


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [
        (3, "# Undecided: 3 seeds are too few"),
        (10, "# Keep ReLU: nothing beat it; differences above"),
    ],
)
def test_a_verdict_without_a_winner_is_exported_as_what_it_says(seeds: int, expected: str) -> None:
    base = VerdictRow("ReLU", "ReLU", 0.9, 0.0, 0.0, 0.0, 1.0, "baseline", (0.9,), 0.9)
    verdict = Verdict("waves", "accuracy", "maximize", seeds, 1, base, (), base, None, 0.01)
    code = acs.to_python(verdict)
    assert code.startswith(expected)
    assert code == f"# {verdict.sentence}\n"
    assert "intervals hold for the one comparison" in str(verdict)


def test_a_confirmed_catalog_row_is_exported_as_that_row() -> None:
    record = acs.Candidate.of("rrelu").record.activations["*"]
    row = VerdictRow(
        record.formula, "rrelu", 0.9, 0.1, 0.0, 0.2, 0.01, "better", (0.9,), 0.9,
        activation=record.to_json(),
    )  # fmt: skip
    assert "F.rrelu(x, 0.125" in acs.to_python(row)
