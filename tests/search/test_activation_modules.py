"""Activations as modules: learned parameters, channels, precision, copies."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import actsearch as acs

LEARNED = ["prelu", "swish", "max_affine", "x * sigmoid(param(0.5) * x) + param(-1.0)"]
PER_CHANNEL = ["prelu", "swish", "max_affine", 'tanh(param(0.5, per="channel") * x)']


def _state_copy(module: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    buffer.seek(0)
    twin = acs.activation(LEARNED[-1])
    twin.load_state_dict(torch.load(buffer, weights_only=True))
    return twin


COPIES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),
    "state_dict": _state_copy,
    "double and back": lambda module: copy.deepcopy(module).double().float(),
    "half and back": lambda module: copy.deepcopy(module).half().float(),
}


@pytest.mark.parametrize("what", LEARNED)
def test_learned_numbers_are_parameters_that_are_saved_and_get_gradients(what: str) -> None:
    module = acs.activation(what)
    parameters = dict(module.named_parameters())
    assert parameters
    assert set(module.state_dict()) == set(parameters)
    module(torch.tensor([[-1.0, 0.3, 2.0]])).square().sum().backward()
    for parameter in parameters.values():
        assert isinstance(parameter, nn.Parameter)
        assert parameter.shape == ()
        assert parameter.grad is not None
    assert sum(float(p.grad.abs()) for p in parameters.values() if p.grad is not None) > 0


@pytest.mark.parametrize("how", list(COPIES))
def test_a_copy_computes_the_same_and_learns_on_its_own(how: str) -> None:
    module = acs.activation(LEARNED[-1])
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            parameter.fill_(0.75 - 2 * index)  # exact in half precision
    twin = COPIES[how](module)
    x = torch.linspace(-2, 2, 9)
    torch.testing.assert_close(twin(x), module(x), rtol=0, atol=0)
    with torch.no_grad():
        next(iter(twin.parameters())).add_(1)
    assert not torch.equal(twin(x), module(x))


def test_a_replica_for_another_device_computes_with_its_own_parameters() -> None:
    module = acs.activation("2 * x + param(1.0)")
    replica = module._replicate_for_data_parallel()
    replica._parameters = {"theta_0": nn.Parameter(torch.tensor(5.0))}
    assert (replica(torch.ones(1)).item(), module(torch.ones(1)).item()) == (7, 3)


def test_an_activation_of_an_activation_is_a_copy_with_its_learned_values() -> None:
    module = acs.activation("swish")
    with torch.no_grad():
        next(iter(module.parameters())).fill_(3.0)
    twin = acs.activation(module)
    assert next(iter(twin.parameters())).item() == 3.0
    assert next(iter(twin.parameters())) is not next(iter(module.parameters()))


@pytest.mark.parametrize("what", PER_CHANNEL)
@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 4), (5, 3, 4, 2)])
def test_channels_give_each_channel_of_axis_1_a_number_of_its_own(
    what: str, shape: tuple[int, ...]
) -> None:
    module = acs.activation(what, channels=3)
    assert {parameter.shape for parameter in module.parameters()} == {(3,)}
    _assert_independent(module, torch.randn(shape, generator=_generator()), axis=1)


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3)])
def test_channels_may_lie_on_the_last_axis(shape: tuple[int, ...]) -> None:
    module = acs.activation("prelu", channels=3, channel_axis=-1)
    _assert_independent(module, torch.randn(shape, generator=_generator()), axis=-1)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def _assert_independent(module: nn.Module, x: Tensor, axis: int) -> None:
    """Each channel computes what a module with that channel's numbers for the whole would."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.tensor([0.2, -0.6, 1.4]))
    y = module(x)
    assert y.shape == x.shape
    for channel in range(3):
        single = copy.deepcopy(module)
        with torch.no_grad():
            for parameter in single.parameters():
                parameter.fill_(parameter[channel].item())
        torch.testing.assert_close(
            y.select(axis, channel), single(x).select(axis, channel), rtol=0, atol=0
        )


def test_prelu_with_channels_is_torchs_prelu_with_channels() -> None:
    ours, theirs = acs.activation("prelu", channels=4, init=0.1), nn.PReLU(4, init=0.1)
    x = torch.randn(2, 4, 3, generator=_generator())
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("axis", "shape"), [(1, (2, 4)), (1, (3,)), (-1, (3, 4)), (2, (3, 3)), (1, ())]
)
def test_an_input_that_does_not_fit_the_channels_is_refused_with_the_axis(
    axis: int, shape: tuple[int, ...]
) -> None:
    module = acs.activation("prelu", channels=3, channel_axis=axis)
    with pytest.raises(acs.ActivationError, match=rf"3 channels on axis {axis}.*shape \("):
        module(torch.ones(shape))


def test_learning_per_channel_without_channels_is_refused_with_what_to_do() -> None:
    with pytest.raises(acs.ActivationError, match="give channels=.*sample input"):
        acs.activation('param(1.0, per="channel") * x')
    with pytest.raises(acs.ActivationError, match="give channels=.*sample input"):
        acs.activation("prelu", per="channel")


@pytest.mark.parametrize("channels", [0, -1, 2.0, True, "3"])
def test_a_number_of_channels_that_is_none_is_refused(channels: int) -> None:
    with pytest.raises(acs.ActivationError, match="positive integer"):
        acs.activation("prelu", channels=channels)


def test_channels_do_nothing_to_an_activation_without_learned_numbers() -> None:
    for what in ("relu", "gelu", "x * tanh(x)", "param(1.0) * x"):
        module = acs.activation(what, channels=3)
        assert module(torch.ones(2, 7)).shape == (2, 7)
        assert module.channels is None


def test_each_occurrence_of_param_is_a_parameter_of_its_own() -> None:
    module = acs.activation("param(1.0) * x + param(1.0) * x")
    first, second = module.parameters()
    with torch.no_grad():
        first.fill_(10.0)
    assert module(torch.ones(1)).item() == 11.0
    assert second.item() == 1.0
    nested = acs.activation("sin(param(1.0) * x) - sin(param(1.0) * x)")
    assert len(list(nested.parameters())) == 2


@pytest.mark.parametrize(
    ("text", "order"),
    [("param(1.0) - param(2.0) * x", [1, 2]), ("max(param(3.0), x ** param(2.0))", [3, 2])],
)
def test_parameters_are_numbered_in_order_of_appearance(text: str, order: list[float]) -> None:
    named = dict(acs.activation(text).named_parameters())
    assert list(named) == ["theta_0", "theta_1"]
    assert [parameter.item() for parameter in named.values()] == order


def test_a_module_prints_its_label_and_channels_and_knows_its_formula() -> None:
    module = acs.activation("leaky_relu", negative_slope=0.2)
    assert "leaky_relu(negative_slope=0.2)" in repr(nn.Sequential(module))
    assert "channels=3" in repr(acs.activation("swish", channels=3))
    assert acs.parse(module.formula) == module.expression
