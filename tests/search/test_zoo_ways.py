"""Forwards that run in another way than the one that was watched: longer, compiled, in training, computed again."""

from __future__ import annotations

import functools
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from zoo import Entry, built, counted, output
from zoo_contract import differ
from zoo_own import OWN

import actsearch as acs


@pytest.mark.parametrize("name", ["own_lstm", "cell_loop", "bare_recurrent"])
def test_a_loop_over_time_may_be_longer_than_the_sample(name: str) -> None:
    entry = OWN[name]
    model = built(entry).eval()
    x = torch.cat([entry.sample(), entry.sample()], dim=1)
    for act, same in (("tanh", True), ("sin", False)):
        sites = {
            site.path: act for site in acs.sites(model, entry.sample()) if site.type == "tanh"
        }
        placed = acs.place(model, sites or act, sample=entry.sample()).model
        if name != "cell_loop" or not same:  # its own is relu
            assert differ(output(placed, x), output(model, x)) is not same


@pytest.mark.parametrize(
    ("name", "training"),
    [
        pytest.param(name, training, marks=() if training is quick else pytest.mark.slow)
        for name, quick in (
            ("mlp_functions", False), ("deep_loop", True), ("values_loop", False), ("own_lstm", True),
            ("bare_recurrent", False), ("auxiliary", True),
        )
        for training in (False, True)
    ],
)  # fmt: skip
def test_compiled_models_compute_the_same(name: str, training: bool) -> None:
    """In order where that is always the same, and in Python where it is not."""
    entry = OWN[name]
    placed = acs.place(built(entry), "swish", sample=entry.sample()).model.train(training)
    torch.compiler.reset()
    compiled: Any = torch.compile(placed, backend="eager")
    assert not differ(output(compiled, entry.sample()), output(placed, entry.sample()))


class Broken(nn.Module):
    """torch.compile cannot look behind the condition, and forgets there how some functions are led elsewhere."""

    def __init__(self, last: Any) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 4)
        self.acts = [F.relu, last]

    def forward(self, x: Tensor) -> Any:
        x = self.acts[0](self.one(x))
        if x.sum() > 1e9:
            return x
        return self.acts[1](self.two(x))


@pytest.mark.slow  # the first one of a process loads the compiler
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("last", [F.relu, F.leaky_relu, F.gelu, F.elu, F.hardtanh, F.softsign])
def test_a_graph_may_break_between_calls(last: Any) -> None:
    x = torch.randn(3, 8)
    placed = acs.place(Broken(last), ["sin", "silu"], sample=x, where="all").model
    torch.compiler.reset()
    compiled: Any = torch.compile(placed, backend="eager")
    torch.testing.assert_close(compiled(x), placed(x))


@pytest.mark.filterwarnings("ignore")
def test_a_call_that_is_lost_behind_the_break_is_an_error_and_not_passed_over() -> None:
    x = torch.randn(3, 8)
    placed = acs.place(Broken(F.hardswish), ["sin", "silu"], sample=x, where="all").model
    torch.compiler.reset()
    compiled: Any = torch.compile(placed, backend="eager")
    with pytest.raises(
        acs.PlacementError, match="breaks the graph inside of the forward of Broken"
    ):
        compiled(x)
    assert placed(x).shape == (3, 4)


class Codebook(nn.Module):
    """Training writes to a parameter without gradients, and cannot do with one row."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(8, 4), nn.BatchNorm1d(4)
        self.codes = nn.Parameter(torch.zeros(4), requires_grad=False)

    def forward(self, x: Tensor) -> Any:
        h = F.elu(self.norm(self.layer(x)))
        if self.training:
            h = F.mish(h)
            self.codes.data += h.detach().mean(0)
        return h + self.codes


def test_looking_in_training_mode_writes_to_a_copy() -> None:
    model, x = Codebook(), torch.randn(5, 8)
    state = torch.get_rng_state()
    assert counted(acs.sites(model, x)) == {"function hidden elu": 1, "function hidden mish": 1}
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.codes.any()
    assert model.norm.num_batches_tracked == 0


def test_a_sample_that_training_cannot_take_is_said() -> None:
    found = acs.sites(Codebook(), torch.randn(1, 8))
    assert counted(found) == {"function hidden elu": 1}
    assert "Functions called only in training were not searched for" in str(found)


class Switched(nn.Module):
    """Whether it keeps what its layers computed, or computes it again, can be told later."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.again = nn.Linear(8, 8), False

    def part(self, x: Tensor) -> Tensor:
        return F.relu(self.layer(x))

    def forward(self, x: Tensor) -> Any:
        return checkpoint(self.part, x, use_reentrant=False) if self.again else self.part(x)


def test_what_the_backward_pass_would_compute_otherwise_is_refused() -> None:
    x = torch.randn(3, 8)
    model = Switched()
    placed = acs.place(model, {"relu": "sin"}, sample=x).model
    placed.again = True  # type: ignore[assignment]
    with pytest.raises(acs.PlacementError, match="inside of torch.utils.checkpoint"):
        placed(x)
    model.again = True
    found = acs.sites(model, x)
    assert counted(found) == {}
    assert "calls relu inside of torch.utils.checkpoint" in str(found)


def test_a_checkpointed_call_is_computed_again_as_it_was() -> None:
    entry = OWN["checkpointed"]
    model, x = built(entry), entry.sample().requires_grad_()
    placed = acs.place(model, "gelu", sample=entry.sample()).model
    for one in (model, placed):
        torch.autograd.backward(one(x).square().sum())
    for (name, a), b in zip(model.named_parameters(), placed.parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad), name


def _graph() -> fx.GraphModule:
    """tanh(x) and, in place, leaky_relu with a slope as an argument; then x, which it changed."""
    graph = fx.Graph()
    x = graph.placeholder("x")
    double = graph.call_function(torch.mul, (x, 2.0))
    graph.call_function(F.leaky_relu, (double, 0.3), {"inplace": True})
    tanh = graph.call_method("tanh", (x,))
    graph.output(graph.call_function(torch.add, (double, tanh)))
    return fx.GraphModule({}, graph)


def test_calls_in_a_graph_keep_arguments_and_what_they_change_in_place() -> None:
    model, x = _graph(), torch.randn(4, 8)
    placement = acs.place(model, {"tanh": "sin"}, sample=x)
    expected = F.leaky_relu(2 * x, 0.3) + torch.sin(x)
    for placed in (placement.model, pickle.loads(pickle.dumps(placement.model))):
        torch.testing.assert_close(placed(x), expected)
    other = acs.place(model, {"leaky_relu": "silu"}).model
    torch.testing.assert_close(other(x), F.silu(2 * x) + torch.tanh(x))
    torch.testing.assert_close(model(x), F.leaky_relu(2 * x, 0.3) + torch.tanh(x))


class Row(nn.Sequential):
    """Runs parts of itself, which are no modules of the model."""

    def forward(self, input: Tensor) -> Any:
        if len(self) < 3:
            return F.elu(super().forward(input))  # type: ignore[no-untyped-call]
        return self[-1](F.relu(self[:-1](input)))


def test_slices_of_a_sequential_are_run_as_they_are() -> None:
    model, x = Row(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4)), torch.randn(3, 8)
    assert counted(acs.sites(model, x)) == {
        "module hidden Tanh": 1, "function hidden elu": 1, "function hidden relu": 1,
    }  # fmt: skip
    placed = acs.place(model, {"relu": "sin", "elu": "silu"}, sample=x).model
    h = torch.tanh(model[0](x))
    torch.testing.assert_close(placed(x), model[2](torch.sin(F.silu(h))))
    assert "relu" in dict(placed.named_children())  # for everybody else it is there


def test_data_parallel_replicas_do_not_meet_the_sites() -> None:
    """What nn.DataParallel makes for each device, without devices."""
    entry: Entry = OWN["values_loop"]
    placed = acs.place(built(entry), "sin", sample=entry.sample()).model
    replica: nn.Module = placed._replicate_for_data_parallel()  # type: ignore[no-untyped-call]
    for name, child in placed.named_children():
        replica._modules[name] = child
    assert torch.equal(replica(entry.sample()), placed(entry.sample()))


def test_held_functions_with_arguments_are_not_met_either() -> None:
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = functools.partial(F.elu, alpha=0.5)
            self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Any:
            for _, layer in self.named_children():
                x = self.act(layer(x))
            return x

    model, x = Held(), torch.randn(3, 8)
    placed = acs.place(model, acs.activation("elu", alpha=0.5), sample=x).model
    assert torch.equal(placed(x), model(x))
