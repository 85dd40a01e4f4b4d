"""Every script in studies/ runs, and running it again adds nothing. A new script is found by itself."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from setups.packages import PackageMissing
from timm_without_its_kernels import mend_torchvision

import actsearch as acs
from actsearch.evaluation import Request, make_subject
from actsearch.records import Outcome, TrialState
from actsearch.report import Reader

STUDIES = Path(__file__).parents[2] / "studies"
PICTURE = STUDIES / "found_functions.py"
"""It draws what the others have found."""
SCRIPTS = sorted(set(STUDIES.glob("*.py")) - {PICTURE})
LIBRARIES = {"lightning_module": "lightning", "skorch_net": "skorch"}
"""What a study needs besides actsearch's own requirements."""
WITHOUT_VERDICT = ("activation_benchmark",)
"""They measure for others and decide nothing."""
FIELDS = (
    "cart_pole", "gan", "implicit_image", "language_model", "nsad_bench", "physics", "published_claims", "regression",
    "sentiment", "speech", "spelling_to_sound",
)  # fmt: skip
"""Of each field one, and the claims: their small runs belong to the gate."""
MEASURING = ("nsad-phoneme", "cars-r2")
"""Studies, of scripts that decide, which only measure."""


def load(script: Path) -> ModuleType:
    if (library := LIBRARIES.get(script.stem)) is not None:
        mend_torchvision()
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed: {script.name} says how")
    spec = importlib.util.spec_from_file_location(f"study_{script.stem}", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there for what annotations mean
    spec.loader.exec_module(module)
    return module


def contents(url: str) -> list[tuple[str, list[object], int]]:
    reader = Reader(url)
    return [
        (
            study.name,
            [(trial.number, trial.state, trial.value) for trial in reader.trials(study)],
            len(reader.verdicts(study)),
        )
        for study in reader.studies()
    ]


def test_there_is_a_study() -> None:
    assert SCRIPTS


def test_what_was_found_is_drawn_for_each_field_that_has_a_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'actsearch.db'}"
    picture = load(PICTURE)
    study = acs.create_study(
        study_name="speech", storage=url, strategy="random", direction="maximize"
    )
    acs.create_study(study_name="sentiment", storage=url)
    with pytest.raises(SystemExit, match="no verdict of these studies yet"):
        picture.main(url)

    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        return 10.0 * ("sin" in candidate.formula) + run.seed % 3

    study.enqueue_trial("sin(2.5 * x)")
    study.enqueue_trial("relu")
    study.optimize(objective, n_trials=2, show_progress_bar=False)
    study.confirm(objective, baseline="sin(2 * x)", seeds=10)
    with pytest.raises(SystemExit, match="no verdict of these studies yet"):
        picture.main(url)  # sin(2 * x) is not what the model has
    study.confirm(objective, seeds=10)
    study.confirm(objective, baseline="sin(2 * x)", seeds=10, top_k=1)
    picture.main(url)
    assert "1 of 10 fields" in capsys.readouterr().out
    page = (tmp_path / "found_functions.html").read_text()
    for words in ("speech: digits", "better, value +10;", "sin(2.5", "dashed: relu"):
        assert words in page
    assert "sentiment" not in page


def test_each_function_that_a_model_has_is_drawn_dashed() -> None:
    picture = load(PICTURE)
    x = np.linspace(-6, 6, 13)
    found = {
        "gan": picture.Found(
            "better", {"generator: sin": (x, np.sin(x)), "discriminator: x": (x, x)}
        )
    }
    lines = {line.name: line for line in picture.draw(found).data}
    assert list(lines) == ["relu", "max(x, 0.2 * x)", "generator: sin", "discriminator: x"]
    assert [bool(line.line.dash) for line in lines.values()] == [True, True, False, False]
    slope = lines["max(x, 0.2 * x)"]
    assert slope.y[0] == pytest.approx(0.2 * slope.x[0])
    for _, dashed in picture.FIELDS.values():
        assert len(dashed) <= len(picture.DASHES)
        assert all(picture.own(name)[1].shape == (161,) for name in dashed)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_drawn_is_the_winner_or_who_stayed_longest(direction: str) -> None:
    picture = load(PICTURE)
    sign = 1 if direction == "maximize" else -1

    def row(label: str, word: str, seeds: int, difference: float, damaged: bool = False) -> Any:
        return SimpleNamespace(
            label=label,
            verdict=word,
            values=(0.0,) * seeds,
            difference=sign * difference,
            is_damaged=damaged,
        )

    def shown(winner: int | None, *rows: Any) -> str | None:
        baseline = row("own", "baseline", 16, 0.0)
        won = baseline if winner is None else rows[winner]
        found = picture.shown_row(
            SimpleNamespace(rows=rows, baseline=baseline, winner=won, direction=direction)
        )
        return None if found is None else str(found.label)

    early, open_, worse = (
        row("early", "left early", 4, 9.0),
        row("open", "not distinguishable", 16, 1.0),
        row("worse", "worse", 16, -1.0),
    )
    assert shown(None, early, worse, open_) == "open"
    assert shown(None, early, row("fewer", "not distinguishable", 8, 5.0), worse) == "worse"
    assert shown(None, early, row("two", "left early", 2, 10.0)) == "early"
    assert shown(1, open_, row("better", "better", 8, 0.5)) == "better"
    assert shown(0, row("unreadable", "better", 16, 9.0, damaged=True), worse) == "worse"
    assert shown(None, row("unreadable", "worse", 16, 9.0, damaged=True)) is None


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(
            script,
            marks=pytest.mark.whole if script.stem in FIELDS else pytest.mark.slow,
            id=script.stem,
        )
        for script in SCRIPTS
    ],
)
def test_a_study_runs_and_running_it_again_adds_nothing(
    script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'actsearch.db'}"
    study = load(script)
    try:
        study.main(storage=url, small=True)
    except PackageMissing as missing:
        pytest.skip(str(missing))
    first = contents(url)
    assert first
    decides = script.stem not in WITHOUT_VERDICT
    for name, trials, verdicts in first:
        assert trials
        assert bool(verdicts) == (decides and name not in MEASURING)
    said = capsys.readouterr().out
    assert ("verdict" in said) == decides
    assert f"dashboard {url}" in said
    study.main(storage=url, small=True)
    assert contents(url) == first
    assert capsys.readouterr().out.splitlines()[-12:] == said.splitlines()[-12:]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_study_can_be_imported_and_has_a_small_run(script: Path) -> None:
    assert {"storage", "small"} <= set(inspect.signature(load(script).main).parameters)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_study_is_in_the_table_of_studies(script: Path) -> None:
    assert f"`{script.name}`" in (STUDIES / "README.md").read_text()


@pytest.mark.slow
def test_the_table_of_the_benchmark_is_what_was_trained(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'benchmark.db'}"
    study = load(STUDIES / "activation_benchmark.py")
    study.main(storage=url, small=True)
    table = study.gather([url], ["digits_mlp"], ["x0.33", "x1", "x3"], study.functions(1)[:4])
    assert table.rates == (1 / 3, 1.0, 3.0)
    assert [task.name for task in table.tasks] == ["digits_mlp"]
    reader = Reader(url)
    for rate, name in enumerate(["x0.33", "x1", "x3"]):
        trials = reader.trials(reader.study(f"digits_mlp {name}"))
        values = {trial.candidate.name: trial.value for trial in trials}
        for place, function in enumerate(table.functions):
            mean = table.scores[0, place, rate].mean()
            assert mean == pytest.approx(values[function.label], abs=1e-6)
    reader.close()


@pytest.mark.parametrize("stem", LIBRARIES)
class TestOtherTrainers:
    """Objectives that leave the training to another library."""

    def outcome(self, stem: str, act: str = "tanh", **settings: Any) -> Outcome:
        study = load(STUDIES / f"{stem}.py")
        if stem == "lightning_module":
            study.quiet()
        record = acs.Candidate.of(act).record
        request = Request(record, (settings.pop("seed", 1),), **settings)
        return make_subject(study.Objective(epochs=3)).train([request])[0]

    def test_each_epoch_is_told_and_the_last_is_the_value(self, stem: str) -> None:
        outcome = self.outcome(stem)
        assert outcome.state is TrialState.COMPLETE, outcome.reason
        (evaluation,) = outcome.evaluations
        assert [epoch.epoch for epoch in evaluation.epochs] == [1, 2, 3]
        assert evaluation.epochs[-1].valid_metric == pytest.approx(outcome.value)
        assert list(evaluation.metrics) == ["accuracy"]

    def test_the_candidate_is_what_trains(self, stem: str) -> None:
        values = [self.outcome(stem, act).value for act in ("tanh", "sin(2*x)")]
        assert values[0] != values[1]
        assert None not in values

    def test_the_seed_decides_everything(self, stem: str) -> None:
        one, same, other = (self.outcome(stem, seed=seed).value for seed in (1, 1, 2))
        assert one == same != other

    def test_a_confirmation_scores_test_data(self, stem: str) -> None:
        found, confirmed = self.outcome(stem), self.outcome(stem, split="test")
        assert not confirmed.validation_only
        assert confirmed.evaluations[0].epochs == found.evaluations[0].epochs
        assert confirmed.value != found.value

    def test_a_pruner_ends_the_training(self, stem: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(acs.Run, "should_prune", lambda run: run.last_reported is not None)
        outcome = self.outcome(stem)
        assert outcome.state is TrialState.PRUNED
        assert outcome.reason == "seed 1: after epoch 1"
        assert len(outcome.evaluations[0].epochs) == 1
