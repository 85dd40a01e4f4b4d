"""Learned shapes as a source of the default strategy: what follows from which history, and a whole search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.activations import describe
from actsearch.records import (
    CURVES,
    FROZEN,
    LEARNED,
    NAMED,
    CandidateRecord,
    TrialRecord,
    TrialState,
)
from actsearch.screening import identify
from actsearch.strategies import Auto, Context, SiteGroups, Space
from actsearch.strategies.auto.sources import SHAPE, count_credits
from actsearch.strategies.population import list_members

X = np.linspace(-3, 3, 41)
DENSITY = np.exp(-X * X / 2) / np.exp(-X * X / 2).sum()
FEW = Space(["relu", "tanh", "silu", "gelu"], ["add", "mul", "tanh", "cos"], max_size=7)
CONTEXT = Context(FEW, 3, "minimize", own={"*": describe("relu")}, sites={"*": ["act"]})


def end(history: list[TrialRecord], candidates: Sequence[CandidateRecord], value: float) -> None:
    """Every candidate of a batch comes to a value; each pass learns another curve."""
    for candidate in candidates:
        number, attrs = len(history), dict(candidate.attrs)
        if candidate.learns_shape:
            y = X * np.cos((1 + number / 30) * X)
            attrs[CURVES] = {"*": {"x": X.tolist(), "y": y.tolist(), "density": DENSITY.tolist()}}
            fingerprint = f"pass {number}"
        else:
            fingerprint = identify(candidate).identity
        shapes = candidate.operation in (LEARNED, NAMED, FROZEN)
        own = value if shapes else 1.0 + number / 100
        state = TrialState.PRUNED if candidate.learns_shape else TrialState.COMPLETE
        history.append(
            TrialRecord(number, state, candidate, own, user_attrs=attrs, fingerprint=fingerprint)
        )


def search(batches: int, value: float = 0.5, **settings: Any) -> list[list[CandidateRecord]]:
    """So many logical batches, those of names with a value."""
    strategy = Auto(**settings)
    history: list[TrialRecord] = []
    found: list[list[CandidateRecord]] = []
    for _ in range(batches):
        made = strategy.propose(history, strategy.batch_size(history, CONTEXT), CONTEXT)
        end(history, made, value)
        found.append(made)
    return found


def kinds(batch: Sequence[CandidateRecord]) -> list[str]:
    operations = ["pass" if one.learns_shape else one.operation for one in batch]
    return [name for name in operations if name in ("pass", LEARNED, NAMED, FROZEN)]


def test_a_round_goes_between_the_other_trials_behind_the_portfolio() -> None:
    first, *rest = search(5, shapes=1)
    assert kinds(first) == []
    assert [set(kinds(batch)) for batch in rest] == [{"pass"}, {"pass"}, {LEARNED}, {NAMED}]
    assert [len(batch) for batch in rest] == [4] * 4


def test_without_shapes_the_search_is_as_it_was() -> None:
    assert not any(kinds(batch) for batch in search(4))


@pytest.mark.slow
@pytest.mark.parametrize(("value", "rounds"), [(0.5, 2), (2.0, 1)], ids=["good", "bad"])
def test_another_round_begins_where_the_last_one_brought_something(
    value: float, rounds: int
) -> None:
    batches = search(12, value, shapes=2)
    assert sum(LEARNED in kinds(batch) for batch in batches) == rounds


@pytest.mark.slow
def test_there_are_no_more_rounds_than_were_asked_for() -> None:
    assert sum(LEARNED in kinds(batch) for batch in search(12, shapes=1)) == 1


def test_a_batch_is_no_larger_than_the_strategy_says() -> None:
    assert [len(batch) for batch in search(5, shapes=1, portfolio=8, batch=2)] == [8, 1, 1, 1, 1]


def test_a_pass_is_no_observation_of_the_activation_it_begins_with() -> None:
    history: list[TrialRecord] = []
    for batch in search(3, shapes=1):
        end(history, batch, 0.5)
    passes = [trial for trial in history if trial.candidate.learns_shape]
    members = list(list_members(history, CONTEXT, SiteGroups.shared()))
    assert len(passes) == 2
    assert len(members) == len(history) - len(passes)


def test_names_are_credited_to_shape_learning() -> None:
    history: list[TrialRecord] = []
    for batch in search(6, shapes=1):
        end(history, batch, 0.5)
    members = list(list_members(history, CONTEXT, SiteGroups.shared()))
    credits = count_credits(members, history, -1.0)
    assert credits[SHAPE] == max(credits.values()) > 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"shapes": -1}, "shapes"), ({"shapes": 1.5}, "shapes"), ({"shapes": True}, "shapes")],
)
def test_a_number_of_rounds_that_makes_no_sense_is_refused(
    settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(acs.SpaceError, match=says):
        Auto(**settings)


def task() -> acs.Task:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(128, 4, generator=generator)
    y = torch.sin(2 * x[:, :1])

    def model() -> nn.Module:
        return nn.Sequential(
            nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1)
        )

    return acs.Task(
        model=model, train=(x[:96], y[:96]), valid=(x[96:], y[96:]), loss=F.mse_loss, metric="mse",
        epochs=2, batch_size=32, lr=1e-2, tune_lr=False,
    )  # fmt: skip


def test_several_groups_are_refused_before_any_trial() -> None:
    study = acs.create_study(
        study_name="s", strategy=acs.Auto(shapes=1), space=acs.Space(sites="per_site")
    )
    with pytest.raises(acs.SpaceError, match="one shape for all sites"):
        study.optimize(task(), n_trials=4, show_progress_bar=False)
    assert not study.trials


def test_a_callable_is_refused() -> None:
    study = acs.create_study(study_name="s", strategy=acs.Auto(shapes=1), direction="minimize")
    with pytest.raises(acs.ActsearchError, match="Task"):
        study.optimize(lambda candidate, run: 0.0, n_trials=4, show_progress_bar=False)
    assert not study.trials


@pytest.mark.slow
def test_a_search_in_two_calls_makes_the_trials_of_one() -> None:
    def run(*counts: int) -> list[tuple[str, float | None]]:
        study = acs.create_study(study_name="s", strategy=acs.Auto(shapes=1), seed=1)
        for count in counts:
            study.optimize(task(), n_trials=count, show_progress_bar=False)
        return [(str(trial.record.candidate), trial.value) for trial in study.trials]

    whole = run(26)
    assert run(11, 15) == whole
    assert any("linear_spline" in text for text, _ in whole)
