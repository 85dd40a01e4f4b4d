"""Several objectives: what is measured, the front, and everything that shows it."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import optuna
import pytest
import torch
from stack_tasks import task_of

import actsearch as acs
from actsearch.activations import build_expression
from actsearch.cli import main
from actsearch.evaluation import Candidate, Objectives, make_subject
from actsearch.evaluation.subject.of_task import TaskSubject
from actsearch.execution import Job, Work
from actsearch.pareto import front, fronts
from actsearch.report import Reader, pareto_front

Objective = Callable[[acs.Candidate, acs.Run], dict[str, float]]
TWO = ("minimize", "minimize")


def size(candidate: acs.Candidate) -> int:
    return build_expression(candidate.record.activations["*"]).size


@pytest.fixture
def both(distance: Callable[[acs.Candidate, acs.Run], float]) -> Objective:
    """How far from x*tanh(x), and how long a formula."""

    def objective(candidate: acs.Candidate, run: acs.Run) -> dict[str, float]:
        return {"distance": distance(candidate, run), "size": float(size(candidate))}

    return objective


class TestFront:
    @pytest.mark.parametrize(
        ("points", "directions", "expected"),
        [
            ([(1, 5), (2, 4), (3, 3), (2, 5)], ("minimize", "minimize"), [0, 1, 2]),
            ([(1, 5), (2, 4), (3, 3), (2, 5)], ("maximize", "maximize"), [2, 3]),
            ([(1, 5), (2, 4), (3, 3), (2, 5)], ("maximize", "minimize"), [2]),
            ([(1, 1), (1, 1), (2, 1)], ("minimize", "minimize"), [0, 1]),
            ([(3,), (1,), (3,)], ("maximize",), [0, 2]),
            ([], ("maximize", "minimize"), []),
        ],
    )
    def test_by_hand(self, points: Any, directions: Any, expected: list[int]) -> None:
        assert front(points, directions) == expected

    def test_it_is_what_optuna_says(self) -> None:
        generator = torch.Generator().manual_seed(0)
        points = torch.randint(0, 12, (150, 3), generator=generator).double().tolist()
        directions: list[Literal["maximize", "minimize"]] = ["maximize", "minimize", "maximize"]
        study = optuna.create_study(directions=directions)
        study.add_trials([optuna.trial.create_trial(values=point) for point in points])
        assert front(points, directions) == sorted(t.number for t in study.best_trials)

    def test_front_after_front(self) -> None:
        points = [(0, 3), (1, 1), (2, 2), (3, 0), (4, 4)]
        assert fronts(points, TWO, 1) == [0, 1, 3]
        assert fronts(points, TWO, 4) == [0, 1, 3, 2]
        assert fronts(points, TWO, 99) == [0, 1, 3, 2, 4]


NAMES = ("accuracy", "size", "parameters", "sparsity", "gradient_ratio", "latency", "loss", "mae")


def _jobs(*names: str) -> list[Job]:
    return [Job(number, Candidate.of(name).record) for number, name in enumerate(names)]


class TestMeasured:
    @pytest.mark.parametrize("stacked", [False, True], ids=["alone", "stacked"])
    def test_every_objective_of_a_task(self, stacked: bool) -> None:
        names = NAMES[:-1]
        task = task_of("mlp", seeds=2).replace(objectives=names)
        subject = TaskSubject(task)
        work = Work(subject, (1, 2), objectives=Objectives(len(names), names))
        jobs = _jobs("relu", "tanh", "prelu")
        found = work.train(jobs) if stacked else [work.train([job])[0] for job in jobs]
        assert subject.stack_refusal == ""
        relu, tanh, prelu = (dict(zip(names, outcome.values, strict=True)) for outcome in found)
        assert [o.value for o in found] == [o.values[0] for o in found]
        assert (relu["size"], tanh["size"]) == (2, 2)
        assert (relu["parameters"], prelu["parameters"]) == (0, 2)
        assert 0 < relu["sparsity"] < 1
        assert tanh["sparsity"] == 0
        assert 0 < tanh["gradient_ratio"] <= 1
        assert 0.1 < relu["latency"] < 10
        assert relu["loss"] > 0
        assert found[0].evaluations[0].metrics.keys() == set(names)

    def test_a_second_metric_is_measured_like_the_first(self) -> None:
        x = torch.linspace(-1, 1, 40).unsqueeze(1)
        model = lambda: torch.nn.Sequential(  # noqa: E731
            torch.nn.Linear(1, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)
        )
        task = acs.Task(
            model=model, train=(x, x), valid=(x, x * x), loss=torch.nn.functional.mse_loss, metric="mse", epochs=2,
            device="cpu", objectives=("mse", "mae"),
        )  # fmt: skip
        names = ("mse", "mae")
        for asked in (task, task.replace(metric="mae", objectives=("mae", "mse"))):
            objectives = Objectives(2, asked.objectives or ())  # type: ignore[arg-type]
            work = Work(make_subject(asked), (1,), objectives=objectives)
            jobs = _jobs("tanh", "sin")
            alone = [dict(work.train([job])[0].evaluations[0].metrics) for job in jobs]
            together = [dict(o.evaluations[0].metrics) for o in work.train(jobs)]
            assert alone == together
            values = [[item[name] for name in names] for item in alone]
            if asked is task:
                first = values
        assert values == first

    def test_latency_is_measured_outside_of_the_stack(self, monkeypatch: Any) -> None:
        """Never while a stack trains: each candidate's own modules, after it."""
        seen: list[str] = []
        real = torch.vmap

        def vmap(*args: Any, **kwargs: Any) -> Any:
            seen.append("stack")
            return real(*args, **kwargs)

        def timed(sites: Any, device: Any) -> float:
            seen.append("time")
            assert all(shape[0] == 16 for _, shape in sites)
            return 1.0

        monkeypatch.setattr(torch, "vmap", vmap)
        monkeypatch.setattr("actsearch.evaluation.objectives.relative_cost", timed)
        names = ("accuracy", "latency")
        subject = make_subject(task_of("mlp").replace(objectives=names))
        Work(subject, (1,), objectives=Objectives(2, names)).train(_jobs("relu", "tanh"))
        assert seen[-2:] == ["time"] * 2
        assert "time" not in seen[:-2]
        assert "stack" in seen

    @pytest.mark.parametrize(
        ("result", "words"),
        [
            ({"a": 1.0}, "1 values"),
            (1.0, "1 values"),
            ({"a": 1.0, "b": math.nan}, "'b' is nan"),
        ],
    )
    def test_a_callable_that_returns_too_little_has_failed(self, result: Any, words: str) -> None:
        work = Work(make_subject(lambda candidate, run: result), (1,), objectives=Objectives(2))
        (outcome,) = work.train(_jobs("relu"))
        assert outcome.state is acs.TrialState.FAILED
        assert words in outcome.reason

    def test_of_a_mapping_the_named_entries_count(self) -> None:
        subject = make_subject(
            lambda candidate, run: {"other": 9.0, "b": 2.0, "a": float(run.seed)}
        )
        work = Work(subject, (1, 4), objectives=Objectives(2, ("a", "b")))
        (outcome,) = work.train(_jobs("relu"))
        assert outcome.values == (2.5, 2.0)
        assert outcome.value == 2.5


class TestStudy:
    @pytest.mark.parametrize("strategy", ["random", "bayesian", "genetic"])
    def test_a_search_finds_a_front(self, strategy: str, both: Objective, sqlite_url: str) -> None:
        study = acs.create_study(
            study_name="s", storage=sqlite_url, strategy=strategy,
            directions={"distance": "minimize", "size": "minimize"},
        )  # fmt: skip
        study.optimize(both, n_trials=20, show_progress_bar=False)
        best = study.best_trials
        assert best
        for trial in best:
            assert trial.values[0] == trial.value
            assert trial.values[1] == size(trial.candidate)
        optunas = study.optuna_study.best_trials
        assert [t.number for t in best] == [t.user_attrs["number"] for t in optunas]
        for name in ("best_trial", "best_value"):
            with pytest.raises(acs.StudyError, match="use best_trials"):
                getattr(study, name)
        frame = study.trials_dataframe()
        assert frame["values_size"].notna().sum() >= 20
        assert (frame["values_distance"].dropna() == frame["value"].dropna()).all()

    @pytest.mark.parametrize(
        "strategy", ["bayesian", acs.Genetic(first_batch=8, batch=6)], ids=["bayesian", "genetic"]
    )
    def test_resumed_it_makes_the_same_trials(
        self, strategy: str | acs.Genetic, both: Objective, tmp_path: Path
    ) -> None:
        made = []
        for calls in ([24], [7, 11, 6]):
            url = f"sqlite:///{tmp_path}/{len(calls)}.db"
            acs.create_study(
                study_name="s", storage=url, strategy=strategy, directions=TWO, seed=3
            )
            for count in calls:
                study = acs.load_study(study_name="s", storage=url)
                study.optimize(both, n_trials=count, show_progress_bar=False)
            made.append([(t.candidate.formula, t.state, t.values) for t in study.trials])
        short = min(map(len, made))
        assert made[0][:short] == made[1][:short]
        assert sum(bool(t[2]) for t in made[0]) >= 24

    def test_a_task_names_its_objectives_and_their_directions(self) -> None:
        task = task_of("mlp", epochs=1).replace(objectives=("accuracy", "parameters"))
        space = acs.Space(activations=["relu", "prelu", "tanh"])
        strategy = acs.Bayesian(start="catalog")
        study = acs.create_study(study_name="s", space=space, strategy=strategy)
        assert not study.directions
        study.optimize(task, n_trials=3, show_progress_bar=False)
        assert study.directions == ("maximize", "minimize")
        assert study.record.objectives == ("accuracy", "parameters")
        assert {t.values[1] for t in study.trials if t.values} == {0, 2}
        verdict = study.confirm(task, top_k=2, seeds=2, show_progress_bar=False)
        assert [row.number for row in verdict.rows]
        for row in verdict.rows:
            assert row.number is not None
            assert row.others == {"parameters": study.trials[row.number].values[1]}
        assert "parameters" in str(verdict)
        assert str(study.verdicts[0]) == str(verdict)

    def test_that_time_is_measured_is_said_once(self, caplog: pytest.LogCaptureFixture) -> None:
        task = task_of("mlp", epochs=1).replace(objectives=("accuracy", "latency"))
        space = acs.Space(activations=["relu", "tanh", "sin"])
        study = acs.create_study(study_name="s", space=space)
        with caplog.at_level(logging.WARNING, "actsearch"):
            study.optimize(task, n_trials=2, show_progress_bar=False)
            study.optimize(task, n_trials=1, show_progress_bar=False)
        assert sum("measures time" in record.message for record in caplog.records) == 1
        assert all(t.values[1] > 0 for t in study.trials if t.values)  # type: ignore[operator]

    def test_ways_out_show_all_values(
        self, both: Objective, sqlite_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        study = acs.create_study(
            study_name="s", storage=sqlite_url, directions=dict(zip(("distance", "size"), TWO, strict=True))
        )  # fmt: skip
        study.optimize(both, n_trials=12, show_progress_bar=False)
        assert main(["show", "s", "--storage", sqlite_url]) == 0
        shown = capsys.readouterr().out
        assert f"Pareto front ({len(study.best_trials)}): distance, size" in shown
        assert main(["list", "--storage", sqlite_url]) == 0
        assert "2 objectives" in capsys.readouterr().out
        target = tmp_path / "t.csv"
        assert main(["export", "s", "--storage", sqlite_url, "--to-csv", str(target)]) == 0
        rows = list(csv.DictReader(target.read_text("utf-8").splitlines()))
        assert float(rows[0]["values_size"]) == study.trials[0].values[1]
        assert (
            main(["export", "s", "--storage", sqlite_url, "--to-optuna", f"{tmp_path}/o.db"]) == 0
        )
        opened = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path}/o.db")
        assert opened.directions == [optuna.study.StudyDirection.MINIMIZE] * 2
        ours = {t.number for t in study.best_trials}
        assert {t.user_attrs["number"] for t in opened.best_trials} == ours
        reader = Reader(sqlite_url)
        record = reader.study("s")
        on_front = pareto_front(reader.trials(record), record.directions)
        assert {t.number for t in on_front} >= ours

    @pytest.mark.slow
    def test_in_child_processes_as_here(self) -> None:
        task = task_of("mlp", epochs=1).replace(objectives=("accuracy", "size", "sparsity"))
        space = acs.Space(activations=["relu", "tanh", "sin", "silu"])
        made = []
        for executor in (acs.Local(batch=1), acs.Processes(1)):
            study = acs.create_study(
                study_name="s", space=space, directions=("maximize", "minimize", "maximize")
            )
            study.optimize(task, n_trials=4, executor=executor, show_progress_bar=False)
            made.append([(t.candidate.label, t.values) for t in study.trials])
        assert made[0] == made[1]


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"directions": ("maximize", "up")}, "directions must be"),
            ({"directions": "maximize"}, "directions must be"),
            ({"directions": ()}, "directions must be"),
            ({"directions": 2}, "directions must be"),
            ({"directions": TWO, "direction": "minimize"}, "not both"),
            (
                {"directions": TWO, "pruner": acs.SuccessiveHalving()},
                "a pruner compares one value",
            ),
        ],
    )
    def test_directions(self, arguments: Any, words: str) -> None:
        with pytest.raises(acs.StudyError, match=words):
            acs.create_study(study_name="s", **arguments)

    @pytest.mark.parametrize(
        ("objectives", "words"),
        [
            (("accuracy", "speed"), "unknown objective 'speed'"),
            (("accuracy", "latencie"), "latency"),
            (("accuracy", "accuracy"), "twice"),
            (("latency", "accuracy"), "first objective"),
            ("accuracy", "must be names"),
            ((), "must be names"),
            (("accuracy", 3), "unknown objective 3"),
        ],
    )
    def test_names(self, objectives: Any, words: str) -> None:
        with pytest.raises(acs.TaskError, match=words):
            task_of("mlp").replace(objectives=objectives)

    @pytest.mark.parametrize("name", ["sparsity", "parameters"])
    def test_what_is_diagnosed_needs_diagnostics(self, name: str) -> None:
        with pytest.raises(acs.TaskError, match="leave them on"):
            task_of("mlp").replace(objectives=("accuracy", name), diagnostics=False)

    @pytest.mark.parametrize(
        ("given", "objectives", "words"),
        [
            ({"directions": ("maximize", "minimize")}, ("accuracy", "size", "latency"), "2 directions .* 3 objectives"),
            ({"directions": ("maximize", "minimize")}, None, "2 directions .* 1 objective"),
            ({"direction": "maximize"}, ("accuracy", "size"), "1 direction .* 2 objectives"),
            ({"directions": ("maximize", "maximize")}, ("accuracy", "size"), "would maximize size"),
            ({"directions": ("minimize", "minimize")}, ("accuracy", "size"), "would minimize accuracy"),
            ({"directions": {"accuracy": "maximize", "r2": "minimize"}}, ("accuracy", "size"), "task accuracy, size"),
            ({}, ("accuracy", "sparsity"), "the direction of sparsity is not set"),
            ({"pruner": acs.SuccessiveHalving()}, ("accuracy", "size"), "a pruner compares one value"),
        ],
    )  # fmt: skip
    def test_study_and_task_that_do_not_fit(self, given: Any, objectives: Any, words: str) -> None:
        study = acs.create_study(study_name="s", **given)
        with pytest.raises(acs.StudyError, match=words):
            study.optimize(task_of("mlp").replace(objectives=objectives), n_trials=1)
        assert study.trials == []

    def test_other_directions_than_the_stored_ones(self, sqlite_url: str) -> None:
        acs.create_study(study_name="s", storage=sqlite_url, directions=TWO)
        again: dict[str, Any] = {"study_name": "s", "storage": sqlite_url, "load_if_exists": True}
        assert acs.create_study(**again).directions == TWO
        assert acs.create_study(**again, directions=TWO).directions == TWO
        for other in (("minimize", "maximize"), ("minimize",)):
            with pytest.raises(acs.StudyError, match="directions"):
                acs.create_study(**again, directions=other)
        with pytest.raises(acs.StudyError, match="direction"):
            acs.create_study(**again, direction="minimize")


class TestCost:
    def test_it_is_measured_beside_relu(self) -> None:
        found = acs.cost("relu", (64, 64))
        assert 0.2 < found.ratio < 5
        assert "times ReLU" in str(found)

    def test_a_long_formula_takes_longer(self) -> None:
        slow = "tanh(sin(tanh(sin(tanh(x))))) * sigmoid(sin(tanh(x)))"
        assert acs.cost(slow, (64, 256)).ratio > acs.cost("relu", (64, 256)).ratio

    def test_of_numbers_per_channel(self) -> None:
        assert acs.cost('x * param(1.0, per="channel")', (8, 3, 4, 4)).seconds > 0

    @pytest.mark.parametrize("shape", [(), (0, 3), (2.5,), (True, 2)])
    def test_shapes_that_are_none(self, shape: Any) -> None:
        with pytest.raises(acs.ActivationError, match="positive integers"):
            acs.cost("relu", shape)

    def test_it_leaves_the_global_random_state_alone(self) -> None:
        before = torch.get_rng_state()
        acs.cost("tanh", (4, 4))
        assert torch.equal(before, torch.get_rng_state())
