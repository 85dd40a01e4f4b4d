"""torch.compile and torch.export: one graph, the same numbers, forward and backward."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

import pytest
import torch
import torch._dynamo.testing
from torch import Tensor, nn
from ways_out_cases import (
    FORMULAS,
    Case,
    all_cases,
    assert_same,
    extremes,
    in_gate,
    points,
    value_and_gradients,
)

import actsearch as acs
from actsearch.activations import reseed_random_activations

# torch's own tracing code trips over its own deprecations
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

_SAMPLE = ("piecewise",)  # a compiler takes a second of processor time for each
# torch's own derivative of sinc, (z cos z - sin z) / (x z) with z = pi x, loses its digits near 0, eager or compiled
CANCELS = {"sinc": 2e-3}


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> str:
    """torch's default backend where there is what it needs; the same graphs without code generation elsewhere."""
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if shutil.which(os.environ.get("CXX", "g++")) and headers.exists():
        return "inductor"
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\nno C++ compiler or no Python.h: torch.compile is tested with backend aot_eager")
    return "aot_eager"


@pytest.mark.parametrize("case", in_gate(all_cases(), _SAMPLE))
def test_compiled_as_one_graph_it_computes_the_same(case: Case, backend: str) -> None:
    module = case.module()
    compiled = _compiled(module, backend)
    x = points()
    (found, *slopes), (expected, *expected_slopes) = (
        value_and_gradients(each, x) for each in (compiled, module)
    )
    assert_same(found, expected, x)
    for slope, expected_slope in zip(slopes, expected_slopes, strict=True):
        assert_same(slope, expected_slope, x, CANCELS.get(case.name, 1e-6))
    assert_same(compiled(extremes()), module(extremes()), extremes())


_EXPORTED = (
    *("sign", "sqrt", "log1p", "i0e", "sinc", "piecewise", "mix", "gelu", "row swish", "row relu, 0.5 at 0"),
    *FORMULAS,
)  # fmt: skip


@pytest.mark.parametrize("case", in_gate(all_cases(), _EXPORTED))
def test_its_exported_program_computes_the_same_for_any_batch(case: Case) -> None:
    module = case.module()
    batch = torch.export.Dim("batch")
    program = torch.export.export(module, (points(),), dynamic_shapes={"x": {0: batch}})
    assert len(list(program.parameters())) == len(list(module.parameters()))
    exported = program.module()
    for x in (points(), points()[:5]):
        results = zip(
            value_and_gradients(exported, x), value_and_gradients(module, x), strict=True
        )
        for found, expected in results:
            assert_same(found, expected, x)
    assert_same(exported(extremes()), module(extremes()), extremes())


def test_any_number_of_activations_can_be_compiled_one_after_the_other() -> None:
    """torch compiles one code object at most eight times, and all formulas are computed by one method."""
    x = points()
    for case in all_cases()[:10]:
        module = case.module()
        compiled = _compiled(module, "eager")
        torch.testing.assert_close(compiled(x), module(x), equal_nan=True)


@pytest.mark.parametrize("what", ["gelu", "relu", "swish", "x * tanh(param(1.0) * x)"])
def test_what_was_compiled_serves_every_layer_with_the_same_activation(what: str) -> None:
    graphs = torch._dynamo.testing.CompileCounter()
    for _ in range(10):
        torch.compile(acs.activation(what), fullgraph=True, backend=graphs)(points())
    assert graphs.frame_count == 1


@pytest.mark.parametrize("way", ["compile", "export"])
def test_random_slopes_can_be_in_one_graph_in_training(way: str) -> None:
    module = acs.activation("rrelu", lower=0.2, upper=0.3).train()
    reseed_random_activations(module, 1)
    x = torch.cat([-torch.ones(4000), torch.ones(10)])
    graph: nn.Module = (
        _compiled(module, "aot_eager")
        if way == "compile"
        else torch.export.export(module, (x,)).module()
    )
    first, second = (_slopes(graph, x) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first[-10:], torch.ones(10))
    assert 0.2 <= first[:4000].min() < 0.201
    assert 0.299 < first[:4000].max() <= 0.3
    assert first[:4000].mean().item() == pytest.approx(0.25, abs=0.002)


def _compiled(module: nn.Module, backend: str) -> nn.Module:
    compiled = torch.compile(module, fullgraph=True, backend=backend)
    assert isinstance(compiled, nn.Module)
    return compiled


def _slopes(module: nn.Module, x: Tensor) -> Tensor:
    """f(x) / x, which must also be the gradient."""
    x = x.clone().requires_grad_()
    y = module(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, (y / x).detach())
    return gradient
