"""What a product takes: tables, hinges, C, ONNX, compiled, whole models; each beside a reference of its own."""

from __future__ import annotations

import ctypes
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import special
from torch import nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.deployment.compiler import build_header

SCALES: dict[str, Any] = {
    "input_scale": 0.05,
    "input_zero_point": 3,
    "output_scale": 0.04,
    "output_zero_point": -90,
}
REFERENCES: dict[str, Any] = {
    "silu": lambda x: x * special.expit(x),
    "gelu": lambda x: x * special.ndtr(x),
    "x * tanh(x)": lambda x: x * np.tanh(x),
    "relu": lambda x: np.maximum(x, 0),
    "piecewise(0.1 * x, x * x)": lambda x: np.where(x < 0, 0.1 * x, x * x),
}


def tflite_int8(function: Any, s: float, z: int, t: float, w: int) -> list[int]:
    """As the kernel of TensorFlow Lite does it, one code at a time in single precision."""
    table = []
    inverse = np.float32(1) / np.float32(t)
    for code in range(-128, 128):
        real = np.float32(s) * np.float32(code - z)
        scaled = float(np.float32(function(float(real))) * inverse)
        rounded = math.floor(abs(scaled) + 0.5) * (1 if scaled >= 0 else -1)
        table.append(max(-128, min(127, rounded + w)))
    return table


@pytest.mark.parametrize("formula", REFERENCES)
def test_an_int8_table_is_that_of_tensorflow_lite_on_all_256_inputs(formula: str) -> None:
    made = acs.deploy(formula, "int8", **SCALES)
    expected = tflite_int8(REFERENCES[formula], *SCALES.values())
    assert made.table is not None
    assert len(made.table) == 256
    assert np.abs(np.subtract(made.table, expected)).max() <= 1  # it rounds single precision
    assert np.mean(np.equal(made.table, expected)) > 0.98
    assert made.max_error <= 0.5 + 1e-9


def tflite_int16(function: Any, s: float, t: float) -> npt.NDArray[np.int64]:
    """Output codes for all 65,536 inputs: the table with its midpoint bias, and the interpolation."""

    def away(value: float) -> int:
        return int(math.copysign(math.floor(abs(value) + 0.5), value))

    low, high = s * -32768, s * 32767
    step, inverse = (high - low) / 512, 65536 / (t * 65535)
    table = []
    for index in range(512):
        here, half, after = (
            function(low + step * (index + share)) * inverse for share in (0, 0.5, 1)
        )
        bias = away((away((after + away(here)) / 2) - away(half)) / 2)
        table.append(max(-32768, min(32767, away(here) - bias)))
    table.append(max(-32768, min(32767, away(function(high) * inverse))))
    codes = []
    for value in range(-32768, 32768):
        index, offset = 256 + (value >> 7), value & 127
        codes.append(table[index] + (((table[index + 1] - table[index]) * offset + 64) >> 7))
    return np.array(codes)


@pytest.mark.parametrize("formula", ["silu", "x * tanh(x)"])
def test_an_int16_table_is_read_and_made_as_tensorflow_lite_does(formula: str) -> None:
    made = acs.deploy(formula, "int16", input_scale=1e-4, output_scale=1.2e-4)
    assert made.table is not None
    assert len(made.table) == 513
    expected = tflite_int16(REFERENCES[formula], 1e-4, 1.2e-4)
    codes = torch.arange(-32768, 32768, dtype=torch.float64)
    found = made.module()(codes * 1e-4) / 1.2e-4
    assert np.abs(found.numpy() - expected).max() <= 1e-6
    exact = np.clip(REFERENCES[formula](codes.numpy() * 1e-4) / 1.2e-4, -32768, 32767)
    assert made.max_error == pytest.approx(np.abs(expected - exact).max(), abs=1e-6)


def test_the_module_of_a_table_computes_with_codes() -> None:
    made = acs.deploy("silu", "int8", **SCALES)
    module = made.module()
    x = torch.tensor([-100.0, -0.026, -0.024, 0.0, 1.0, 100.0, float("nan")])
    codes = np.clip(np.round(x[:-1].numpy() / 0.05) + 3, -128, 127).astype(int)
    assert made.table is not None
    expected = [0.04 * (made.table[code + 128] + 90) for code in codes]
    assert module(x)[:-1].tolist() == pytest.approx(expected, abs=1e-6)
    assert module(x)[-1].isnan()
    assert module(x.half()).dtype == torch.float16


def test_codes_that_the_output_cannot_hold_are_counted_and_said() -> None:
    made = acs.deploy(
        "relu",
        "int8",
        input_scale=0.1,
        input_zero_point=0,
        output_scale=0.05,
        output_zero_point=-128,
    )
    # 12.75 is the largest output; codes up to 127 stand for 12.7
    assert made.settings["saturated"] == 0
    made = acs.deploy(
        "relu",
        "int8",
        input_scale=0.1,
        input_zero_point=0,
        output_scale=0.02,
        output_zero_point=-128,
    )
    beyond = sum(0.1 * code > 0.02 * 255.5 for code in range(-128, 128)) / 256
    assert made.settings["saturated"] == pytest.approx(beyond)
    assert any("beyond the output's range" in note for note in made.notes)


def test_tables_are_calibrated_on_inputs() -> None:
    x = torch.linspace(-2, 3, 999)
    made = acs.deploy("gelu", "int8", inputs=x)
    assert made.interval is not None
    assert made.interval[0] == pytest.approx(-2, abs=0.02)
    assert made.interval[1] == pytest.approx(3, abs=0.02)
    error = (made.module()(x) - F.gelu(x)).abs().max().item()
    assert (
        error <= made.settings["input_scale"] / 2 * 1.13 + made.settings["output_scale"] / 2 + 1e-6
    )


def test_the_error_of_hinges_holds_at_every_point() -> None:
    draw = np.random.default_rng(0)
    for formula in ("gelu", "x * tanh(x)"):
        made = acs.deploy(formula, "hinges", hinges=8, interval=(-6, 6))
        x = draw.uniform(-6, 6, 100_000)
        module = acs.activation(made.text).double()
        error = np.abs(module(torch.from_numpy(x)).detach().numpy() - REFERENCES[formula](x)).max()
        assert error <= made.max_error <= 1.01 * error
        assert len(made.settings["knots"]) <= 8


def test_a_narrow_spike_between_grid_points_is_in_the_error_of_hinges() -> None:
    """A sample of 6,001 points sees nothing of it."""
    spike = "0.1 * gauss(100000 * (x - 0.0003))"
    assert acs.approximate(spike, hinges=2).max_error < 1e-6
    assert acs.deploy(spike, "hinges", hinges=2).max_error >= 0.0999


def compiled(text: str, name: str, kind: type) -> Any:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: install gcc, as .ci/run does")
    return build_header(text, name, kind)


@pytest.mark.parametrize(
    ("form", "kind", "limit"), [("int8", np.int8, 128), ("int16", np.int16, 32768)]
)
def test_the_c_form_equals_the_table_bit_for_bit(form: Any, kind: type, limit: int) -> None:
    made = acs.deploy("x * tanh(x)", "c", form=form, inputs=(-5.0, 4.0), name="found")
    table = acs.deploy("x * tanh(x)", form, inputs=(-5.0, 4.0))
    assert made.text is not None
    codes = np.arange(-limit, limit)
    found = compiled(made.text, "found", kind)(codes)
    s, t = table.settings, made.settings
    assert s["input_scale"] == t["input_scale"]
    real = torch.from_numpy((codes - s["input_zero_point"]) * s["input_scale"])
    expected = np.round(table.module()(real).numpy() / s["output_scale"]) + s["output_zero_point"]
    assert np.array_equal(found, expected.astype(kind))


def test_values_beyond_the_output_are_said_in_the_header_too() -> None:
    """exp(x) of codes from 26 on is beyond 255 * .05 = 12.75: that are 102 of 256."""
    made = acs.deploy(
        "exp(x)", "c", form="int8", input_scale=0.1, input_zero_point=0, output_scale=0.05,
        output_zero_point=-128,
    )  # fmt: skip
    assert made.text is not None
    assert "but for 39.8% of the input codes" in " ".join(made.text.replace("*", " ").split())


def test_the_c_form_of_hinges_is_as_close_as_it_says() -> None:
    made = acs.deploy("gelu", "c", form="hinges", interval=(-5, 5), name="found")
    x = np.linspace(-5, 5, 100_001).astype(np.float32)
    assert made.text is not None
    error = np.abs(
        compiled(made.text, "found", np.float32)(x) - REFERENCES["gelu"](x.astype(np.float64))
    ).max()
    assert error <= made.max_error + 2e-6  # single precision


def test_a_header_is_safe_to_include_twice_and_from_c_plus_plus(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler: install g++, as .ci/run does")
    header = acs.deploy("silu", "c", inputs=(-5.0, 4.0), name="found").save(tmp_path / "found.h")
    source = tmp_path / "main.cpp"
    source.write_text(
        f'#include "{header.name}"\n#include "{header.name}"\nint main() {{ return found(0) == 127; }}\n'
    )
    subprocess.run(
        ["g++", "-Wall", "-Wextra", "-Werror", str(source), "-o", str(tmp_path / "main")],
        check=True,
    )


def test_python_is_what_to_python_gives() -> None:
    made = acs.deploy("x * tanh(x)", "python", name="Found")
    assert made.text == acs.to_python("x * tanh(x)", name="Found")
    assert made.max_error < 1e-5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_onnx_runs_for_any_batch(tmp_path: Path) -> None:
    import onnxruntime

    made = acs.deploy("x * tanh(x)", "onnx", opset=18)
    session = onnxruntime.InferenceSession(
        made.save(tmp_path / "found.onnx"), providers=["CPUExecutionProvider"]
    )
    x = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    assert np.abs(session.run(None, {"x": x})[0] - x * np.tanh(x)).max() < 1e-6
    assert made.max_error < 1e-5
    with pytest.raises(acs.ActivationError, match="file for another runtime"):
        made.module()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_compiled_computes_the_same_and_says_what_it_costs() -> None:
    made = acs.deploy("x * tanh(x)", "compiled")
    x = torch.linspace(-3, 3, 101)
    torch.testing.assert_close(made.module()(x), x * torch.tanh(x))
    assert made.ratio is not None
    assert made.ratio > 0
    assert f"{made.ratio:.2f} times nn.GELU" in str(made)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"what": "gelu", "target": "int8"}, "needs to know which inputs arrive at gelu"),
    ({"what": "rrelu", "target": "int8", "inputs": (-1.0, 1.0)}, "draws random numbers"),
    ({"what": "rrelu", "target": "hinges"}, "draws random numbers"),
    ({"what": 'tanh(param(1.0, per="channel") * x)', "target": "int8", "inputs": (-1.0, 1.0)}, "for each channel"),
    ({"what": "maxout", "target": "c"}, "not a function of one number"),
    ({"what": "gelu", "target": "onnx", "opset": 9}, "opset 9 is too old"),
    ({"what": "log(x)", "target": "int8", "inputs": (-1.0, 1.0)}, "not finite at x ="),
    ({"what": "gelu", "target": "int8", "input_zero_point": 3}, "input_zero_point needs input_scale"),
    ({"what": "gelu", "target": "int8", "input_scale": -1.0}, "input_scale must be a number above 0"),
    ({"what": "gelu", "target": "int8", "input_scale": 0.1, "input_zero_point": 300}, "from -128 to 127"),
    ({"what": "gelu", "target": "int16", "input_scale": 0.1, "input_zero_point": 3}, "must be 0 for int16"),
    ({"what": "gelu", "target": "int4"}, "unknown target 'int4'"),
    ({"what": "gelu", "target": "c", "name": "int"}, "not a name for a function in C"),
    ({"what": "gelu", "target": "c", "form": "int4"}, "form must be 'int8', 'int16' or 'hinges'"),
    ({"what": "gelu", "target": "hinges", "interval": (1, 1)}, "must be a number above 1"),
    ({"what": "gelu", "target": "int8", "inputs": torch.tensor([float("nan")])}, "not finite"),
    ({"what": "gelu", "target": "int8", "inputs": "x"}, "inputs must be a tensor"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "words"), REFUSED)
def test_what_cannot_be_made_says_why(call: dict[str, Any], words: str) -> None:
    with pytest.raises(acs.ActivationError, match=words):
        acs.deploy(**call)


def test_a_missing_compiler_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        acs.ActivationError, match="needs a C\\+\\+ compiler, and 'no-such-compiler' is not there"
    ):
        acs.deploy("x * tanh(x)", "compiled")
    with pytest.raises(acs.ActivationError, match="'no-such-compiler' is not there: install gcc"):
        build_header("", "found", np.int8, compiler="no-such-compiler")


def make_model() -> nn.Module:
    return nn.Sequential(
        nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1)
    )


def make_task() -> acs.Task:
    x = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, :1] * x[:, 1:2]).tanh()
    return acs.Task(
        model=make_model, train=(x[:200], y[:200]), valid=(x[200:], y[200:]), loss=F.mse_loss, metric="mse", epochs=30,
        lr=1e-2, device="cpu",
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> nn.Sequential:
    """A model that has learned with a form of which each site learns a number of its own."""
    torch.manual_seed(0)
    task = make_task()
    model = acs.place(make_model(), "x * sigmoid(param(1.0) * x)").model
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    x, y = task.train
    for _ in range(150):
        optimizer.zero_grad()
        torch.autograd.backward(F.mse_loss(model(x), y))
        optimizer.step()
    assert isinstance(model, nn.Sequential)
    return model.eval()


@pytest.mark.parametrize("target", ["int8", "int16", "hinges"])
def test_a_whole_model_says_what_it_costs(trained: nn.Sequential, target: Any) -> None:
    task = make_task()
    made = acs.deploy("x * sigmoid(param(1.0) * x)", target, model=trained, task=task)
    x, y = task.valid
    with torch.no_grad():
        before, after = F.mse_loss(trained(x), y).item(), F.mse_loss(made.model(x), y).item()
        furthest = (trained(x) - made.model(x)).abs().max().item()
    assert made.before == pytest.approx(before, rel=1e-5)
    assert made.after == pytest.approx(after, rel=1e-5)
    assert [site.path for site in made.sites] == ["1", "3"]
    assert furthest < {"int8": 0.1, "int16": 1e-3, "hinges": 0.1}[target]
    assert f"{before:.6g} before" in str(made)
    # each site by its own: calibrated on what arrives there, with what it has learned
    arrived = trained[0](task.train[0])
    assert made.sites[0].inputs == pytest.approx(
        (arrived.min().item(), arrived.max().item()), rel=1e-5
    )
    assert made.sites[0].made.settings != made.sites[1].made.settings


def test_a_model_without_the_activation_or_data_is_refused(trained: nn.Sequential) -> None:
    with pytest.raises(acs.PlacementError, match="no site with it, but"):
        acs.deploy("gelu", "int8", model=trained, task=make_task())
    with pytest.raises(acs.TaskError, match="give task=, or inputs="):
        acs.deploy("x * sigmoid(param(1.0) * x)", "int8", model=trained)
    with pytest.raises(acs.PlacementError, match="target with model= must be"):
        acs.deploy("x * sigmoid(param(1.0) * x)", "onnx", model=trained, task=make_task())


def test_learned_numbers_are_those_of_the_module(trained: nn.Sequential) -> None:
    beta = trained[1].get_parameter("theta_0").item()
    x = np.linspace(-4, 4, 1001)
    made = acs.deploy(trained[1], "hinges", hinges=32, interval=(-4, 4))
    module = acs.activation(made.text).double()
    expected = x * special.expit(beta * x)
    assert (
        np.abs(module(torch.from_numpy(x)).detach().numpy() - expected).max()
        <= made.max_error
        < 1e-2
    )


def test_a_trial_brings_its_recorded_inputs() -> None:
    study = acs.create_study(study_name="deployed", strategy="random", seed=0)
    study.enqueue_trial("x * tanh(x)")
    study.optimize(
        make_task().replace(epochs=1, tune_lr=False), n_trials=2, show_progress_bar=False
    )
    trial = next(t for t in study.trials if t.candidate.formula == "x * tanh(x)")
    made = acs.deploy(trial, "int8")
    assert trial.diagnostics is not None
    site = trial.diagnostics.end[0]
    filled = [index for index, share in enumerate(site.histogram) if share]
    assert made.interval is not None
    # bins of .5 from -5; the first and the last are open
    assert made.interval[0] <= -5 + 0.5 * (filled[0] - 1) + 0.05
    assert made.interval[1] >= -5 + 0.5 * filled[-1] - 0.05
    assert any("recorded" in check.where for check in made.checks)
    assert acs.deploy(study, "python").label == study.best_trial.candidate.formula


def test_save_writes_what_was_made(tmp_path: Path) -> None:
    made = acs.deploy("silu", "int8", **SCALES)
    lines = made.save(tmp_path / "table.txt").read_text().split()
    assert made.table is not None
    assert [int(line) for line in lines] == list(made.table)
    assert ctypes.sizeof(ctypes.c_int8) * 256 == len(made.table)


class Functional(nn.Module):
    """Its activations are calls, which a placement redirects."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 16), nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> Any:
        return self.last(F.relu(self.first(x)))


@pytest.mark.parametrize("target", ["int8", "hinges"])
def test_a_function_that_a_forward_calls_is_converted_too(target: Any) -> None:
    torch.manual_seed(0)
    model = acs.place(Functional(), "silu").model
    x = torch.randn(200, 4)
    made = acs.deploy("silu", target, model=model, inputs=x)
    assert [site.path for site in made.sites] == ["relu"]
    hidden = made.sites[0].made.module()(model.get_submodule("first")(x))
    with torch.no_grad():
        torch.testing.assert_close(made.model(x), model.get_submodule("last")(hidden))
        assert (made.model(x) - model(x)).abs().max() < 0.1


def test_a_verdict_is_its_winner(tmp_path: Path) -> None:
    study = acs.create_study(study_name="s", direction="minimize", strategy="random")

    def objective(candidate: Any, run: acs.Run) -> float:
        noise = torch.randn(8, generator=torch.Generator().manual_seed(run.seed))
        return float(candidate.module()(noise).square().mean())

    study.optimize(objective, n_trials=3, show_progress_bar=False)
    verdict = study.confirm(objective, top_k=1, seeds=8, baseline="exp", show_progress_bar=False)
    assert verdict.winner.verdict == "better"
    made = acs.deploy(verdict, "int8", inputs=(-3.0, 3.0))
    assert made.table == acs.deploy(verdict.winner.formula, "int8", inputs=(-3.0, 3.0)).table
    with pytest.raises(acs.ActivationError, match="needs to know which inputs arrive"):
        acs.deploy(verdict, "int8")
