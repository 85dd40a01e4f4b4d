"""Candidate x objective x seeds: whatever happens in an objective becomes an outcome, never an exception."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from trained import evaluate

import actsearch as acs
from actsearch.evaluation import Candidate, Run, TrialPruned
from actsearch.evaluation.evaluate import SeedRun, aggregate
from actsearch.records import (
    ActivationRecord,
    CandidateRecord,
    EpochRecord,
    EvaluationRecord,
    Outcome,
    TrialState,
)

RELU = Candidate.of("relu").record
PER_CHANNEL = 'tanh(param(1.0, per="channel") * x)'


def outcome_of(objective: Any, seeds: tuple[int, ...] = (1,), **settings: Any) -> Outcome:
    return evaluate(RELU, objective, list(seeds), **settings)


# what an objective may return


@pytest.mark.parametrize(
    "result",
    [
        0.75,
        np.float32(0.75),
        np.float64(0.75),
        np.array(0.75),
        torch.tensor(0.75),
        torch.tensor([0.75], dtype=torch.float64),
        nn.Parameter(torch.tensor(0.75)).detach(),
        {"accuracy": 0.75, "loss": 2.0},
        {"accuracy": np.float32(0.75), "loss": torch.tensor(2.0)},
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_number_in_any_form_is_the_value(result: Any) -> None:
    outcome = outcome_of(lambda candidate, run: result)
    assert outcome.state is TrialState.COMPLETE
    assert outcome.value == 0.75
    assert type(outcome.value) is float
    assert outcome.reason == ""


@pytest.mark.parametrize("result", [3, np.int64(3), torch.tensor(3)])
def test_whole_numbers_count_as_numbers(result: Any) -> None:
    assert outcome_of(lambda candidate, run: result).value == 3.0


def test_the_first_entry_of_a_mapping_is_optimised_and_all_are_kept() -> None:
    outcome = outcome_of(lambda candidate, run: {"f1": 0.5, "accuracy": 0.9, "loss": math.inf})
    assert outcome.value == 0.5
    assert dict(outcome.evaluations[0].metrics) == {"f1": 0.5, "accuracy": 0.9, "loss": math.inf}


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ("0.9", "returned str; expected a number"),
        (b"0.9", "returned bytes"),
        (None, "returned NoneType; expected a number"),
        (True, "returned bool"),
        (math.nan, "returned nan"),
        (math.inf, "returned inf"),
        (-math.inf, "returned -inf"),
        (torch.tensor(math.nan), "returned nan"),
        (np.zeros(3), "TypeError"),
        (torch.zeros(3), "Error"),
        ([0.9], "TypeError"),
        (1j, "TypeError"),
        ({}, "returned no number"),
        ({"accuracy": None}, "NoneType"),
        ({"accuracy": "0.9"}, "returned str"),
        ({"accuracy": math.nan, "loss": 1.0}, "returned nan"),
        (object(), "TypeError"),
        (10**400, "OverflowError"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_anything_else_is_a_failure_with_a_reason(result: Any, says: str) -> None:
    outcome = outcome_of(lambda candidate, run: result)
    assert outcome.state is TrialState.FAILED
    assert outcome.value is None
    assert outcome.spread is None
    assert outcome.reason.startswith("seed 1: ")
    assert says in outcome.reason
    assert outcome.evaluations[0].value is None


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("labels start at 1"), "ValueError: labels start at 1"),
        (RuntimeError(), "RuntimeError"),
        (torch.OutOfMemoryError("CUDA out of memory"), "OutOfMemoryError: CUDA out of memory"),
        (ZeroDivisionError("x"), "ZeroDivisionError"),
        (AssertionError("shape"), "AssertionError: shape"),
        (acs.PlacementError("nothing to replace"), "PlacementError: nothing to replace"),
        (StopIteration(), "StopIteration"),
        (UnicodeError("\udc80"), "UnicodeError"),
        (Mute(), "Mute"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_exception_is_a_failure_with_a_reason(error: Exception, says: str) -> None:
    def objective(candidate: Candidate, run: Run) -> float:
        raise error

    outcome = outcome_of(objective)
    assert outcome.state is TrialState.FAILED
    assert says in outcome.reason
    outcome.reason.encode()  # a database takes it


def test_a_user_who_interrupts_is_obeyed() -> None:
    def objective(candidate: Candidate, run: Run) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        outcome_of(objective)


def test_a_script_that_ends_itself_does_not_end_the_search() -> None:
    def objective(candidate: Candidate, run: Run) -> float:
        sys.exit("enough")

    outcome = outcome_of(objective)
    assert outcome.state is TrialState.FAILED
    assert "SystemExit: enough" in outcome.reason


# pruning


@pytest.mark.parametrize(
    ("reports", "value"),
    [([], None), ([(1, 0.3)], 0.3), ([(1, 0.3), (2, 0.1)], 0.1), ([(5, 0.7), (2, 0.1)], 0.7)],
)
def test_a_pruned_trial_keeps_its_last_reported_value(
    reports: list[tuple[int, float]], value: float | None
) -> None:
    def objective(candidate: Candidate, run: Run) -> float:
        for step, reported in reports:
            run.report(step, reported)
        raise TrialPruned("hopeless")

    outcome = outcome_of(objective)
    assert outcome.state is TrialState.PRUNED
    assert outcome.value == value
    assert outcome.reason == "seed 1: hopeless"
    steps = [(epoch.epoch, epoch.valid_metric) for epoch in outcome.evaluations[0].epochs]
    assert steps == sorted(reports)


def test_pruning_without_a_word_has_a_reason_too() -> None:
    def objective(candidate: Candidate, run: Run) -> float:
        raise TrialPruned

    assert outcome_of(objective).reason == "seed 1: pruned by the objective"


@pytest.mark.parametrize("reported", [math.nan, math.inf])
def test_a_last_reported_value_that_is_no_number_is_a_failure(reported: float) -> None:
    def objective(candidate: Candidate, run: Run) -> float:
        run.report(1, reported)
        raise TrialPruned

    outcome = outcome_of(objective)
    assert (outcome.state, outcome.value) == (TrialState.FAILED, None)


def test_nobody_asks_to_prune_by_default() -> None:
    assert outcome_of(lambda candidate, run: float(run.should_prune())).value == 0.0


# seeds


def test_values_are_averaged_over_seeds_and_spread_is_their_standard_deviation() -> None:
    values = {3: 0.2, 5: 0.7, 11: 0.4}
    outcome = outcome_of(lambda candidate, run: values[run.seed], (3, 5, 11))
    assert outcome.value == pytest.approx(statistics.fmean(values.values()))
    assert outcome.spread == pytest.approx(statistics.stdev(values.values()))
    assert [(item.seed, item.value) for item in outcome.evaluations] == list(values.items())


def test_reports_of_a_callable_are_on_their_way_and_no_spread() -> None:
    def objective(candidate: Candidate, run: Run) -> float:
        for step, value in enumerate([9.0, 9.0, 1.0, 2.0, 4.0], start=1):
            run.report(step, value)
        return 4.0

    assert outcome_of(objective).spread is None


def test_with_one_seed_the_spread_of_a_task_is_that_of_its_last_epochs() -> None:
    metrics = [9.0, 9.0, 1.0, 2.0, 4.0]
    epochs = tuple(EpochRecord(n, 1.0, valid_metric=value) for n, value in enumerate(metrics, 1))
    run = SeedRun(EvaluationRecord(0, 4.0, epochs=epochs), TrialState.COMPLETE, False)
    assert aggregate([run], "search", 0.0).spread == pytest.approx(
        statistics.stdev([1.0, 2.0, 4.0])
    )


def test_one_seed_without_reports_has_no_spread() -> None:
    assert outcome_of(lambda candidate, run: 1.0).spread is None


def test_a_failed_seed_fails_the_trial_and_ends_it() -> None:
    seen = []

    def objective(candidate: Candidate, run: Run) -> float:
        seen.append(run.seed)
        if run.seed == 2:
            raise ValueError("bad")
        return 1.0

    outcome = outcome_of(objective, (1, 2, 3))
    assert seen == [1, 2]
    assert (outcome.state, outcome.value) == (TrialState.FAILED, None)
    assert outcome.reason == "seed 2: ValueError: bad"
    assert [item.value for item in outcome.evaluations] == [1.0, None]


def test_seconds_are_measured() -> None:
    outcome = outcome_of(lambda candidate, run: 1.0, (1, 2))
    assert all(item.seconds > 0 for item in outcome.evaluations)
    assert outcome.seconds >= sum(item.seconds for item in outcome.evaluations)


# what an objective is told


@pytest.mark.parametrize(("split", "phase"), [("valid", "search"), ("test", "confirm")])
def test_a_run_tells_seed_number_phase_device_and_budget(split: Any, phase: str) -> None:
    told: list[tuple[Any, ...]] = []

    def objective(candidate: Candidate, run: Run) -> float:
        told.append((run.seed, run.number, run.phase, run.device.type, run.budget))
        return 0.0

    outcome_of(objective, (8, 9), number=17, split=split)
    assert told == [(seed, 17, phase, "cpu", None) for seed in (8, 9)]


def test_a_task_is_given_its_epochs_as_budget() -> None:
    told: list[int | None] = []

    class Told(acs.Task):
        def __call__(self, candidate: Any, run: Any) -> dict[str, float]:
            told.append(run.budget)
            return {"loss": 0.0}

    data = (torch.zeros(4, 2), torch.zeros(4))
    outcome_of(Told(model=nn.ReLU(), train=data, valid=data, loss=nn.MSELoss(), epochs=13))
    assert told == [13]


def looks(candidate: Candidate, run: Run) -> float:
    return 1.0 if run.phase == "confirm" else 0.0


def looks_once(candidate: Candidate, run: Run) -> float:
    return float(run.seed == 1 and run.phase == "confirm")


def blind(candidate: Candidate, run: Run) -> float:
    return 0.5


def fails_blindly(candidate: Candidate, run: Run) -> float:
    raise ValueError


@pytest.mark.parametrize(
    ("objective", "split", "expected"),
    [
        (looks, "test", False),
        (looks_once, "test", False),
        (blind, "test", True),
        (fails_blindly, "test", True),
        (blind, "valid", False),
        (looks, "valid", False),
    ],
)
def test_validation_only_is_an_objective_that_never_asked_for_the_phase(
    objective: Callable[[Candidate, Run], float], split: Any, expected: bool
) -> None:
    assert outcome_of(objective, (1, 2), split=split).validation_only is expected


# candidates


@pytest.mark.parametrize(
    ("what", "hyperparameters", "formula"),
    [
        ("relu", {}, "relu(x)"),
        ("leaky_relu", {"negative_slope": 0.2}, "max(x, 0) + 0.2 * min(x, 0)"),
        ("x*tanh(x)", {}, "x * tanh(x)"),
        (acs.parse("sin(x)"), {}, "sin(x)"),
    ],
)
def test_a_candidate_knows_its_formula(
    what: Any, hyperparameters: dict[str, float], formula: str
) -> None:
    candidate = Candidate.of(what, **hyperparameters)
    assert candidate.formula == formula
    assert candidate.expression == acs.parse(formula)
    assert Candidate.of(candidate) is candidate


def test_a_candidate_makes_a_new_module_each_time() -> None:
    candidate = Candidate.of("swish")
    first, second = candidate.module(), candidate.module()
    assert first is not second
    assert {id(p) for p in first.parameters()}.isdisjoint(id(p) for p in second.parameters())
    x = torch.linspace(-2, 2, 5)
    torch.testing.assert_close(first(x), x * torch.sigmoid(x))


def test_a_module_with_parameters_per_channel_takes_their_number() -> None:
    module = Candidate.of(PER_CHANNEL).module(channels=3)
    assert [tuple(p.shape) for p in module.parameters()] == [(3,)]
    assert module(torch.ones(2, 3, 4, 4)).shape == (2, 3, 4, 4)
    with pytest.raises(acs.ActivationError, match="give channels="):
        Candidate.of(PER_CHANNEL).module()


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))


def test_a_candidate_is_placed_in_a_copy_of_a_model() -> None:
    own, x = model(), torch.randn(5, 3)
    placed = Candidate.of("tanh(x)").place(own).model
    first, last = own.get_submodule("0"), own.get_submodule("2")
    torch.testing.assert_close(placed(x), last(torch.tanh(first(x))))
    assert isinstance(own.get_submodule("1"), nn.ReLU)


def test_the_baseline_leaves_the_model_as_it_is() -> None:
    own, x = model(), torch.randn(5, 3)
    placement = Candidate.baseline().place(own)
    assert placement.model is not own
    assert placement.replaced == ()
    assert repr(placement.model) == repr(own)
    assert torch.equal(placement.model(x), own(x))
    assert (Candidate.baseline().formula, str(Candidate.baseline())) == ("", "the model unchanged")


def test_the_baseline_has_no_module_and_says_what_to_do() -> None:
    with pytest.raises(acs.ActivationError, match=r"candidate\.place\(model\).*baseline='relu'"):
        Candidate.baseline().module()
    outcome = evaluate(
        Candidate.baseline().record, lambda candidate, run: candidate.module()(Tensor()), [1]
    )
    assert "candidate.place(model)" in outcome.reason


def test_a_candidate_of_several_activations_has_no_single_module() -> None:
    record = CandidateRecord({"1": ActivationRecord("tanh(x)"), "3": ActivationRecord("sin(x)")})
    assert Candidate(record).formula == "1: tanh(x); 3: sin(x)"
    with pytest.raises(acs.ActivationError, match=r"several activations: use candidate\.place"):
        Candidate(record).module()


def test_an_objective_gets_the_candidate_under_trial() -> None:
    record = CandidateRecord.shared(ActivationRecord("x * sin(x)", label="wave"))
    seen = []

    def objective(candidate: Candidate, run: Run) -> float:
        seen.append((candidate.formula, str(candidate)))
        return float(candidate.module()(torch.tensor([2.0])))

    outcome = evaluate(record, objective, [1])
    assert seen == [("x * sin(x)", "wave")]
    assert outcome.value == pytest.approx(2 * math.sin(2), rel=1e-6)
