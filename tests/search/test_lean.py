"""Lean activations: plain torch's values and gradients, with the input alone kept for the backward pass."""

from __future__ import annotations

import copy
import pickle
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

import actsearch as acs
from actsearch.activations import Activation
from actsearch.activations.derivatives import pull_back
from actsearch.operators import OPERATORS

FIFTEEN_NODES = "x * sigmoid(param(1.0) * x) + 0.5 * tanh(x) - x * x"
FORMULAS = (
    FIFTEEN_NODES, "x**3", "x**param(2.0)", "2**x", "param(1.5)**x", "x / param(2.0)", "param(0.5) / (1 + x * x)",
    "max(x, 0.3, param(0.1) * x)", "min(x, 1, sin(x))", "max(x, 0)", "sum(x, 1, tanh(x))", "prod(x, x, tanh(x))",
    "gate(param(1.0) * x, param(2.0))", "piecewise(param(0.1) * x, x * x)", "mix(x, tanh(x))", "mix(x, tanh(x), 0.3)",
    "softplus(param(1.0)) * x * tanh(x)", 'param(1.0, per="channel") * x * tanh(param(0.5) * x)', "x - x", "3 - -x",
)  # fmt: skip
OPERATOR_CALLS = tuple(
    f"{name}(x)" for name, row in OPERATORS.items() if row.arity == 1 and row.symbol is None
)
ROWS = tuple(
    name
    for name, row in acs.catalog.items()
    if row.elementwise and row.role == "hidden" and not row.random
)
KEEPS_MORE = {"step", "linear_spline"}  # modules of their own


def pair(formula: str, dtype: torch.dtype) -> tuple[Activation, Activation]:
    plain, lean = (acs.activation(formula, channels=6, lean=lean) for lean in (False, True))
    return plain.to(dtype), lean.to(dtype)


def points(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    x = 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x.view(-1)[:5] = torch.tensor([0.0, 1.0, -1.0, 3.0, -3.0])  # kinks, where conventions differ
    return x.to(dtype)


def gradients(module: nn.Module, x: Tensor, again: bool) -> list[Tensor]:
    """Value, gradients, and the second derivative where it is asked for."""
    x = x.clone().requires_grad_()
    weights = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).view_as(x)
    y = module(x)
    slopes = torch.autograd.grad(
        y, [x, *module.parameters()], weights, create_graph=again, allow_unused=True
    )
    found = [y, *(torch.zeros(()) if slope is None else slope for slope in slopes)]
    if again and found[1].requires_grad:
        (second,) = torch.autograd.grad((found[1] * weights).sum(), x)
        found.append(second)
    return [item.detach() for item in found]


def assert_alike(formula: str, shape: tuple[int, ...], dtype: torch.dtype, again: bool) -> None:
    plain, lean = pair(formula, dtype)
    x = points(shape, dtype)
    expected, found = (gradients(module, x, again) for module in (plain, lean))
    assert len(expected) == len(found)
    rtol = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 2e-2}[dtype]
    for one, other in zip(expected, found, strict=True):
        finite = one[one.isfinite()]
        scale = max(1.0, finite.abs().max().item()) if finite.numel() else 1.0
        torch.testing.assert_close(other, one, rtol=rtol, atol=rtol * scale, equal_nan=True)


@pytest.mark.parametrize("formula", [*FORMULAS, *OPERATOR_CALLS, *ROWS])
def test_values_gradients_and_second_derivatives_are_those_of_the_plain_form(formula: str) -> None:
    assert_alike(formula, (8, 6), torch.float64, again=True)


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_tensor_of_many_blocks_is_computed_as_a_whole_one(formula: str) -> None:
    assert_alike(formula, (150, 6, 100), torch.float32, again=False)


@pytest.mark.parametrize("layout", ["channels last", "transposed", "strided", "other gradient"])
def test_any_layout_in_memory_is_taken(layout: str) -> None:
    plain, lean = pair(FIFTEEN_NODES, torch.float64)
    x = points((8, 6, 50, 50), torch.float64)
    if layout == "channels last":
        x = x.contiguous(memory_format=torch.channels_last)
    elif layout == "transposed":
        x = x.transpose(0, 3)
    elif layout == "strided":
        x = points((8, 6, 50, 100), torch.float64)[..., ::2]
    upstream = torch.ones_like(x)
    if layout == "other gradient":
        upstream = upstream.contiguous(memory_format=torch.channels_last)
    found = []
    for module in (plain, lean):
        own = x.detach().requires_grad_()
        y = module(own)
        (slope,) = torch.autograd.grad(y, own, upstream)
        assert y.stride() == plain(x).stride()
        found.append((y.detach(), slope))
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize("formula", [FIFTEEN_NODES, "prelu", "x * tanh(x)"])
def test_half_precision_is_rounded_once_as_in_the_plain_form(formula: str) -> None:
    assert_alike(formula, (8, 6), torch.bfloat16, again=False)


def kept_bytes(module: nn.Module, x: Tensor) -> int:
    """What autograd keeps beside parameters; a storage counts once."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module(x)
    return sum(storages.values())


@pytest.mark.parametrize("formula", [*(row for row in ROWS if row not in KEEPS_MORE), *FORMULAS])
def test_it_keeps_no_more_than_gelu(formula: str) -> None:
    x = points((64, 6, 20), torch.float32).requires_grad_()
    lean = acs.activation(formula, channels=6, lean=True)
    assert kept_bytes(lean, x) <= 1.1 * kept_bytes(nn.GELU(), x)


def test_the_plain_form_of_15_nodes_keeps_three_times_as_much() -> None:
    """Else the tests above would say nothing."""
    x = points((64, 6, 20), torch.float32).requires_grad_()
    assert kept_bytes(acs.activation(FIFTEEN_NODES), x) == 3 * kept_bytes(nn.GELU(), x)


def test_it_stays_lean_as_a_copy_and_from_a_pickle() -> None:
    x = points((64, 6, 20), torch.float32).requires_grad_()
    lean = acs.activation(FIFTEEN_NODES, lean=True)
    for twin in (copy.deepcopy(lean), pickle.loads(pickle.dumps(lean)), acs.activation(lean)):
        assert kept_bytes(twin, x) == kept_bytes(nn.GELU(), x)
        torch.testing.assert_close(twin(x), lean(x), rtol=0, atol=0)
    with torch.no_grad():
        lean.get_parameter("theta_0").fill_(2.0)
    assert not torch.equal(lean(x), twin(x))  # the copy's learned number is its own


def test_place_makes_every_site_lean() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 1))
    plain, lean = (acs.place(model, FIFTEEN_NODES, lean=lean).model for lean in (False, True))
    x = points((32, 6), torch.float32)
    two_tensors_at_each_of_two_sites = 2 * 2 * 32 * 6 * 4
    assert kept_bytes(plain, x) - kept_bytes(lean, x) == two_tensors_at_each_of_two_sites
    torch.testing.assert_close(lean(x), plain(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit is on its way out
def test_transforms_and_tracing_see_the_plain_form() -> None:
    lean = acs.activation("x * tanh(x)", lean=True)
    x = torch.tensor([0.3, -1.2], dtype=torch.float64)
    trace: Any = torch.jit.trace
    expected = torch.tanh(x) + x * (1 - torch.tanh(x) ** 2)
    torch.testing.assert_close(torch.vmap(torch.func.grad(lean))(x), expected)
    torch.testing.assert_close(torch.fx.symbolic_trace(lean)(x), x * torch.tanh(x))
    torch.testing.assert_close(trace(lean, (x,))(x + 1), (x + 1) * torch.tanh(x + 1))
    exported = torch.export.export(lean, (x,)).module()
    torch.testing.assert_close(exported(x), x * torch.tanh(x))


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # forward_ad scripts functions of its own
@pytest.mark.parametrize("formula", [FIFTEEN_NODES, "x * tanh(x)", "prelu"])
def test_tangents_go_forward_as_through_the_plain_form(formula: str) -> None:
    plain, lean = pair(formula, torch.float64)
    x, direction = points((4, 6), torch.float64), torch.ones(4, 6, dtype=torch.float64)
    forward: Any = forward_ad
    found = []
    for module in (plain, lean):
        with forward_ad.dual_level():
            dual = forward.make_dual(x, direction)
            found.append(forward.unpack_dual(module(dual)))
    assert found[1].tangent is not None
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize(
    ("what", "words"),
    [("rrelu", "draws random numbers"), ("maxout", "depends on several numbers")],
)
def test_what_cannot_be_computed_again_is_refused(what: str, words: str) -> None:
    with pytest.raises(acs.ActivationError, match=words):
        acs.activation(what, lean=True)


def test_lean_is_a_word_of_two_values() -> None:
    with pytest.raises(acs.ActivationError, match="lean must be True or False, not 1"):
        acs.activation("gelu", lean=1)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_compiled_it_is_one_kernel_forwards_and_one_backwards_and_keeps_the_input_alone() -> None:
    from torch._inductor import metrics

    for formula in ("x * sigmoid(1.5 * x) + 0.5 * tanh(x) - x * x", "x * sin(x) / (1 + abs(x))"):
        lean = acs.activation(formula, lean=True)
        compiled = cast(nn.Module, torch.compile(lean, fullgraph=True))
        metrics.reset()
        x = points((64, 6, 20), torch.float32)
        expected, found = (gradients(module, x, False) for module in (lean, compiled))
        torch.testing.assert_close(found, expected)
        assert metrics.generated_kernel_count == 2
        x.requires_grad_()
        assert kept_bytes(compiled, x) <= 1.1 * kept_bytes(nn.GELU(), x)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_compiled_with_a_learned_number_it_keeps_the_input_alone() -> None:
    lean = acs.activation("x * sigmoid(param(1.5) * x) + 0.5 * tanh(x)", lean=True)
    compiled = cast(nn.Module, torch.compile(lean, fullgraph=True))
    x = points((64, 6, 20), torch.float32)
    expected, found = (gradients(module, x, False) for module in (lean, compiled))
    assert len(found) == 3  # the value, and the gradients of x and of the number
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    x.requires_grad_()
    assert kept_bytes(compiled, x) <= 1.1 * kept_bytes(nn.GELU(), x)


class Functional(nn.Module):
    """Its activation is a call, which a placement redirects."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Any:
        return self.last(torch.relu(self.first(x)))


def test_a_redirected_call_is_lean_and_goes_backwards() -> None:
    model = Functional()
    plain, lean = (
        acs.place(model, "relu(x) * tanh(x)", lean=lean).model for lean in (False, True)
    )
    x = points((32, 6), torch.float32)
    expected, found = (gradients(each, x, again=False) for each in (plain, lean))
    torch.testing.assert_close(found, expected)
    assert kept_bytes(lean, x) < kept_bytes(plain, x)


def test_an_operator_without_a_rule_goes_back_by_autograd() -> None:
    x = points((8, 6), torch.float64).requires_grad_()
    upstream = torch.linspace(-1, 1, 48, dtype=torch.float64).view(8, 6)
    slope = pull_back("a new one", torch.sin, 0, upstream, torch.sin(x), (x,))
    torch.testing.assert_close(slope, upstream * x.cos())
    (again,) = torch.autograd.grad(slope.sum(), x)
    torch.testing.assert_close(again, -upstream * x.sin())
    with torch.no_grad():
        torch.testing.assert_close(
            pull_back("a new one", torch.sin, 0, upstream, torch.sin(x), (x,)), upstream * x.cos()
        )
