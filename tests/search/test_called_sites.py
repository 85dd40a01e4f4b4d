"""Activations that a forward calls, or holds as attributes: found, replaced, and led to the right places."""

from __future__ import annotations

import copy
import functools
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

import actsearch as acs


class Mixed(nn.Module):
    """Every way to call: a function, a method, a module, a held function; a dropout that looks at the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Linear(8, 8) for _ in range(4))
        self.module = nn.ReLU()
        self.held = F.gelu

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.a(x))
        h = self.module(self.b(h)).tanh()
        h = F.dropout(h, 0.5, self.training)
        result: Tensor = self.d(self.held(self.c(h)))
        return result


def reference(model: Mixed, x: Tensor, *functions: Any) -> Tensor:
    """The model in eval mode, with other functions in the places of its four."""
    one, two, three, four = functions
    h = one(model.a(x))
    h = three(two(model.b(h)))
    result: Tensor = model.d(four(model.c(h)))
    return result


@pytest.fixture
def model() -> Mixed:
    torch.manual_seed(0)
    return Mixed().eval()


@pytest.fixture
def x() -> Tensor:
    return torch.randn(5, 8, generator=torch.Generator().manual_seed(1))


ORDER = [
    ("relu", "function", "relu"),
    ("module", "module", "ReLU"),
    ("tanh", "function", "tanh"),
    ("held", "function", "gelu"),
]


@pytest.mark.parametrize("how", ["traced", "run"])
def test_every_kind_is_found_in_the_order_of_running(model: Mixed, x: Tensor, how: str) -> None:
    found = acs.sites(model, x if how == "run" else None)
    assert found.how == how
    assert [(site.path, site.kind, site.type) for site in found] == ORDER
    assert [site.order for site in found] == [0, 1, 2, 3]
    assert {site.role for site in found} == {"hidden"}


def test_looking_changes_nothing_of_the_model(model: Mixed, x: Tensor) -> None:
    before = {**vars(model)}, set(dict(model.named_modules())), type(model)
    acs.sites(model)
    acs.sites(model, x)
    acs.place(model, "tanh", sample=x)
    assert before[0].keys() == vars(model).keys()
    assert before[1:] == (set(dict(model.named_modules())), type(model))
    assert type(model.module) is nn.ReLU
    assert model.held is F.gelu
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in model.modules()
    )


@pytest.mark.parametrize("with_sample", [True, False])
def test_each_site_computes_what_was_put_there(model: Mixed, x: Tensor, with_sample: bool) -> None:
    acts = {"relu": "silu", "module": "sigmoid", "tanh": "sin", "held": "softplus"}
    placed = acs.place(model, acts, sample=x if with_sample else None).model
    expected = reference(model, x, F.silu, torch.sigmoid, torch.sin, F.softplus)
    torch.testing.assert_close(placed(x), expected)
    assert isinstance(placed, Mixed)
    assert placed.get_submodule("relu").extra_repr() == "silu"


def test_what_is_not_asked_for_stays_as_it_was(model: Mixed, x: Tensor) -> None:
    placement = acs.place(model, {"tanh": "sin"})
    expected = reference(model, x, F.relu, F.relu, torch.sin, F.gelu)
    torch.testing.assert_close(placement.model(x), expected, rtol=0, atol=0)
    assert [item.path for item in placement.replaced] == ["tanh"]
    assert placement.skipped == tuple(
        (path, "not asked for") for path in ("relu", "module", "held")
    )


def test_dropout_still_looks_at_the_mode(model: Mixed, x: Tensor) -> None:
    placed = acs.place(model, "silu").model
    placed.train()
    assert not torch.equal(placed(x), placed(x))
    placed.eval()
    assert torch.equal(placed(x), placed(x))


def test_learned_parameters_of_a_called_site_are_the_model_s(model: Mixed, x: Tensor) -> None:
    placed = acs.place(model, "prelu", sample=x).model
    learned = {name for name, _ in placed.named_parameters()} - {
        name for name, _ in model.named_parameters()
    }
    assert learned == {f"{path}.theta_0" for path, _, _ in ORDER}
    placed(x).square().sum().backward()
    assert all(placed.get_parameter(name).grad is not None for name in learned)
    other = acs.place(model, "prelu", sample=x).model
    for parameter in placed.parameters():
        parameter.data.add_(0.1)
    other.load_state_dict(placed.state_dict())
    assert torch.equal(other(x), placed(x))


def test_channels_of_a_called_site_are_those_of_its_layer(x: Tensor) -> None:
    class Conv(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv1d(1, 3, 3), nn.Linear(18, 4)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.head(F.relu(F.relu(self.conv(x.unsqueeze(1))).flatten(1)))
            return result

    placed = acs.place(Conv(), {"relu_0": acs.catalog["prelu"].name}, sample=x).model
    assert placed.get_parameter("relu_0.theta_0").shape == ()
    per_channel = acs.place(Conv(), {"relu_0": 'x*param(1.0, per="channel")*tanh(x)'}, sample=x)
    assert per_channel.model.get_parameter("relu_0.theta_0").shape == (3,)


def test_a_layer_before_a_call_is_made_wider_for_maxout(model: Mixed, x: Tensor) -> None:
    placed = acs.place(model, {"relu": "maxout"}, sample=x)
    assert placed.replaced[0].widened == "a"
    expected = reference(model, x, lambda a: F.leaky_relu(a, 0.25), F.relu, torch.tanh, F.gelu)
    torch.testing.assert_close(placed.model(x), expected)


# where a placed model has to go


def copied(model: nn.Module, x: Tensor) -> nn.Module:
    return copy.deepcopy(model)


def pickled(model: nn.Module, x: Tensor) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    assert isinstance(loaded, nn.Module)
    return loaded


def exported(model: nn.Module, x: Tensor) -> nn.Module:
    return torch.export.export(model, (x,)).module()


def compiled(model: nn.Module, x: Tensor) -> Any:
    return torch.compile(model, fullgraph=True, backend="aot_eager")


def called(model: nn.Module, x: Tensor) -> Any:
    return lambda x: functional_call(model, dict(model.named_parameters()), (x,))


def stacked(model: nn.Module, x: Tensor) -> Any:
    weights = {name: torch.stack([item, item]) for name, item in model.named_parameters()}
    return lambda x: vmap(lambda one: functional_call(model, one, (x,)))(weights)[1]


@pytest.mark.parametrize("way", [copied, pickled, exported, compiled, called, stacked])
def test_a_placed_model_computes_the_same_there(model: Mixed, x: Tensor, way: Any) -> None:
    acts = {"relu": "silu", "module": "x*sigmoid(param(1.0)*x)", "tanh": "sin", "held": "softplus"}
    placed = acs.place(model, acts).model
    expected = reference(model, x, F.silu, F.silu, torch.sin, F.softplus)
    torch.testing.assert_close(way(placed, x)(x), expected)
    torch.testing.assert_close(placed(x), expected)  # and is not harmed by going there


def test_a_copy_has_activations_of_its_own(model: Mixed, x: Tensor) -> None:
    placed = acs.place(model, "prelu", sample=x).model
    other = copy.deepcopy(placed)
    before = placed(x)
    with torch.no_grad():
        other.get_parameter("relu.theta_0").fill_(3.0)
    assert torch.equal(placed(x), before)
    assert not torch.equal(other(x), before)


def test_a_placed_model_can_be_placed_again(model: Mixed, x: Tensor) -> None:
    first = acs.place(model, "silu").model
    found = acs.sites(first)
    assert [site.path for site in found] == [path for path, _, _ in ORDER]
    assert {site.kind for site in found} == {"module"}
    second = acs.place(first, {"relu": "sin", "held": "tanh"}, sample=x).model
    expected = reference(model, x, torch.sin, F.silu, F.silu, torch.tanh)
    torch.testing.assert_close(second(x), expected)
    torch.testing.assert_close(first(x), reference(model, x, F.silu, F.silu, F.silu, F.silu))


# forwards of all kinds


def test_calls_in_a_helper_function_belong_to_the_module_that_runs(x: Tensor) -> None:
    def helper(h: Tensor) -> Tensor:
        return F.elu(h) + torch.sigmoid(h)

    class Helped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(8, 8), nn.Tanh())

        def forward(self, x: Tensor) -> Tensor:
            return helper(self.inner(x))

    model = Helped()
    assert [site.path for site in acs.sites(model)] == ["inner.1", "helper"]
    placed = acs.place(model, {"helper": "sin"}).model
    torch.testing.assert_close(placed(x), torch.sin(model.inner(x)))


def test_a_loop_over_layers_has_a_site_for_each(x: Tensor) -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
            self.drop, self.last = nn.Dropout(0.1), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Any:
            for layer in self.layers:
                x = self.drop(F.relu(layer(x)))
            return self.last(x)

    model = Deep().eval()
    for sample in (None, x):
        assert [s.path for s in acs.sites(model, sample)] == ["relu_0", "relu_1", "relu_2"]
    placed = acs.place(model, ["sin", "tanh", "silu"]).model
    one, two, three = model.layers
    expected = F.silu(three(torch.tanh(two(torch.sin(one(x))))))
    torch.testing.assert_close(placed(x), model.last(expected))


def test_a_loop_over_time_is_one_site_for_any_number_of_steps() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(3, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            h = x.new_zeros(x.shape[0], 4)
            for step in range(x.shape[1]):
                h = torch.tanh(self.inner(x[:, step]) + self.outer(h))
            return F.relu(h) + 1

    model, x = Recurrent(), torch.randn(2, 5, 3)
    found = acs.sites(model, x)
    assert [site.path for site in found] == ["tanh", "relu"]
    placed = acs.place(model, {"tanh": "prelu", "relu": "sin"}, sample=x).model
    longer = torch.randn(2, 9, 3)
    h = torch.zeros(2, 4)
    for step in range(9):
        h = F.leaky_relu(model.inner(longer[:, step]) + model.outer(h), 0.25)
    torch.testing.assert_close(placed(longer), torch.sin(h) + 1)
    assert len([name for name, _ in placed.named_parameters() if "theta" in name]) == 1


def test_branches_do_not_shift_the_calls_after_them(x: Tensor) -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.extra = True

        def forward(self, x: Tensor) -> Tensor:
            if self.extra:
                x = F.relu(x)
            return F.relu(x - 0.5)

    placed = acs.place(Branching(), ["sin", "tanh"], sample=x).model
    torch.testing.assert_close(placed(x), torch.tanh(torch.sin(x) - 0.5))
    placed.extra = False  # type: ignore[assignment]
    torch.testing.assert_close(placed(x), torch.tanh(x - 0.5))


def test_a_call_that_was_never_seen_is_an_error_and_not_passed_over(x: Tensor) -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.late = False

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(x)
            return x.sigmoid() if self.late else x

    placed = acs.place(Late(), "sin", sample=x).model
    placed.late = True  # type: ignore[assignment]
    with pytest.raises(acs.PlacementError, match="Late calls sigmoid in .*give a sample"):
        placed(x)


def test_functions_that_stand_at_the_same_numbers_are_told_apart_by_name(x: Tensor) -> None:
    table = {"s": lambda t: t.sigmoid() - 0.5, "t": lambda t: t.tanh() - 0.5}

    class Table(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            h: Tensor = table["t"](x)
            return h + table["s"](h) if self.training else h

    model = Table()
    found = acs.sites(model, x)
    assert sorted(site.path for site in found) == ["sigmoid", "tanh"]
    placed = acs.place(model, {"tanh": "sin"}, sample=x).model
    for training in (True, False):
        h = torch.sin(x) - 0.5  # the shift stays
        expected = h + torch.sigmoid(h) - 0.5 if training else h
        torch.testing.assert_close(placed.train(training)(x), expected)


def test_packages_whose_name_starts_with_torch_are_not_torch(
    x: Tensor,
) -> None:
    folder = Path(torch.__file__).parent
    source = (
        "import torch\nfrom torch.nn import functional as F\n\n\nclass Net(torch.nn.Module):\n"
    )
    source += "    def forward(self, x):\n        return F.relu(x) - 1\n"
    names: dict[str, Any] = {"__name__": "torchother.nets"}
    exec(compile(source, f"{folder}other/nets.py", "exec"), names)
    model = names["Net"]()
    assert [site.path for site in acs.sites(model, x)] == ["relu"]
    torch.testing.assert_close(acs.place(model, "sin", sample=x).model(x), torch.sin(x) - 1)


def test_forms_in_place_change_what_they_are_given(x: Tensor) -> None:
    class Inplace(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            a, b, c = x * 1, x * 2, x * 3
            F.relu(a, inplace=True)
            torch.relu_(b)
            c.sigmoid_()
            return torch.cat([a, b, c])

    model = Inplace()
    assert [site.path for site in acs.sites(model)] == ["relu_0", "relu_1", "sigmoid"]
    inputs = x.clone().requires_grad_()
    placed = acs.place(model, "x*x", where="all").model(inputs)
    torch.testing.assert_close(placed, torch.cat([x * x, 4 * x * x, 9 * x * x]))
    placed.sum().backward()
    torch.testing.assert_close(inputs.grad, 28 * x)


class Rewritten(nn.Module):
    """What is added is what the activation wrote over, not what the layer gave."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        self.act = nn.ReLU(inplace=inplace)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        result: Tensor = h + self.b(self.act(h))
        return result


@pytest.mark.parametrize("with_sample", [True, False])
def test_modules_in_place_write_over_where_the_model_counts_on_it(
    x: Tensor, with_sample: bool
) -> None:
    model, sample = Rewritten(inplace=True), x if with_sample else None
    assert torch.equal(acs.place(model, "relu", sample=sample).model(x), model(x))
    placed = acs.place(model, "swish", sample=sample).model
    h = F.silu(model.a(x))
    torch.testing.assert_close(placed(x), h + model.b(h))
    placed(x).sum().backward()
    assert placed.get_parameter("act.theta_0").grad is not None
    for other in (copied(placed, x), pickled(placed, x), exported(placed, x), compiled(placed, x)):
        torch.testing.assert_close(other(x), placed(x))


def test_modules_in_place_are_spared_the_copy_where_only_the_result_counts(x: Tensor) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 2))
    placed = acs.place(model, "tanh", sample=x).model
    h = model[0](x)
    assert torch.equal(placed[1](h), torch.tanh(h))  # type: ignore[index]
    assert not torch.equal(h, torch.tanh(h))


def test_a_sample_is_not_written_over(x: Tensor) -> None:
    model, before = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(8, 2)), x.clone()
    acs.sites(model, x)
    acs.place(model, "prelu", sample=x)
    assert torch.equal(x, before)


def test_keywords_and_further_arguments_stay_with_the_function(x: Tensor) -> None:
    class Keywords(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.held = functools.partial(F.leaky_relu, negative_slope=0.3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.held(F.leaky_relu(input=x, negative_slope=0.2))
            return F.softmax(x, dim=-1) * F.elu(x, 0.7)

    model = Keywords()
    found = acs.sites(model)
    assert [(site.path, site.role) for site in found] == [
        ("leaky_relu", "hidden"),
        ("held", "hidden"),
        ("softmax", "gate"),
        ("elu", "hidden"),
    ]
    placed = acs.place(model, {"leaky_relu": "sin"}).model
    h = F.leaky_relu(torch.sin(x), 0.3)
    torch.testing.assert_close(placed(x), torch.softmax(h, -1) * F.elu(h, 0.7))


def test_a_forward_that_goes_through_its_children_does_not_meet_the_sites(x: Tensor) -> None:
    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.children():
                x = F.relu(layer(x))
            return x

    class Row(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return F.relu(result)

    for model in (Chain(), Row(nn.Linear(8, 8), nn.Linear(8, 8))):
        layers = list(model.children())
        placed = acs.place(model, "sin", sample=x, where="all").model
        h = torch.sin(layers[0](x)) if isinstance(model, Chain) else layers[0](x)
        torch.testing.assert_close(placed(x), torch.sin(layers[1](h)))
        placed.double()
        assert placed(x.double()).dtype == torch.float64


def test_activations_inside_of_a_calling_module_are_their_own_business(x: Tensor) -> None:
    class Swish(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.sigmoid(x)

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.own = Mixed(), Swish()

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.own(self.inner(F.relu(x))))

    model = Outer().eval()
    paths = ["relu_0", *(f"inner.{path}" for path, _, _ in ORDER), "own", "relu_1"]
    for sample in (None, x):
        assert [site.path for site in acs.sites(model, sample)] == paths
    placed = acs.place(model, {"relu_1": "sin"}).model
    torch.testing.assert_close(placed(x), torch.sin(model.own(model.inner(F.relu(x)))))
    everywhere = acs.place(model, "tanh", sample=x, where="all").model
    inner = reference(model.inner, torch.tanh(x), *[torch.tanh] * 4)
    torch.testing.assert_close(everywhere(x), torch.tanh(torch.tanh(inner)))


# roles, by what becomes of a result


class Gates(nn.Module):
    """Squeeze and excitation, attention, a gated unit, and a squashing function at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze, self.query, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(4, 1)
        self.drop = nn.Dropout(0.1)
        self.open = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.open(self.squeeze(F.relu(x))).view(x.shape)
        scores = F.softmax(self.query(x) @ x.t(), dim=-1)
        x = self.drop(scores) @ x
        x = F.glu(torch.tanh(x))
        return torch.sigmoid(self.head(x)).squeeze(-1)


@pytest.mark.parametrize("with_sample", [True, False])
def test_roles_follow_from_what_becomes_of_the_result(x: Tensor, with_sample: bool) -> None:
    found = acs.sites(Gates(), x if with_sample else None)
    assert {site.path: site.role for site in found} == {
        "relu": "hidden",
        "open": "gate",
        "softmax": "gate",
        "tanh": "hidden",
        "glu": "gate",
        "sigmoid": "output",
    }


def test_gates_and_outputs_are_changed_only_when_asked(x: Tensor) -> None:
    placement = acs.place(Gates(), "sin", sample=x)
    assert [item.path for item in placement.replaced] == ["relu", "tanh"]
    assert dict(placement.skipped) == {
        "open": "role gate",
        "softmax": "role gate",
        "glu": "role gate",
        "sigmoid": "role output",
    }
    asked = acs.place(Gates(), "hardsigmoid", where=["open", "output"])
    assert [item.path for item in asked.replaced] == ["open", "sigmoid"]


# what cannot be seen


class Looking(nn.Module):
    """Control flow that depends on data."""

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            x = F.relu(x)
        return F.relu(-x)


def test_without_a_sample_an_untraceable_model_says_what_to_do() -> None:
    found = acs.sites(Looking())
    assert found == []
    assert found.how == "listed"
    assert "give sample=" in found.notes[0]
    with pytest.raises(acs.PlacementError, match="no hidden activation.*TraceError.*give sample="):
        acs.place(Looking(), "sin")


def test_with_a_sample_it_is_watched(x: Tensor) -> None:
    assert len(acs.sites(Looking(), x.abs())) == 2
    placed = acs.place(Looking(), "sin", sample=x.abs()).model
    torch.testing.assert_close(placed(x.abs()), torch.sin(-torch.sin(x.abs())))
    torch.testing.assert_close(placed(-x.abs()), torch.sin(x.abs()))


def test_a_sample_that_does_not_fit_is_an_error(model: Mixed) -> None:
    for call in (
        lambda: acs.sites(model, torch.zeros(2, 3)),
        lambda: acs.place(model, "sin", sample=3),
    ):
        with pytest.raises(acs.PlacementError, match="does not run on the sample input"):
            call()
    assert not any(module._forward_hooks for module in model.modules())


def test_a_forward_set_on_the_instance_is_refused(model: Mixed, x: Tensor) -> None:
    model.forward = functools.partial(Mixed.forward, model)  # type: ignore[method-assign]
    with pytest.raises(acs.PlacementError, match="Mixed calls relu in a forward that was set"):
        acs.place(model, "sin", sample=x)


def test_what_did_not_run_is_named() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.generator, self.discriminator = Mixed(), Mixed()

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.generator(x)
            return result

    for sample in (None, torch.randn(2, 8)):
        notes = " ".join(acs.sites(Pair(), sample).notes)
        assert "Did not run, so that functions called there were not seen: discriminator." in notes
    assert acs.sites(Mixed()).notes == ()


def test_an_activation_module_that_nothing_holds_is_named(x: Tensor) -> None:
    class Loose(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = [nn.ReLU()]

        def forward(self, x: Tensor) -> Tensor:
            return F.gelu(nn.Tanh()(self.inner[0](x)))

    found = acs.sites(Loose(), x)
    assert [site.path for site in found] == ["gelu"]
    assert "The model uses an activation module (tanh) that is not an attribute" in found.notes[0]
    assert acs.place(Loose(), "sin", sample=x).notes == found.notes


def test_a_call_in_an_autograd_function_stays_with_its_backward_pass(x: Tensor) -> None:
    class Gated(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return F.relu(x)

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Any:
            (x,) = ctx.saved_tensors
            return gradient * (x > 0)

    class Own(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            inner: Tensor = Gated.apply(torch.tanh(x))  # type: ignore[no-untyped-call]
            return inner

    found = acs.sites(Own(), x)
    assert [site.path for site in found] == ["tanh"]
    assert (
        "calls relu inside of torch.utils.checkpoint or of an autograd.Function" in found.notes[0]
    )
    placed = acs.place(Own(), "sin", sample=x, where="all").model
    inputs = x.clone().requires_grad_()
    placed(inputs).sum().backward()
    torch.testing.assert_close(placed(x), torch.relu(torch.sin(x)))
    torch.testing.assert_close(inputs.grad, torch.cos(x) * (torch.sin(x) > 0))


def test_a_layer_with_a_parametrization_is_looked_into(x: Tensor) -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.eye(8))

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x @ self.weight)

    layer: Any = nn.utils.parametrizations.weight_norm(Layer())
    model = nn.Sequential(layer, nn.Linear(8, 8))
    for sample in (None, x):
        assert [site.path for site in acs.sites(model, sample)] == ["0.relu"]
    expected = model[1](torch.sin(x @ layer.weight))
    torch.testing.assert_close(acs.place(model, "sin").model(x), expected)


def test_fused_layers_are_named_and_left_alone() -> None:
    model = nn.ModuleDict({"rnn": nn.LSTM(3, 4), "attention": nn.MultiheadAttention(4, 2)})
    notes = " ".join(acs.sites(model).notes)
    assert "rnn: LSTM computes its own activations in one fused kernel" in notes
    assert "attention: MultiheadAttention" in notes


def test_a_printed_list_shows_every_site(model: Mixed, x: Tensor) -> None:
    assert str(acs.sites(model, x)).splitlines() == [
        "path    kind      type  role",
        "relu    function  relu  hidden",
        "module  module    ReLU  hidden",
        "tanh    function  tanh  hidden",
        "held    function  gelu  hidden",
        "4 sites (4 hidden), seen running",
    ]


# wrappers


def test_data_parallel_and_compiled_models_are_looked_into(model: Mixed, x: Tensor) -> None:
    parallel = nn.DataParallel(model)
    assert [site.path for site in acs.sites(parallel)] == [
        f"module.{path}" for path, _, _ in ORDER
    ]
    expected = reference(model, x, *[torch.sin] * 4)
    torch.testing.assert_close(acs.place(parallel, "sin").model(x), expected)
    wrapped: Any = torch.compile(model, backend="eager")
    assert [site.path for site in acs.sites(wrapped)] == [path for path, _, _ in ORDER]
    torch.testing.assert_close(acs.place(wrapped, "sin").model(x), expected)
