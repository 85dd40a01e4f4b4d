"""Maxout as a module and as a candidate: the one hidden activation that takes several pieces a channel."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from trained import evaluate

import actsearch as acs
from actsearch.activations import curve
from actsearch.evaluation import Candidate
from actsearch.placement import initialise_for_gain
from actsearch.records import TrialState
from actsearch.screening import identify, screen
from actsearch.training import fit

Array = npt.NDArray[np.float64]
PIECES = (2, 3, 4)


# the module


def largest(x: Array, pieces: int, axis: int) -> Array:
    """Channel by channel, the largest of its neighbouring pieces."""
    moved = np.moveaxis(x, axis, 0)
    rows = [moved[start : start + pieces].max(axis=0) for start in range(0, len(moved), pieces)]
    return np.moveaxis(np.stack(rows), 0, axis)


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((5, 12), 1), ((5, 12, 4, 2), 1), ((2, 3, 12), -1), ((12,), -1), ((12, 3), 0)],
)
def test_it_is_the_largest_of_the_pieces_of_each_channel(
    shape: tuple[int, ...], axis: int, pieces: int
) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    module = acs.activation("maxout", pieces=pieces, channel_axis=axis)
    np.testing.assert_array_equal(module(torch.from_numpy(x)).numpy(), largest(x, pieces, axis))
    assert not list(module.parameters())


def test_the_gradient_goes_to_the_largest_piece_and_a_tie_is_shared() -> None:
    x = torch.tensor([[1.0, 3.0, 2.0, 2.0]], requires_grad=True)
    acs.activation("maxout")(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 1.0, 0.5, 0.5]]


@pytest.mark.parametrize(
    ("shape", "axis"), [((2, 5), 1), ((6, 5), -1), ((6,), 1), ((2, 6, 5), -1), ((), 0)]
)
def test_channels_that_do_not_divide_are_refused_with_the_axis(
    shape: tuple[int, ...], axis: int
) -> None:
    module = acs.activation("maxout", pieces=3, channel_axis=axis)
    with pytest.raises(
        acs.ActivationError, match=rf"each 3 channels on axis {axis}.*shape \(.*3 times as wide"
    ):
        module(torch.ones(shape))


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), acs.activation]
)
def test_a_copy_keeps_pieces_and_axis(duplicate: Callable[[nn.Module], nn.Module]) -> None:
    twin = duplicate(acs.activation("maxout", pieces=3, channel_axis=-1))
    assert twin(torch.arange(12.0).reshape(1, 2, 6)).tolist() == [[[2.0, 5.0], [8.0, 11.0]]]


# as a candidate


# E[m], E[m^2] for the largest of k independent normal numbers: Jones 1948, Biometrika 35
MOMENTS = {
    2: (1 / math.sqrt(math.pi), 1.0),
    3: (3 / (2 * math.sqrt(math.pi)), 1 + math.sqrt(3) / (2 * math.pi)),
    4: (1.0293753730039641, 1 + math.sqrt(3) / math.pi),
}


@pytest.mark.parametrize("pieces", PIECES)
def test_moments_and_gain_are_those_of_the_largest_of_independent_numbers(pieces: int) -> None:
    act = acs.activation("maxout", pieces=pieces)
    mean, second = MOMENTS[pieces]
    assert acs.moments(act) == pytest.approx((mean, second), rel=1e-9)
    assert acs.gain(act) == pytest.approx(1 / math.sqrt(second), rel=1e-9)


def test_it_has_no_curve_and_no_plot_and_says_why() -> None:
    for draw in (curve, acs.plot):
        with pytest.raises(
            acs.ActivationError, match="maxout is not a function of one number: each output"
        ):
            draw("maxout")


def test_it_is_searched_when_named_or_when_everything_is() -> None:
    assert acs.Space(activations=["relu", "maxout"]).activation_names == ("relu", "maxout")
    assert "maxout" in acs.Space(activations="all").activation_names
    assert "maxout" not in acs.Space().activation_names
    assert "max_affine" in acs.Space().activation_names


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("pieces", PIECES)
def test_screening_lets_it_pass_on_any_pre_activations(pieces: int, dtype: torch.dtype) -> None:
    candidate = Candidate.of("maxout", pieces=pieces).record
    seen = [torch.randn(7, 3), torch.randn(5, 2, 4, 4) - 8]
    assert screen(candidate, seen, dtype) == ("", ())


def test_it_is_known_by_its_pieces() -> None:
    prints = [acs.fingerprint(Candidate.of("maxout", pieces=k)) for k in PIECES]
    others = ["max_affine", acs.activation("leaky_relu", negative_slope=0.25), "softmax"]
    assert len({*prints, *map(acs.fingerprint, others)}) == len(prints) + len(others)
    assert identify("maxout") == identify(Candidate.of("maxout", pieces=2))


@pytest.mark.parametrize(("axis", "arguments"), [(1, ()), (-1, (-1,))])
def test_its_python_code_computes_the_same_and_says_how_wide_the_layer_must_be(
    axis: int, arguments: tuple[int, ...]
) -> None:
    names: dict[str, Any] = {}
    exec(acs.to_python(Candidate.of("maxout", pieces=3)), names)
    exported = names["Maxout"](*arguments)
    x = np.random.default_rng(1).normal(size=(2, 6, 9))
    np.testing.assert_array_equal(exported(torch.from_numpy(x)).numpy(), largest(x, 3, axis))
    assert "layer before it must be 3 times as wide" in exported.__doc__
    assert "gain 1 / sqrt(E[f(z)^2]), z ~ N(0, 1): 0.885384" in names["__doc__"]
    with pytest.raises(RuntimeError, match="don't multiply up"):
        exported(torch.ones(7, 7))


# gain


@pytest.mark.parametrize("pieces", PIECES)
def test_gain_draws_every_piece_for_itself_and_keeps_the_second_moment(pieces: int) -> None:
    torch.manual_seed(0)
    layers = [module for _ in range(6) for module in (nn.Linear(256, 256), nn.ReLU())]
    x = torch.randn(64, 256)
    maxout = Candidate.of("maxout", pieces=pieces)
    placed = acs.place(nn.Sequential(*layers), maxout, sample=x, where="all")
    assert len(initialise_for_gain(placed, x)) == 6
    weight = placed.model.get_submodule("0").get_parameter("weight").detach()
    gain = 1 / math.sqrt(MOMENTS[pieces][1])
    assert weight.std().item() == pytest.approx(gain / math.sqrt(256), rel=0.02)
    correlations = torch.corrcoef(weight[:pieces])
    assert (correlations - torch.eye(pieces)).abs().max() < 0.3  # 1 at the start
    with torch.no_grad():
        assert 0.3 < placed.model(x).square().mean().item() < 3


def test_gain_takes_the_start_slopes_back_from_a_batch_normalisation() -> None:
    norm = nn.BatchNorm2d(6)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    model, x = nn.Sequential(nn.Conv2d(4, 6, 3), norm, nn.ReLU()), torch.randn(3, 4, 6, 6)
    placed = acs.place(model, "maxout", sample=x)
    initialise_for_gain(placed, x)
    for name in ("weight", "bias"):
        wide = placed.model.get_submodule("1").get_parameter(name)
        expected = [value for value in norm.get_parameter(name).tolist() for _ in range(2)]
        assert wide.tolist() == expected


# trained through the public API


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1, groups=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip


def task(model: Callable[[], nn.Module], shape: tuple[int, ...], **changes: Any) -> acs.Task:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(90, 6, generator=generator)
    y = (x[:, 0] * x[:, 1] > 0).long()
    x = x.reshape(-1, *shape)
    settings: dict[str, Any] = {
        "model": model, "train": (x[:60], y[:60]), "valid": (x[60:], y[60:]), "epochs": 3,
        "batch_size": 16, "lr": 0.02, "loss": F.cross_entropy, "device": "cpu",
    }  # fmt: skip
    return acs.Task(**settings | changes)


TASKS = {"mlp": (mlp, (6,)), "cnn": (cnn, (1, 2, 3))}


@pytest.mark.parametrize("gain", [None, "auto"])
@pytest.mark.parametrize("kind", TASKS)
def test_a_study_searches_it_beside_others(kind: str, gain: str | None) -> None:
    study = acs.create_study(
        study_name="s", strategy="bayesian", space=acs.Space(activations=["relu", "maxout"])
    )
    study.optimize(task(*TASKS[kind], gain=gain), 7, show_progress_bar=False)
    ends = {trial.state for trial in study.trials}
    assert ends <= {TrialState.COMPLETE, TrialState.DUPLICATE}
    proposed = [trial for trial in study.trials if not trial.is_baseline]
    tried = [trial.candidate.record.activations["*"].name for trial in proposed]
    assert set(tried) == {"relu", "maxout"}
    assert all(trial.value is not None and math.isfinite(trial.value) for trial in study.trials)


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("kind", TASKS)
def test_its_losses_are_finite_in_every_epoch(kind: str, pieces: int) -> None:
    outcome = evaluate(Candidate.of("maxout", pieces=pieces).record, task(*TASKS[kind]), [1])
    (evaluation,) = outcome.evaluations
    losses = [loss for e in evaluation.epochs for loss in (e.train_loss, e.valid_loss)]
    assert len(losses) == 2 * 3
    assert all(loss is not None and math.isfinite(loss) for loss in losses)


def test_training_moves_it_away_from_leaky_relu() -> None:
    made = task(*TASKS["mlp"], epochs=20)
    placed = [Candidate.of("maxout"), Candidate.of("leaky_relu", negative_slope=0.25)]
    ends = [evaluate(candidate.record, made, [4]).value for candidate in placed]
    assert None not in ends
    assert ends[0] != pytest.approx(ends[1], rel=1e-3)


def test_where_it_cannot_be_placed_the_trial_fails_with_the_reason() -> None:
    def normed() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 2))

    outcome = evaluate(Candidate.of("maxout").record, task(normed, (6,)), [1])
    assert outcome.state is TrialState.FAILED
    assert "'2' needs a wider layer before it, and LayerNorm '1'" in outcome.reason


def test_a_learned_placement_continues_training_elsewhere() -> None:
    """Placed without a study: the model is a plain module that any loop trains."""
    made = task(*TASKS["cnn"])
    placed = acs.place(cnn(), "maxout").model
    epochs = fit(made, placed, 3).epochs
    assert epochs[-1].train_loss is not None
    assert epochs[0].train_loss is not None
    assert epochs[-1].train_loss < epochs[0].train_loss
