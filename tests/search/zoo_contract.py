"""What must hold for every model of the zoo; a subclass gives the fixture ``entry``."""

from __future__ import annotations

import copy
import dataclasses
import functools
import io
import pickle
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import nn
from zoo import CLOSE, Entry, built, counted, itself, nearly, output, own

import actsearch as acs
from actsearch.placement import Placement, Sites

__all__ = ["LEARNED", "ZooContract", "differ", "step"]

LEARNED = "swish"
_OTHER = "x*tanh(x) + 0.1"


def differ(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    """Whether any of several outputs is another, by more than rounding."""
    assert len(one) == len(other)
    return any(
        not torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(one, other, strict=True)
    )


def _equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    assert len(one) == len(other)
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def _samples(entry: Entry) -> list[Any]:
    """With a sample, and without one where that finds the same."""
    return [entry.sample(), None] if entry.traced else [entry.sample()]


def step(model: nn.Module, inputs: Any) -> None:
    """One step of gradient descent in training mode on a mix of everything that the model returns."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    results = [y for y in output(model.train(), inputs) if y.requires_grad]
    loss = torch.stack([(y * torch.linspace(1, 2, y.shape[-1])).sum() for y in results])
    torch.autograd.backward(loss.sum())
    optimizer.step()


def _gradients(model: nn.Module, inputs: Any, sites: Iterable[str]) -> list[torch.Tensor]:
    """Of all parameters but those in sites; of each site, the sum over its parameters, however they are split up."""
    model.zero_grad()
    results = [y for y in output(model, inputs) if y.requires_grad]
    torch.autograd.backward(torch.stack([y.square().sum() for y in results]).sum())
    modules = dict(model.named_modules())
    inside = [[*modules[path].parameters()] for path in sites if path in modules]
    apart = {id(parameter) for parameters in inside for parameter in parameters}
    return [
        *(p.grad for p in model.parameters() if p.grad is not None and id(p) not in apart),
        *(_total(parameters) for parameters in inside if parameters),
    ]


def _total(parameters: list[nn.Parameter]) -> torch.Tensor:
    grads = [parameter.grad.flatten() for parameter in parameters if parameter.grad is not None]
    return torch.stack(grads).sum(0)


def _close(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    """Whether two lists are the same but for rounding."""
    assert len(one) == len(other)
    return all(
        bool((a - b).abs().max() <= CLOSE * b.abs().max())
        for a, b in zip(one, other, strict=True)
        if a.is_floating_point()
    )


def _computes_the_same(
    entry: Entry,
    model: nn.Module,
    acts: dict[str, nn.Module],
    sample: Any,
    same: Callable[[list[torch.Tensor], list[torch.Tensor]], bool],
) -> None:
    """That a model with other activations has the outputs, gradients and running statistics of the model itself."""
    inputs = entry.sample()
    placement = acs.place(model, acts, sample=sample)
    assert {item.path for item in placement.replaced} == set(acts)
    placed, model = placement.model, copy.deepcopy(model)
    assert placed.training is model.training
    for training in (False, True):
        placed, model = placed.train(training), model.train(training)
        with torch.no_grad():
            assert same(output(placed, inputs), output(model, inputs))
        assert same(_gradients(placed, inputs, acts), _gradients(model, inputs, acts))
        statistics = dict(model.named_buffers())
        assert same([placed.get_buffer(name) for name in statistics], [*statistics.values()])


def _inside(model: nn.Module) -> Any:
    """Everything that a model is made of, by identity, and its values."""
    parts = {
        path: (
            id(module),
            type(module),
            {name: id(value) for name, value in vars(module).items()},
            {name: id(value) for name, value in module._modules.items()},
            {name: id(value) for name, value in module._parameters.items()},
            [len(vars(module)[name]) for name in vars(module) if name.endswith("_hooks")],
        )
        for path, module in model.named_modules()
    }
    values = {name: value.clone() for name, value in model.state_dict().items()}
    return parts, values


class ZooContract:
    """The tests; each is run for every entry, whose fixture has the scope of a class: one entry after the other."""

    @pytest.fixture(scope="class")
    @classmethod
    def found(cls, entry: Entry) -> Callable[[bool], Sites]:
        """Its sites, with a sample or without one."""
        return functools.cache(
            lambda with_sample: acs.sites(built(entry), entry.sample() if with_sample else None)
        )

    @pytest.fixture(scope="class")
    @classmethod
    def _learned(cls, entry: Entry) -> Placement:
        return acs.place(built(entry), LEARNED, sample=entry.sample())

    @pytest.fixture
    def learned(self, _learned: Placement) -> Placement:
        """With a learned activation at each site; the model may be changed."""
        return dataclasses.replace(_learned, model=copy.deepcopy(_learned.model))

    @pytest.mark.parametrize("with_sample", [True, False], ids=["sample", "no sample"])
    def test_the_sites_are_those_counted_by_hand(
        self, entry: Entry, found: Callable[[bool], Sites], with_sample: bool
    ) -> None:
        sites = found(with_sample)
        assert counted(sites) == entry.expected(with_sample)
        assert sites.how == ("run" if with_sample else "traced" if entry.traced else "listed")
        assert [site.order for site in sites] == list(range(len(sites)))

    def test_our_own_for_what_was_there_is_bit_equal(
        self, entry: Entry, found: Callable[[bool], Sites]
    ) -> None:
        for sample in _samples(entry):
            model = built(entry)
            acts = own(entry, model, found(sample is not None))
            _computes_the_same(entry, model, acts, sample, _equal)

    def test_what_was_there_put_back_is_bit_equal(
        self, entry: Entry, found: Callable[[bool], Sites]
    ) -> None:
        model, sample = built(entry).eval(), entry.sample()
        if acts := itself(model, found(True)):
            _computes_the_same(entry, model, acts, sample, _equal)

    def test_what_rounds_otherwise_is_close(
        self, entry: Entry, found: Callable[[bool], Sites]
    ) -> None:
        if entry.close:
            model, sample = built(entry), entry.sample()
            acts = nearly(entry, found(True))
            assert acts
            _computes_the_same(entry, model, acts, sample, _close)

    def test_another_activation_changes_the_output(self, entry: Entry) -> None:
        inputs = entry.sample()
        for sample in _samples(entry):
            model = built(entry).eval()
            placement = acs.place(model, _OTHER, sample=sample)
            hidden = sum(
                count for what, count in entry.expected(True).items() if " hidden " in what
            )
            assert len(placement.replaced) == hidden
            assert differ(output(placement.model, inputs), output(model, inputs))

    def test_the_user_s_model_is_untouched(self, entry: Entry) -> None:
        model, inputs = built(entry), entry.sample()
        next(iter(model.modules())).eval()
        list(model.modules())[-1].train()  # modes that differ
        expected = output(model, inputs)
        parts, values = _inside(model)
        placed = acs.place(model, LEARNED, sample=inputs).model
        step(placed, inputs)
        parts_now, values_now = _inside(model)
        assert parts_now == parts
        assert list(values_now) == list(values)
        assert _equal([*values_now.values()], [*values.values()])
        assert all(parameter.grad is None for parameter in model.parameters())
        assert _equal(output(model, inputs), expected)

    def test_one_optimiser_step_moves_every_learned_parameter(
        self, entry: Entry, learned: Placement
    ) -> None:
        placed = learned.model
        slopes = {name: p for name, p in placed.named_parameters() if name.endswith("theta_0")}
        before = {name: p.detach().clone() for name, p in slopes.items()}
        assert len(slopes) == len(learned.replaced)
        step(placed, entry.sample())
        assert [name for name, p in slopes.items() if torch.equal(p, before[name])] == []

    def test_a_state_dict_is_loaded_into_another_copy(
        self, entry: Entry, learned: Placement
    ) -> None:
        placed, inputs = learned.model, entry.sample()
        step(placed, inputs)
        other = acs.place(built(entry), LEARNED, sample=inputs).model.eval()
        expected = output(placed.eval(), inputs)
        assert differ(output(other, inputs), expected)
        file = io.BytesIO()
        torch.save(placed.state_dict(), file)
        file.seek(0)
        other.load_state_dict(torch.load(file, weights_only=True))
        assert _equal(output(other, inputs), expected)

    def test_a_copy_computes_the_same_with_activations_of_its_own(
        self, entry: Entry, learned: Placement
    ) -> None:
        inputs, placed = entry.sample(), learned.model.eval()
        expected = output(placed, inputs)
        copies = [copy.deepcopy(placed)]
        if entry.pickles:
            copies.append(pickle.loads(pickle.dumps(placed)))
        for other in copies:
            assert _equal(output(other, inputs), expected)
            with torch.no_grad():
                for name, parameter in other.named_parameters():
                    if name.endswith("theta_0"):
                        parameter.add_(1)
            assert differ(output(other, inputs), expected)
        assert _equal(output(placed, inputs), expected)
