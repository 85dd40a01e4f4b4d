"""Trials that are given up early: who, where, and what that costs."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import optuna
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import actsearch as acs
from actsearch.evaluation import Candidate, Pruner, Request, make_subject
from actsearch.evaluation.pruner import BatchPruner
from actsearch.evaluation.stacked import Stacker, Training
from actsearch.evaluation.subject.of_task import TaskSubject
from actsearch.evaluation.task_analysis import TaskAnalysis
from actsearch.halving import Competition, SuccessiveHalving
from actsearch.records import CandidateRecord, Outcome, TrialState
from actsearch.report import Pruning
from actsearch.seeds import derive
from actsearch.training.stack import ExitRule, fit_together
from actsearch.training.stack.stacked_run import StackedRun

HALVING = SuccessiveHalving(1, 2)
WHERE_IT_TELLS = SuccessiveHalving(1, 2, min_correlation=0.2)
SPACE = acs.Space(activations=["leaky_relu", "tanh", "sin", "elu", "swish", "prelu", "softplus"])


def _model() -> nn.Module:
    return nn.Sequential(
        nn.Linear(4, 16),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(16, 16),
        nn.ReLU(),
        nn.Linear(16, 3),
    )


def _task(**changes: Any) -> acs.Task:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(120, 4, generator=generator)
    y = (x[:, 0] * x[:, 1] + x[:, 2] > 0).long() + (x[:, 3] > 1).long()
    settings: dict[str, Any] = {
        "model": _model, "train": (x[:80], y[:80]), "valid": (x[80:], y[80:]), "loss": F.cross_entropy,
        "metric": "loss", "epochs": 5, "batch_size": 20, "lr": 1e-2, "device": "cpu", "tune_lr": False,
    }  # fmt: skip
    return acs.Task(**(settings | changes))


def _study(**settings: Any) -> acs.Study:
    given: dict[str, Any] = {
        "study_name": "s",
        "pruner": HALVING,
        "strategy": "random",
        "space": SPACE,
    }
    return acs.create_study(**(given | settings))


def _run(study: acs.Study, objective: Any, n_trials: int | None = None, **how: Any) -> None:
    study.optimize(objective, n_trials, show_progress_bar=False, **how)


def _rows(study: acs.Study) -> list[Any]:
    """All that is stored of the trials but times."""
    rows = []
    for trial in study._storage.trials(study.record.id, epochs=True):
        evaluations = [
            dataclasses.replace(
                item,
                seconds=0.0,
                epochs=tuple(
                    # the sum of losses over a stack's batches is taken in another order
                    dataclasses.replace(epoch, seconds=0.0, train_loss=None, train_metric=None)
                    for epoch in item.epochs
                ),
            )
            for item in trial.evaluations
        ]
        rows.append((
            trial.number, trial.state, trial.candidate, trial.value, trial.spread, trial.reason,
            trial.duplicate_of, dict(trial.user_attrs), evaluations,
        ))  # fmt: skip
    return rows


def _states(study: acs.Study) -> Counter[str]:
    return Counter(trial.state.name for trial in study.trials)


# who goes on


def _optuna_ends(
    curves: Sequence[Sequence[float]],
    direction: Literal["maximize", "minimize"],
    pruner: SuccessiveHalving,
) -> list[int | None]:
    """Where Optuna's own pruner ends each curve."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction=direction,
        pruner=optuna.pruners.SuccessiveHalvingPruner(**pruner.describe()["settings"]),
    )
    found: list[int | None] = []
    for curve in curves:
        trial = study.ask()
        end = None
        for step, value in enumerate(curve, start=1):
            trial.report(value, step)
            if trial.should_prune():
                end = step
                break
        study.tell(
            trial,
            state=optuna.trial.TrialState.PRUNED if end else None,
            values=None if end else curve[-1],
        )
        found.append(end)
    return found


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize(
    "pruner",
    [HALVING, SuccessiveHalving(), SuccessiveHalving(3, 3), SuccessiveHalving(1, 2, 2)],
    ids=repr,
)
def test_it_decides_as_optuna_does(
    direction: Literal["maximize", "minimize"], pruner: SuccessiveHalving
) -> None:
    draw = random.Random(1)
    # rounded: ties
    curves = [[round(draw.random(), 1) for _ in range(18)] for _ in range(150)]
    curves[40][:4] = [float("nan")] * 4
    curves[41][2] = float("inf")
    competition = Competition(pruner, direction, 0)
    competition.is_exempt = lambda number: False  # type: ignore[method-assign]
    ends = []
    for number, curve in enumerate(curves):
        tracker = competition.track(number)
        tracker.read(enumerate(curve, start=1))
        competition.enter(tracker)
        ends.append(tracker.pruned_at)
    assert ends == _optuna_ends(curves, direction, pruner)
    assert len(set(ends)) >= 3


@pytest.mark.parametrize(
    "settings",
    [
        {"min_resource": 0},
        {"min_resource": 1.0},
        {"min_resource": "auto"},
        {"reduction_factor": 1},
        {"reduction_factor": True},
        {"min_early_stopping_rate": -1},
    ],
)
def test_settings_that_are_none_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(acs.StudyError, match=next(iter(settings))):
        acs.SuccessiveHalving(**settings)


def test_only_a_pruner_is_one() -> None:
    with pytest.raises(acs.StudyError, match="SuccessiveHalving"):
        _study(pruner="median")


def _decide(curves: Sequence[Sequence[float]], pruner: SuccessiveHalving) -> list[int | None]:
    """Where each curve is ended; none is exempt."""
    competition = Competition(pruner, "maximize", 0, len(curves[0]))
    found = []
    for number, curve in enumerate(curves):
        tracker = competition.track(_number_that_is_not_exempt(competition, number))
        tracker.read(list(enumerate(curve, start=1)))
        competition.enter(tracker)
        found.append(tracker.pruned_at)
    return found


def _number_that_is_not_exempt(competition: Competition, number: int) -> int:
    return next(n for n in range(1000 * number, 10**6) if not competition.is_exempt(n))


def test_where_early_values_tell_the_final_ones_it_begins_after_eight_trials() -> None:
    """At epoch 1 the order is the reverse of the final one, at epoch 2 it is the same."""
    draw = random.Random(0)
    finals = [draw.random() for _ in range(40)]
    curves = [[-final, final, 0.1, final] for final in finals]
    ends = _decide(curves, SuccessiveHalving(1, 2, min_correlation=0.9))
    assert set(ends[:8]) == {None}
    assert set(ends[8:]) == {None, 2}
    entered = sorted(finals[:8])
    for final, end in zip(finals[8:], ends[8:], strict=True):
        above = sum(other > final for other in entered)
        assert (end is None) == (above < max(1, (len(entered) + 1) // 2))
        entered = sorted([*entered, final])


def test_where_they_do_not_nothing_is_pruned() -> None:
    draw = random.Random(0)
    curves = [[draw.random(), draw.random(), draw.random(), 0.5] for _ in range(40)]
    assert set(_decide(curves, SuccessiveHalving(1, 2, min_correlation=0.0))) == {
        None
    }  # all equal
    curves = [[*curve[:3], -sum(curve[:3])] for curve in curves]
    assert set(_decide(curves, SuccessiveHalving(1, 2, min_correlation=0.5))) == {None}


@pytest.mark.parametrize("correlation", ["high", 1.1, -2, float("nan")])
def test_a_correlation_that_is_none_is_refused(correlation: Any) -> None:
    with pytest.raises(acs.StudyError, match="min_correlation"):
        SuccessiveHalving(min_correlation=correlation)


def test_of_a_function_whose_end_is_not_known_nothing_is_pruned() -> None:
    def objective(candidate: Candidate, run: Any) -> float:
        for step in (1, 2, 3, 4):
            run.report(step, float(run.number))
            assert not run.should_prune()
        return float(run.number)

    study = _study(direction="minimize", pruner=WHERE_IT_TELLS)
    _run(study, objective, 20)
    assert _states(study)["COMPLETE"] == 20
    assert _states(study)["PRUNED"] == 0


@pytest.mark.parametrize(
    ("steps", "eval_every"),
    [(25, 3), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((25, 10), (27, 3)))],
)
def test_a_training_ends_where_its_steps_do(steps: int, eval_every: int) -> None:
    pruner = SuccessiveHalving(1, 2, min_correlation=-1)
    study = _study(pruner=pruner, direction="minimize")
    _run(study, _task(epochs=1, steps=steps, eval_every=eval_every), 30)
    pruned = [trial for trial in study.trials if trial.state is TrialState.PRUNED]
    assert pruned
    for trial in pruned:
        step = int(trial.record.reason.split("step ")[1].split(":")[0])
        assert trial.user_attrs["trainings"] == pytest.approx(step / steps, abs=1e-3)


def test_over_several_objectives_of_a_task_it_has_no_say() -> None:
    study = acs.create_study(study_name="s")
    _run(study, _task(objectives=["loss", "parameters"]), 12)
    assert _states(study)["PRUNED"] == 0


def test_the_default_strategy_prunes_a_task_by_default_where_that_pays() -> None:
    def pruner(**settings: Any) -> Any:
        return acs.create_study(study_name="s", **settings).record.pruner

    assert pruner() == SuccessiveHalving(1, 3, min_correlation=0.7).describe()
    for settings in (
        {"pruner": None}, {"strategy": "bayesian"}, {"strategy": acs.Auto(shapes=1)},
        {"directions": ["minimize", "minimize"]},
    ):  # fmt: skip
        assert pruner(**settings) is None
    with pytest.raises(acs.StudyError, match='pruner must be .*, "auto" or None'):
        pruner(pruner="median")


# the same whoever shares the pass


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["random", "genetic"])
@pytest.mark.parametrize(("seeds", "pruner"), [(1, HALVING), (2, HALVING), (1, WHERE_IT_TELLS)])
def test_decisions_do_not_depend_on_the_batch(
    strategy: str, seeds: int, pruner: SuccessiveHalving
) -> None:
    task = _task(seeds=seeds)
    studies = []
    for executor in (acs.Local(batch=1), acs.Local(batch=5), acs.Local(batch=40), None):
        studies.append(_study(strategy=strategy, pruner=pruner))
        _run(studies[-1], task, 48 if pruner is WHERE_IT_TELLS else 36, executor=executor)
    expected = _rows(studies[0])
    for study in studies[1:]:
        assert _rows(study) == expected
    states = _states(studies[0])
    assert states["PRUNED"] >= 10
    assert states["COMPLETE"] >= 4


@pytest.mark.slow
@pytest.mark.parametrize("pruner", [HALVING, WHERE_IT_TELLS])
@pytest.mark.parametrize("batch", [1, 4])
def test_decisions_do_not_depend_on_child_processes(batch: int, pruner: SuccessiveHalving) -> None:
    alone, apart = _study(pruner=pruner), _study(pruner=pruner)
    _run(alone, _task(), 32, executor=acs.Local(1))
    _run(apart, _task(), 32, executor=acs.Processes(2, batch=batch))
    assert _states(alone)["PRUNED"] >= 3
    assert _rows(apart) == _rows(alone)


def test_child_processes_leave_objectives_that_ask_to_this_one() -> None:
    with pytest.raises(acs.StudyError, match=r"use acs\.Local"):
        _run(_study(direction="minimize"), lambda c, r: 1.0, 4, executor=acs.Processes(2))


@pytest.mark.slow
@pytest.mark.parametrize("pruner", [HALVING, WHERE_IT_TELLS])
@pytest.mark.parametrize("batch", [1, 7])
def test_what_was_interrupted_goes_on_as_if_it_had_not_been(
    batch: int, pruner: SuccessiveHalving, sqlite_url: str
) -> None:
    task, executor = _task(), acs.Local(batch=batch)
    whole = _study(pruner=pruner)
    _run(whole, task, 100, executor=executor)
    for _ in range(2):
        part = _study(storage=sqlite_url, load_if_exists=True, pruner=pruner)
        _run(part, task, 50, executor=executor)
    assert _rows(part) == _rows(whole)
    assert _states(whole)["PRUNED"] >= 40


def test_a_batch_that_is_cut_off_is_trained_again(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, executor = _task(), acs.Local(batch=6)
    whole = _study()
    _run(whole, task, 14, executor=executor)
    part = _study(storage=sqlite_url)
    epoch, calls = StackedRun.train_to, iter(range(10**9))

    def cut_off(self: StackedRun, number: int) -> None:
        if next(calls) == 6:
            raise KeyboardInterrupt
        epoch(self, number)

    monkeypatch.setattr(StackedRun, "train_to", cut_off)
    with pytest.raises(KeyboardInterrupt):
        _run(part, task, total_trials=14, executor=executor)
    _run(part, task, total_trials=14, executor=executor)
    assert _rows(part) == _rows(whole)


MIXED = (
    "sin", "maxout", "exp(exp(exp(x + 3)))", "tanh", "prelu", "relu", "maxout", "elu", "softplus",
    "abs(x)", "cos", "x*tanh(x)", "gelu", "leaky_relu", "silu", "square(x)", "swish", "softsign",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("largest", "threads"), [(128, 1), (7, 1), (128, 2)])
def test_with_several_stacks_and_some_alone_it_is_as_one_by_one(
    largest: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trial 7 may be trained before trial 5 is: nothing of that shows."""
    task = _task(seeds=2, epochs=9)
    asked = [Request(Candidate.of(n).record, (1, 2), i) for i, n in enumerate(MIXED)]
    subject, pruner = TaskSubject(task), _pruner(task)
    one_by_one = [subject.train([request], pruner)[0] for request in asked]
    alone: list[list[int]] = []

    def noted(self: TaskSubject, request: Request, pruner: Any) -> Outcome:
        alone[-1].append(request.number)
        return train(self, request, pruner)

    train = TaskSubject._train_alone
    monkeypatch.setattr(TaskSubject, "_train_alone", noted)
    for prunes in (False, True):
        alone.append([])
        torch.set_num_threads(threads)
        try:
            own = _pruner(task) if prunes else None
            together = subject.train(asked, own, largest_stack=largest)
        finally:
            torch.set_num_threads(1)
        assert not subject.stack_refusal
    assert alone[0] == alone[1]  # nobody left a stack too early
    assert [_decided(item) for item in together] == [_decided(item) for item in one_by_one]
    assert {item.state for item in together} == {
        TrialState.PRUNED, TrialState.COMPLETE, TrialState.FAILED,
    }  # fmt: skip


def _pruner(task: acs.Task) -> Pruner:
    return Pruner(Competition(HALVING, "minimize", 0, task.epochs))


def _decided(outcome: Outcome) -> Any:
    epochs = [len(item.epochs) for item in outcome.evaluations]
    return outcome.state, outcome.value, outcome.reason, dict(outcome.user_attrs), epochs


def test_who_may_yet_be_among_the_best_stays() -> None:
    competition = Competition(HALVING, "minimize", 0)
    competition.is_exempt = lambda number: False  # type: ignore[method-assign]
    pruner = BatchPruner(competition, range(4))
    pruner.record_rung(1, {2: 0.5, 3: 0.7})
    assert pruner.pruned == set()  # if 0 and 1 are worse, 3 is the second of four
    pruner.record_rung(1, {0: 0.6})
    pruner.record_rung(1, {1: None})
    pruner = BatchPruner(competition, range(4))
    pruner.record_rung(1, {0: 0.5, 1: 0.6, 2: 0.4, 3: 0.55})
    assert pruner.pruned == {1, 3}


def test_pruned_members_leave_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is pruned costs nothing more."""
    rows = []
    train = StackedRun._train_pass

    def counted(self: StackedRun, epoch: int) -> Any:
        rows.append(self.model.count)
        return train(self, epoch)

    monkeypatch.setattr(StackedRun, "_train_pass", counted)
    study = _study(pruner=SuccessiveHalving(1, 4))
    study.optimize(_task(), 20, executor=acs.Local(batch=20), show_progress_bar=False)
    assert rows[0] >= 10
    assert max(rows[1:5]) <= rows[0] / 2


@pytest.mark.parametrize(
    "optimizer",
    [
        "Adam",
        *(pytest.param(o, marks=pytest.mark.slow) for o in ("SGD", "RMSprop", "NAdam", "Adagrad")),
    ],
)
def test_those_who_stay_are_as_without_the_others(optimizer: str) -> None:
    """Also their optimiser, learned numbers and running statistics, after most have left."""

    def model() -> nn.Module:
        return nn.Sequential(
            nn.Linear(4, 16, bias=False),  # Adam would make full steps of a bias's rounding errors
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(16, 3),
        )

    def make(parameters: Any, lr: float) -> torch.optim.Optimizer:
        more = {"momentum": 0.9} if optimizer == "SGD" else {}
        found: torch.optim.Optimizer = getattr(torch.optim, optimizer)(parameters, lr=lr, **more)
        return found

    task = _task(model=model, optimizer=make, epochs=6, schedule="cosine", clip_grad_norm=1.0)
    names = [
        "prelu",
        "sin",
        'param(1.0, per="channel") * tanh(x)',
        "rrelu",
        "relu",
        "relu",
        "swish",
        "elu",
    ]

    stacker = Stacker(TaskAnalysis(task))

    def members() -> list[Any]:
        return [stacker.member(Training(_record(name), 1, task.lr)) for name in names]

    free = fit_together(task, members(), side_by_side=1)
    for stay in ([2, 3, 6], [1, 4, 7], [5]):
        gone = [index for index in range(len(names)) if index not in stay]
        exit_rule = ExitRule(frozenset([2]), functools.partial(_given, gone))
        found = fit_together(task, members(), side_by_side=1, exit_rule=exit_rule)
        assert [len(item.epochs) for item in found] == [6 if i in stay else 2 for i in range(8)]
        for index in stay:
            for x, y in zip(found[index].epochs, free[index].epochs, strict=True):
                assert x.valid_loss == pytest.approx(y.valid_loss, rel=2e-5)


def _given(gone: list[int], epoch: int, values: Any) -> list[int]:
    return gone


def _record(name: str) -> CandidateRecord:
    return Candidate.of(name).record


# what is stored


def test_a_pruned_trial_has_the_value_at_the_rung_and_says_why() -> None:
    study = _study(pruner=SuccessiveHalving(2, 2))
    _run(study, _task(seeds=2), 10)
    pruned = [t for t in study._trials(epochs=True) if t.state is TrialState.PRUNED]
    assert pruned
    for trial in pruned:
        (evaluation,) = trial.evaluations
        last = evaluation.epochs[-1]
        assert last.epoch in (2, 4)
        assert trial.value == evaluation.value == last.valid_metric
        assert trial.reason.startswith(f"pruned at epoch {last.epoch}: {trial.value:.6g} is not ")
        assert trial.reason.endswith(" at that rung")
        assert last.train_loss is not None
    assert study.best_trial.state is TrialState.COMPLETE


def test_the_reason_reads_well() -> None:
    competition = Competition(SuccessiveHalving(4), "maximize", 0, 100)
    competition.is_exempt = lambda number: False  # type: ignore[method-assign]
    reasons = []
    for number in range(12):
        tracker = competition.track(number)
        tracker.report(4, 0.9 - number / 100)
        competition.enter(tracker)
        reasons.append(tracker.reason)
    assert reasons[0] == ""
    assert reasons[2] == "pruned at epoch 4: 0.88 is not the best of 3 at that rung"
    assert reasons[11] == (
        "pruned at epoch 4: 0.79 is not among the best quarter of 12 at that rung"
    )


def test_without_a_pruner_nothing_is_pruned() -> None:
    study = _study(pruner=None)
    _run(study, _task(), 12)
    assert _states(study)["PRUNED"] == 0
    assert study.pruning is None


def test_one_in_ten_runs_to_its_end_all_the_same() -> None:
    study, task = _study(), _task(epochs=3)
    _run(study, task, 32)
    spared = [t for t in study.trials if "spared_at_epoch" in t.user_attrs]
    pruned = [t for t in study.trials if t.state is TrialState.PRUNED]
    assert 1 <= len(spared) <= 8
    for trial in spared:
        assert derive(0, "spared", trial.number) % 10 == 0
        assert trial.state is TrialState.COMPLETE
        assert trial.user_attrs["spared_at_epoch"] in (1, 2)
    assert all(derive(0, "spared", trial.number) % 10 for trial in pruned)
    stored = acs.Study(study._storage, study.record).trials
    assert [t.user_attrs for t in stored] == [t.user_attrs for t in study.trials]


def test_sparing_changes_no_other_decision() -> None:
    draw = random.Random(3)
    curves = [[draw.random() for _ in range(16)] for _ in range(200)]
    ends = []
    for spares in (True, False):
        competition = Competition(HALVING, "minimize", 0)
        if not spares:
            competition.is_exempt = lambda number: False  # type: ignore[method-assign]
        trackers = []
        for number, curve in enumerate(curves):
            trackers.append(competition.track(number))
            trackers[-1].read(enumerate(curve, start=1))
            competition.enter(trackers[-1])
        ends.append([tracker.pruned_at or tracker.exempt_at for tracker in trackers])
        assert any(tracker.exempt_at for tracker in trackers) is spares
    assert ends[0] == ends[1]


def test_the_last_epoch_is_no_rung() -> None:
    """There is nothing to save."""
    study = _study(pruner=SuccessiveHalving(5, 2))
    _run(study, _task(epochs=5), 12)
    assert _states(study)["PRUNED"] == 0


# objectives of the user's own


@pytest.mark.parametrize("parts", [(30,), (11, 19)])
def test_an_objective_that_asks_is_told_by_the_same_rule(
    parts: Sequence[int], sqlite_url: str
) -> None:
    def curve(number: int) -> list[float]:
        draw = random.Random(number)
        return [draw.random() for _ in range(9)]

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        for step, value in enumerate(curve(run.number), start=1):
            run.report(step, value)
            if run.should_prune():
                raise acs.TrialPruned
        return value

    for count in parts:
        study = _study(storage=sqlite_url, load_if_exists=True, direction="minimize")
        _run(study, objective, count)
    competition = Competition(HALVING, "minimize", 0)
    trained = [t for t in study.trials if t.state.is_trained]
    for trial in trained:
        tracker = competition.track(trial.number)
        tracker.read(enumerate(curve(trial.number), start=1))
        competition.enter(tracker)
        assert (trial.state is TrialState.PRUNED) == (tracker.pruned_at is not None)
        assert trial.reason == tracker.reason
        assert trial.user_attrs.get("spared_at_epoch") == tracker.exempt_at
    assert len(trained) == 30
    assert _states(study)["PRUNED"] >= 10


def test_an_objective_that_trains_a_task_is_pruned_in_it() -> None:
    task = _task()
    decided = []
    for objective in (task, lambda candidate, run: run.train(task, candidate)):
        subject = make_subject(objective)
        pruner = Pruner(Competition(HALVING, "minimize", 0, None))
        asked = [Request(Candidate.of(n).record, (1,), i) for i, n in enumerate(MIXED)]
        decided.append([_decided(subject.train([item], pruner)[0]) for item in asked])
    assert decided[0] == decided[1]
    assert TrialState.PRUNED in [state for state, *_ in decided[0]]


# what it costs


def test_the_account_is_one_readable_sentence() -> None:
    study = _study()
    task = _task(seeds=2)
    _run(study, task, 18)
    account = study.pruning
    assert account is not None
    states = _states(study)
    assert account.pruned == states["PRUNED"]
    assert account.compared == states["COMPLETE"]
    trials = [t for t in study._trials(epochs=True) if t.state.name in ("PRUNED", "COMPLETE")]
    trained = sum(len(e.epochs) for t in trials for e in t.evaluations)
    assert account.saved == pytest.approx(1 - trained / (10 * len(trials)))
    assert account.rank_correlation is not None
    assert -1 <= account.rank_correlation <= 1
    text = str(account)
    assert f"{account.pruned} trials pruned, {account.exempt} exempt, {account.saved:.0%}" in text
    assert f"over {account.compared} trials." in text


def test_with_few_trials_the_account_says_so() -> None:
    study = _study()
    empty = study.pruning
    assert empty == Pruning(0, 0, 0.0, 1, None, 0)
    assert "too few" in str(empty)
    _run(study, _task(), 1)
    assert study.pruning is not None
    assert study.pruning.rank_correlation is None


def test_confirm_trains_everyone_to_the_end() -> None:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(40, 4, generator=generator)
    task = _task(test=(x, (x[:, 0] > 0).long()), epochs=2)
    study = _study()
    _run(study, task, 8)
    assert _states(study)["PRUNED"]
    verdict = study.confirm(task, top_k=1, seeds=2, show_progress_bar=False)
    assert verdict.rows


# kept with the study


def test_the_pruner_is_stored_and_another_one_refused(sqlite_url: str) -> None:
    made = _study(storage=sqlite_url)
    again = acs.load_study(study_name="s", storage=sqlite_url)
    assert again.record == made.record
    assert SuccessiveHalving.from_json(again.record.pruner or {}) == HALVING
    assert _study(storage=sqlite_url, load_if_exists=True).record == made.record
    assert _study(storage=sqlite_url, load_if_exists=True, pruner=None).record == made.record
    with pytest.raises(acs.StudyError, match=r"pruner settings: .*4.*, stored .*2"):
        _study(storage=sqlite_url, load_if_exists=True, pruner=acs.SuccessiveHalving())


@pytest.mark.parametrize(
    "settings", [{"reduction_factor": 4, "speed": 1}, "fast", None, {"min_resource": "1"}]
)
def test_stored_settings_that_are_not_its_own_are_refused(settings: object) -> None:
    with pytest.raises(acs.StudyError, match="reduction_factor|min_resource"):
        SuccessiveHalving.from_json({"name": "successive_halving", "settings": settings})


def test_a_study_without_a_pruner_gets_none_later(sqlite_url: str) -> None:
    _study(storage=sqlite_url, pruner=None)
    with pytest.raises(acs.StudyError, match="pruner name: 'successive_halving', stored None"):
        _study(storage=sqlite_url, load_if_exists=True)


@pytest.mark.parametrize(
    "setting", ["min_resource", "reduction_factor", "min_early_stopping_rate"]
)
def test_a_setting_beyond_every_training_is_refused(setting: str) -> None:
    """As another program may have stored it: the power of such numbers is never computed to its end."""
    settings: dict[str, int] = {setting: 10**18}
    with pytest.raises(acs.StudyError, match=f"{setting} must be an integer from"):
        SuccessiveHalving(**settings)
