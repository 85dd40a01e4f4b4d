"""The study of a GAN: its two losses in one step, and its metric."""

from __future__ import annotations

import gan
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import actsearch as acs


def gradients(loss: Tensor, parameters: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    found = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True)
    return dict(zip(parameters, found, strict=True))


@pytest.mark.parametrize("act", [None, "swish", "sin"])
def test_each_network_has_the_gradient_of_its_own_loss(act: str | None) -> None:
    torch.manual_seed(0)
    model: nn.Module = gan.Gan(width=8)
    if act is not None:
        model = acs.place(model, act, where=list(gan.GROUPS)).model
    assert isinstance(model, gan.Gan)
    real, seed = torch.rand(16, gan.PIXELS) * 2 - 1, 3
    torch.manual_seed(seed)
    found = gradients(gan.step(model, (real, real)), dict(model.named_parameters()))
    torch.manual_seed(seed)
    fake = model(torch.randn(16, gan.NOISE))
    of_real, of_fake = model.discriminator(real), model.discriminator(fake)
    losses = {
        "generator": F.softplus(-of_fake).mean(),
        "discriminator": F.softplus(-of_real).mean() + F.softplus(of_fake).mean(),
    }
    checked = 0
    for part, loss in losses.items():
        own = {name: p for name, p in model.named_parameters() if name.startswith(part)}
        for name, gradient in gradients(loss, own).items():
            torch.testing.assert_close(found[name], gradient)
            checked += 1
    assert checked == len(found)


def test_the_distance_of_two_normal_samples_is_the_known_one() -> None:
    draw = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 40_000, 3, generator=draw)
    assert gan.frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert gan.frechet(a, 2 * b + 1) == pytest.approx(3 + 3, rel=0.03)  # |mean|^2 + (2 - 1)^2 each


def test_the_last_tanh_of_the_generator_stays() -> None:
    kinds = {site.path: site.role for site in acs.sites(gan.Gan())}
    assert kinds.pop("generator.paint.1") == "output"
    assert set(kinds.values()) == {"hidden"}
    assert len(kinds) == 4
