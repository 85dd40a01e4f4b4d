"""One call from a model to an answer, within a budget."""

from __future__ import annotations

import contextlib
import datetime
import json
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset, TensorDataset

import actsearch as acs
from actsearch.cli import main
from actsearch.evaluation import make_subject
from actsearch.study.answer.budget import Budget, parse_budget
from actsearch.study.answer.finder import Finder
from actsearch.study.answer.ledger import Ledger
from actsearch.study.answer.options import Options
from actsearch.study.answer.plan import Costs, Plan, TooLittle, make_plan
from actsearch.study.attributes import set_attribute
from actsearch.study.times import format_seconds

ROWS = 96


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))


def data(**more: Any) -> dict[str, Any]:
    """The product of two numbers, which no ReLU of this size has at once; a training takes about 3 ms."""
    x = torch.randn(2 * ROWS, 2, generator=torch.Generator().manual_seed(0))
    y = x.prod(1, keepdim=True)
    parts = {"train": slice(ROWS), "valid": slice(ROWS, ROWS + 48), "test": slice(ROWS + 48, None)}
    return {name: (x[rows], y[rows]) for name, rows in parts.items()} | {
        "loss": F.mse_loss, "epochs": 1, "lr": 3e-2, "batch_size": 48, "device": "cpu", "strategy": "random",
        "show_progress_bar": False, **more,
    }  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[acs.FindResult, str]:
    """An answer, and the database it is in."""
    url = f"sqlite:///{tmp_path_factory.mktemp('found')}/a.db"
    return acs.find(make_model, budget=120, storage=url, study_name="mine", **data()), url


# the answer


def test_it_ends_in_a_verdict_within_the_budget(found: tuple[acs.FindResult, str]) -> None:
    result, _ = found
    assert result.verdict is not None
    assert result.verdict.covers == "seeds+rows"
    assert result.sentence.startswith(result.verdict.sentence)
    assert "a larger budget tries others" in result.sentence
    assert result.verdict.winner in (result.verdict.baseline, *result.verdict.rows)
    spent = result.spent
    assert spent.trainings <= 120
    assert spent.trainings == spent.rate + spent.search + spent.verdict + spent.weights
    assert spent.verdict == result.verdict.trainings
    trained = [trial for trial in result.study.trials if trial.state.is_trained]
    assert spent.search == len(trained)
    assert spent.rate >= 3
    assert f"Spent of a budget of 120 trainings: {spent.trainings} trainings" in str(result)


def test_the_winner_comes_as_code_and_as_a_trained_model(
    found: tuple[acs.FindResult, str],
) -> None:
    result, _ = found
    assert result.verdict is not None
    assert result.model is not None
    assert result.recipe.label == result.verdict.winner.label
    compile(result.to_python(), "pasted.py", "exec")
    x, y = data()["test"]
    with torch.no_grad():
        score = F.mse_loss(result.model(x), y).item()
    # as good as one of the trainings of the verdict, and better than what is not trained
    untrained = F.mse_loss(torch.zeros_like(y), y).item()
    assert score < untrained
    assert not result.model.training


def test_its_weights_are_in_a_file_that_needs_no_actsearch(
    found: tuple[acs.FindResult, str],
) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    result, url = found
    assert result.weights == Path(url.removeprefix("sqlite:///")).with_name(
        "a.db.mine.safetensors"
    )
    stored = safetensors.load_file(result.weights)
    assert result.model is not None
    own = result.model.state_dict()
    assert stored.keys() == own.keys()
    assert all(torch.equal(stored[name], own[name]) for name in own)


def test_the_same_call_again_returns_the_same_answer_and_trains_nothing(
    found: tuple[acs.FindResult, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result, url = found
    monkeypatch.setattr(
        "actsearch.evaluation.trained_model.fit", lambda *_, **__: pytest.fail("it was trained")
    )
    again = acs.find(make_model, budget=120, storage=url, study_name="mine", **data())
    assert again.verdict == result.verdict
    assert len(again.study.trials) == len(result.study.trials)
    assert again.spent.trainings == result.spent.trainings
    if result.weights is not None:
        assert again.model is not None
        assert result.model is not None
        for one, other in zip(again.model.parameters(), result.model.parameters(), strict=True):
            assert torch.equal(one, other)


@pytest.mark.slow
def test_a_verdict_that_a_killed_call_has_stored_is_the_answer_of_the_next_one(
    sqlite_url: str,
) -> None:
    more = data(epochs=4, batch_size=16)  # with which the verdict takes nearly all of the budget
    settings: dict[str, Any] = dict(budget=80, storage=sqlite_url, study_name="mine", **more)
    first = acs.find(make_model, **settings)
    # as they are between the verdict and what is written down of it
    state = first.study.user_attrs["find"] | {"answer": -1, "answered": "", "weights": 0}
    set_attribute(first.study.storage, "mine", "find", state)
    again = acs.find(make_model, **settings)
    assert again.verdict is not None
    assert again.verdict == first.verdict
    assert again.spent.trainings == first.spent.trainings


def test_a_file_of_weights_that_was_changed_is_not_taken(
    found: tuple[acs.FindResult, str], caplog: pytest.LogCaptureFixture
) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    result, url = found
    assert result.weights is not None
    before = {  # what is read is the file itself, in memory
        name: tensor.clone() for name, tensor in safetensors.load_file(result.weights).items()
    }
    whole = result.weights.read_bytes()
    result.weights.write_bytes(whole[:-8])
    again = acs.find(make_model, budget=120, storage=url, study_name="mine", **data())
    assert "a.db.mine.safetensors cannot be used" in caplog.text
    assert again.spent.trainings == result.spent.trainings  # the same training again, counted once
    assert again.weights == result.weights
    now = safetensors.load_file(result.weights)
    assert all(torch.equal(now[name], before[name]) for name in before)


def test_a_larger_budget_goes_on(sqlite_url: str) -> None:
    short = acs.find(make_model, budget=40, storage=sqlite_url, **data())
    assert short.spent.trainings <= 40
    longer = acs.find(make_model, budget=64, storage=sqlite_url, **data())
    assert longer.verdict is not None
    assert short.spent.trainings < longer.spent.trainings <= 64
    if short.verdict is not None and short.verdict.cut:  # the same finalists, further
        assert {row.number for row in longer.verdict.rows} == {
            row.number for row in short.verdict.rows
        }
        assert longer.verdict.seeds >= short.verdict.seeds


@pytest.mark.slow
def test_it_is_what_search_and_verdict_give_by_hand(sqlite_url: str, tmp_path: Path) -> None:
    result = acs.find(make_model, budget=90, storage=sqlite_url, max_weights_mb=0, **data())
    given = data()
    shown, strategy = given.pop("show_progress_bar"), given.pop("strategy")
    task = acs.Task(model=make_model, **given)
    study = acs.create_study(
        study_name="find", storage=f"sqlite:///{tmp_path}/hand.db", strategy=strategy
    )
    study.optimize(task, total_trials=result.spent.search, show_progress_bar=shown)
    assert [trial.value for trial in study.trials] == [
        trial.value for trial in result.study.trials
    ]
    assert result.verdict is not None
    if not result.verdict.cut:
        verdict = study.confirm(task, top_k=1, lrs=[], show_progress_bar=shown)
        assert verdict.rows == result.verdict.rows


@pytest.mark.slow
def test_in_memory_there_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = acs.find(make_model, budget=80, storage=None, **data())
    assert result.weights is None
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_by_time_it_ends_in_time(sqlite_url: str) -> None:
    result = acs.find(make_model, budget="6s", storage=sqlite_url, **data())
    assert result.spent.seconds < 12.0
    assert result.sentence


@pytest.mark.slow
def test_the_plan_is_told_first_and_again_when_more_is_known(
    sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    acs.find(make_model, budget=90, storage=sqlite_url, **data(show_progress_bar=True))
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    told = [line for line in lines if line.startswith("study find: ")]
    assert "for the learning rate" in told[0]
    assert "to search" in told[0]
    assert "for the verdict" in told[0]
    assert any("leads on validation data" in line for line in told[1:])


@pytest.mark.parametrize(
    ("executor", "seconds"), [(None, 12), (acs.Local(batch=8), 12), (acs.Processes(3), 10)]
)
def test_a_plan_goes_by_the_machines_where_trainings_run(
    executor: Any,
    seconds: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One alone takes 12 s here and 30 s on a worker; of three that train side by side each takes a third of that."""
    of_task = "actsearch.evaluation.subject.of_task.TaskSubject"
    monkeypatch.setattr(f"{of_task}.forecast_seconds", lambda _: 12.0)
    monkeypatch.setattr("actsearch.execution.pool.Pool.forecast_seconds", lambda *_: 30.0)
    # the plan is told before anything is trained
    monkeypatch.setattr("actsearch.study.answer.finder.Finder._optimize", _interrupt)
    acs.find(
        make_model, budget=60, storage=None, executor=executor, **data(show_progress_bar=True)
    )
    plan = next(line for line in capsys.readouterr().err.splitlines() if "trainings of" in line)
    about = f"trainings of {format_seconds(seconds)}"
    is_share = isinstance(executor, acs.Processes)
    assert f"{about} (several at once), " in plan if is_share else f"{about}, " in plan


@pytest.mark.parametrize(("forecast", "seeds"), [(12.0, 1), (12.0, 2), (None, 1)])
def test_a_plan_that_changes_is_told_again(
    forecast: float | None,
    seeds: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which difference would show is said when it is known how much scores differ between seeds."""
    of_task = "actsearch.evaluation.subject.of_task.TaskSubject"
    optimize = Finder._optimize
    if forecast is not None:
        monkeypatch.setattr(f"{of_task}.forecast_seconds", lambda _: forecast)

    def two_trials(self: Finder, trials: int, timeout: float | None) -> None:
        if trials > 1:
            raise KeyboardInterrupt
        optimize(self, 1 if seeds == 1 else 2, timeout)

    monkeypatch.setattr(Finder, "_optimize", two_trials)
    monkeypatch.setattr(
        "actsearch.study.answer.ledger.Ledger.each",
        lambda self: 12.0 if not self.trained() or forecast is None else 1.0,
    )
    acs.find(
        make_model,
        budget=200,
        storage=None,
        **data(show_progress_bar=True, seeds=seeds, tune_lr=False),
    )
    told = [line for line in capsys.readouterr().err.splitlines() if "trainings of" in line]
    assert "would show" not in told[0]
    assert len(told) == (1 if forecast is None else 2)
    if forecast is not None:
        assert "study find: revised, of what is to come: about " in told[1]
        assert "trainings of 1 s" in told[1]
        assert ("; a difference of about " in told[1]) == (seeds > 1)


def test_a_plan_is_another_one_where_a_reader_would_care() -> None:
    plan = Plan(5, 50, 50, 60, 2)
    assert not plan.differs(plan, 1.2)
    assert plan.differs(plan, 1.3)
    assert plan.differs(plan, 0.7)
    assert not Plan(0, 48, 48, 60, 2).differs(plan, 1.0)
    assert Plan(0, 30, 30, 60, 2).differs(plan, 1.0)
    assert Plan(5, 50, 50, 60, 1).differs(plan, 1.0)


def make_ledger(study: acs.Study, executor: Any) -> Ledger:
    task = acs.Task(model=make_model, **_task_settings())
    options = Options(executor=executor)
    return Ledger(study, task, make_subject(task), options, 1, time.monotonic())


def test_the_weights_take_what_a_training_takes_in_this_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of_task = "actsearch.evaluation.subject.of_task.TaskSubject"
    monkeypatch.setattr(f"{of_task}.forecast_seconds", lambda _: 600.0)
    monkeypatch.setattr("actsearch.execution.pool.Pool.forecast_seconds", lambda *_: 30.0)
    study = acs.create_study(study_name="weights", storage=None)
    ledger = make_ledger(study, acs.Processes(3))
    assert (ledger.alone(), ledger.each(), ledger.weights()) == (30.0, 10.0, 600.0)
    assert make_ledger(study, None).weights() == 600.0


def test_what_a_worker_does_not_measure_is_measured_here(monkeypatch: pytest.MonkeyPatch) -> None:
    of_task = "actsearch.evaluation.subject.of_task.TaskSubject"
    monkeypatch.setattr(f"{of_task}.forecast_seconds", lambda _: 12.0)
    monkeypatch.setattr("actsearch.execution.pool.Pool.forecast_seconds", lambda *_: None)
    study = acs.create_study(study_name="weights", storage=None)
    assert make_ledger(study, acs.Processes(3)).alone() == 12.0


def test_the_time_of_trials_side_by_side_is_spent_once(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that was killed has not said what it spent, on workers as little as in this process."""
    study = acs.create_study(study_name="killed", storage=sqlite_url, strategy="random")
    task = acs.Task(model=make_model, **_task_settings(tune_lr=False))
    study.optimize(task, n_trials=4, show_progress_bar=False)
    with contextlib.closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as database:
        # two at a time: 0 to 100 s, and, an hour later, 0 to 50 s
        for number, begins, ends in ((0, 0, 100), (1, 0, 90), (2, 3600, 3650), (3, 3610, 3640)):
            moments = [
                f"2030-01-01 {t // 3600:02}:{t // 60 % 60:02}:{t % 60:02}.000000"
                for t in (begins, ends)
            ]
            database.execute(
                "UPDATE trials SET started = ?, completed = ?, seconds = ? WHERE number = ?",
                (*moments, ends - begins, number),
            )
        database.commit()
    ledger = make_ledger(study, acs.Processes(2))
    ledger.add_earlier(0.0)
    assert ledger.elapsed() == pytest.approx(150, abs=5)
    here = make_ledger(study, None)
    here.add_earlier(0.0)
    assert here.elapsed() == pytest.approx(100 + 90 + 50 + 30, abs=5)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("budget", [40, 80])
def test_the_report_says_the_trainings_that_were_spent(
    budget: int, sqlite_url: str, tmp_path: Path
) -> None:
    """Also those of a verdict that is cut short."""
    result = acs.find(make_model, budget=budget, storage=sqlite_url, **data())
    assert result.verdict is not None
    result.study.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert f"<td>trainings in all</td><td>{result.spent.trainings}</td>" in page
    assert ("trainings of verdicts that were cut short" in page) == bool(result.verdict.cut)


# interrupted


class Terminal:
    """Where Ctrl-C is pressed, at the n-th call of a loss."""

    calls = 0
    at = -1


def loss_at_terminal(output: Tensor, target: Tensor) -> Tensor:
    Terminal.calls += 1
    if Terminal.calls == Terminal.at:
        signal.raise_signal(signal.SIGINT)
    return F.mse_loss(output, target)


@pytest.mark.slow
def test_a_larger_budget_that_was_interrupted_goes_on(sqlite_url: str) -> None:
    """What is told of the rate is of the verdict that is shown, whatever was planned since."""
    Terminal.at = -1
    task = acs.Task(model=make_model, **_task_settings(loss=loss_at_terminal))

    def call(budget: int) -> acs.FindResult:
        return acs.find(
            task, budget=budget, storage=sqlite_url, strategy="random", show_progress_bar=False
        )

    one_rate = "a larger budget tries others"
    short = call(60)
    assert one_rate in short.sentence
    Terminal.at = Terminal.calls + 60
    cut = call(400)
    Terminal.at = -1
    assert cut.is_interrupted
    assert (cut.verdict, cut.sentence) == (short.verdict, short.sentence)
    whole = call(400)
    assert whole.verdict != short.verdict
    assert whole.spent.search > cut.spent.search > short.spent.search
    assert one_rate not in whole.sentence
    assert call(400).spent.trainings == whole.spent.trainings
    # what would be left of it pays for no verdict that tunes the rate
    assert call(whole.spent.trainings + 60).verdict == whole.verdict


def test_ctrl_c_in_the_search_ends_in_what_is_known(sqlite_url: str) -> None:
    Terminal.at = -1
    task = acs.Task(model=make_model, **_task_settings(loss=loss_at_terminal))

    def call() -> acs.FindResult:
        return acs.find(
            task, budget=90, storage=sqlite_url, strategy="random", show_progress_bar=False
        )

    Terminal.at = Terminal.calls + 40
    first = call()
    assert first.is_interrupted
    assert first.verdict is None
    assert first.sentence.startswith("No answer yet: Ctrl-C ended the search. So far: ")
    assert first.sentence.endswith("The same call goes on from there.")
    with pytest.raises(acs.StudyError, match="No answer yet"):
        _ = first.recipe
    Terminal.at = Terminal.calls + 60
    second = call()
    Terminal.at = -1
    last = call()
    assert last.verdict is not None
    assert not last.is_interrupted
    assert last.spent.trainings <= 90
    assert len(second.study.trials) <= len(last.study.trials)


@pytest.mark.slow
def test_ctrl_c_in_the_verdict_shows_what_it_has(sqlite_url: str) -> None:
    Terminal.at = -1
    task = acs.Task(model=make_model, **_task_settings(loss=loss_at_terminal))
    Terminal.calls = 0
    whole = acs.find(task, budget=90, storage=None, strategy="random", show_progress_bar=False)
    in_all = Terminal.calls
    Terminal.calls, Terminal.at = 0, int(0.7 * in_all)
    cut = acs.find(task, budget=90, storage=sqlite_url, strategy="random", show_progress_bar=False)
    assert cut.is_interrupted
    assert cut.verdict is None or cut.verdict.cut == "Ctrl-C"
    Terminal.at = -1
    again = acs.find(
        task, budget=90, storage=sqlite_url, strategy="random", show_progress_bar=False
    )
    assert again.verdict is not None
    assert whole.verdict is not None
    assert again.verdict.rows == whole.verdict.rows


@pytest.mark.slow
def test_the_time_of_a_killed_verdict_is_spent(sqlite_url: str) -> None:
    """Called again and again, it would go on for longer than its budget. A killed call has not said what it spent."""
    task = acs.Task(model=make_model, **_task_settings(loss=loss_at_terminal))

    def call() -> acs.FindResult:
        return acs.find(
            task, budget=90, storage=sqlite_url, strategy="random", show_progress_bar=False
        )

    Terminal.calls, Terminal.at = 0, 100_000
    whole = acs.find(task, budget=90, storage=None, strategy="random", show_progress_bar=False)
    Terminal.calls, Terminal.at = 0, int(0.8 * Terminal.calls)
    assert call().is_interrupted
    Terminal.at = -1
    with contextlib.closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as database:
        begun = database.execute("SELECT count(*) FROM confirmation_trainings").fetchone()[0]
        database.execute("UPDATE trials SET seconds = 100 WHERE state = 'COMPLETE'")
        found = json.loads(database.execute("SELECT user_attrs FROM studies").fetchone()[0])
        found["find"]["seconds"] = 0
        database.execute("UPDATE studies SET user_attrs = ?", (json.dumps(found),))
        database.commit()
    again = call()
    assert whole.verdict is not None
    assert begun > 5
    assert again.spent.seconds > 100 * (again.spent.search + again.spent.rate + begun)


def _task_settings(**more: Any) -> dict[str, Any]:
    given = data(**more)
    return {
        key: value for key, value in given.items() if key not in ("show_progress_bar", "strategy")
    }


# what is refused


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"test": None}, acs.TaskError, "find needs test"),
        ({"budget": 20}, acs.StudyError, "too small for an answer.*give budget=3.*n_trials=20"),
        ({"budget": "0.001s"}, acs.StudyError, "too small for an answer.*give a budget of"),
        ({"budget": "3 weeks"}, acs.StudyError, "as 60, or a time with its unit"),
        ({"budget": 0}, acs.StudyError, "budget=0"),
        ({"max_weights_mb": -1}, acs.StudyError, "max_weights_mb"),
    ],
)
def test_what_cannot_give_an_answer_is_refused(
    changes: dict[str, Any], error: type[Exception], match: str, sqlite_url: str
) -> None:
    with pytest.raises(error, match=match):
        acs.find(make_model, **(data(budget=60, storage=sqlite_url) | changes))


def test_time_that_is_over_before_a_candidate_was_trained_is_no_answer_and_goes_on(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elapsed = Ledger.elapsed
    slow = 1e5  # s, which the first trial is made to have taken: no forecast knew it

    def slower(ledger: Ledger) -> float:
        return elapsed(ledger) + slow * bool(ledger.trained())

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "elapsed", slower)
        none = acs.find(make_model, **data(budget="1000s", storage=sqlite_url))
    assert none.verdict is None
    assert none.sentence == (
        "No answer yet: the budget of 17 min is used up. So far: nothing was tried but your model unchanged. "
        "With a larger budget it goes on from there."
    )
    assert sum(trial.state.is_trained for trial in none.study.trials) == 1
    assert acs.find(make_model, **data(budget=60, storage=sqlite_url)).verdict is not None


def test_a_handful_of_test_rows_is_refused(sqlite_url: str) -> None:
    x, y = data()["test"]
    with pytest.raises(acs.TaskError, match="test has 29 rows: a verdict on fewer than 30"):
        acs.find(make_model, **data(budget=60, storage=sqlite_url, test=(x[:29], y[:29])))


def test_test_data_that_the_search_has_seen_are_refused_before_anything_is_stored(
    sqlite_url: str,
) -> None:
    with pytest.raises(acs.TaskError, match="test and valid share 48 of 48 rows"):
        acs.find(make_model, **data(budget=90, storage=sqlite_url, test=data()["valid"]))


def test_a_metric_that_is_constant_is_refused(sqlite_url: str) -> None:
    with pytest.raises(acs.StudyError, match="tells nothing apart|constant"):
        acs.find(
            make_model,
            **data(budget=60, storage=sqlite_url, metric=lambda o, t: 1.0, direction="maximize"),
        )


def test_a_task_without_test_data_is_refused_by_find_itself() -> None:
    task = acs.Task(model=make_model, **_task_settings(test=None))
    with pytest.raises(acs.TaskError, match=r"find needs data .* find\(\.\.\., test=.* splits="):
        acs.find(task, budget=60, storage=None)


def test_a_task_has_its_own_data() -> None:
    task = acs.Task(model=make_model, **_task_settings())
    with pytest.raises(acs.TaskError, match="has its own epochs: leave it out"):
        acs.find(task, budget=60, epochs=3)


def test_another_task_in_the_same_study_is_refused(found: tuple[acs.FindResult, str]) -> None:
    _, url = found
    with pytest.raises(
        acs.StudyError, match=r"study 'mine' is about another task: give study_name="
    ):
        acs.find(make_model, budget=400, storage=url, study_name="mine", **data(epochs=2))


# what was found out by trying


def answered(url: str, **more: Any) -> acs.FindResult:
    return acs.find(make_model, **data(storage=url, study_name="s", **more))


@pytest.mark.slow
def test_trials_by_hand_and_a_smaller_budget_leave_the_answer_there(sqlite_url: str) -> None:
    first = answered(sqlite_url, budget=70)
    assert first.verdict is not None
    assert answered(sqlite_url, budget=45).verdict == first.verdict
    again = answered(sqlite_url, budget=70)
    assert again.verdict == first.verdict
    assert again.spent.trainings == first.spent.trainings
    first.study.optimize(first.task, n_trials=2, show_progress_bar=False)
    after = answered(sqlite_url, budget=70)
    assert after.verdict == first.verdict
    assert len(after.study.verdicts) == 1


def test_verdicts_that_are_asked_for_by_hand_are_no_answers(sqlite_url: str) -> None:
    """Also where the answer itself is read back, since a call was killed before it wrote down which one it is."""
    first = answered(sqlite_url, budget=80)
    assert first.verdict is not None
    assert not first.verdict.cut
    by_hand = first.study.confirm(first.task, top_k=3, seeds=8, lrs=[], show_progress_bar=False)
    state = first.study.user_attrs["find"] | {"answer": -1, "answered": ""}
    set_attribute(first.study.storage, "s", "find", state)
    assert by_hand != first.verdict
    assert answered(sqlite_url, budget=80).verdict == first.verdict
    assert answered(sqlite_url, budget=80).verdict == first.verdict


@pytest.mark.slow
def test_another_question_is_not_answered_beyond_the_budget(sqlite_url: str) -> None:
    first = answered(sqlite_url, budget=100)
    other = answered(sqlite_url, budget=100, min_effect=0.05)
    assert other.spent.trainings <= 100
    assert other.verdict != first.verdict
    x, y = data()["test"]
    third = answered(sqlite_url, budget=100, test=(x[:40], y[:40]))
    assert third.spent.trainings <= 100


@pytest.mark.slow
def test_trainings_of_a_verdict_that_is_given_up_are_counted(sqlite_url: str) -> None:
    cut = answered(sqlite_url, budget=40, min_effect=1e-4)
    assert cut.verdict is not None
    assert cut.verdict.cut
    other = answered(sqlite_url, budget=100, min_effect=0.05)
    assert other.spent.verdict > cut.spent.verdict
    assert other.spent.trainings <= 100


@pytest.mark.slow
def test_time_that_is_used_up_shows_what_was_found(sqlite_url: str) -> None:
    first = answered(sqlite_url, budget="6s")
    second = answered(sqlite_url, budget="6s")
    if first.verdict is not None:
        assert second.verdict is not None
        assert second.verdict.rows == first.verdict.rows
    assert second.spent.verdict == first.spent.verdict


def test_a_subset_counts_its_own_rows(sqlite_url: str) -> None:
    rows = TensorDataset(*data()["test"])
    for few in (Subset(rows, range(20)), DataLoader(Subset(rows, range(20)), batch_size=4)):
        with pytest.raises(acs.TaskError, match="test has 20 rows"):
            answered(sqlite_url, budget=60, test=few)


class Odd(nn.Sequential):
    """What it keeps besides tensors no file of weights can hold."""

    def get_extra_state(self) -> Any:
        return {"version": 1}

    def set_extra_state(self, state: Any) -> None:
        pass


def test_weights_that_cannot_be_written_lose_no_answer(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    def make_odd() -> nn.Module:
        return Odd(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))

    result = acs.find(make_odd, budget=90, storage=sqlite_url, **data())
    assert result.verdict is not None
    if not result.verdict.cut:
        assert result.model is not None
        assert result.weights is None
        assert "the winner's weights are not written" in caplog.text


def test_what_is_asked_wrongly_is_refused_before_anything_is_trained(sqlite_url: str) -> None:
    with pytest.raises(acs.StudyError, match="min_effect"):
        answered(sqlite_url, budget=90, min_effect=-1)
    with pytest.raises(acs.StudyError, match="covers"):
        answered(sqlite_url, budget=90, covers="rows")
    with pytest.raises(acs.StudyError, match="give direction='maximize' or 'minimize'"):
        answered(sqlite_url, budget=90, metric=lambda outputs, targets: 1.0)


# arithmetic


@pytest.mark.parametrize(
    ("given", "trainings", "seconds"),
    [
        (60, 60, None), ("60", 60, None), ("3h", None, 10800.0), ("1h30m", None, 5400.0),
        ("1.5 h", None, 5400.0), ("45 min", None, 2700.0), ("90s", None, 90.0), ("2d", None, 172800.0),
        (datetime.timedelta(minutes=2), None, 120.0),
    ],
)  # fmt: skip
def test_budgets_are_trainings_or_times(
    given: Any, trainings: int | None, seconds: float | None
) -> None:
    assert parse_budget(given) == Budget(trainings, seconds)


@pytest.mark.parametrize(
    "given", [0, -1, 1.5, "", "h", "3", "-3h", "3h!", "inf h", None, True, "0s"]
)
def test_what_is_no_budget_is_refused(given: Any) -> None:
    if given == "3":
        assert parse_budget(given).trainings == 3
        return
    with pytest.raises(acs.StudyError, match="budget="):
        parse_budget(given)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.25 s"), (61, "61 s"), (600, "10 min"), (3 * 3600, "3 h"), (5000, "83 min"), (9000, "2 h 30 min")],
)  # fmt: skip
def test_times_are_said_in_one_or_two_units(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("has_rate", [True, False])
def test_a_plan_spends_no_more_than_there_is(seeds: int, has_rate: bool) -> None:
    costs = Costs(seeds, has_rate=has_rate)
    planned: list[Plan] = []
    for left in range(1, 2000, 7):
        plan = plan_or_none(left, costs)
        assert plan is not None or not planned, "a larger budget was too small"
        if plan is not None:
            assert plan.trainings <= left
            assert plan.search == plan.trials * seeds
            planned.append(plan)
    assert planned[0].top_k == 1
    assert planned[-1].top_k == 5
    assert [plan.is_tuned for plan in planned] == sorted(plan.is_tuned for plan in planned)
    for is_tuned in (False, True):
        finalists = [plan.top_k for plan in planned if plan.is_tuned == is_tuned]
        assert finalists == sorted(finalists)


def plan_or_none(left: int, costs: Costs) -> Plan | None:
    try:
        return make_plan(left, costs)
    except TooLittle:
        return None


def test_what_is_asked_for_instead_of_too_little_is_enough() -> None:
    with pytest.raises(TooLittle) as refused:
        make_plan(30, Costs())
    assert make_plan(refused.value.least.trainings, Costs()).trials >= 6


# the command line


SCRIPT = """
import torch
from torch import nn
import actsearch as acs

x = torch.randn(192, 2, generator=torch.Generator().manual_seed(0))
y = x.prod(1, keepdim=True)
task = acs.Task(
    model=lambda: nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1)), epochs=2, lr=3e-2, batch_size=32,
    train=(x[:96], y[:96]), valid=(x[96:144], y[96:144]), test=(x[144:], y[144:]), loss=nn.functional.mse_loss,
    device="cpu",
)
not_a_task = 3

def made():
    return task

if __name__ == "__main__":
    raise SystemExit("this is not a run of the script")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "of_mine.py"
    path.write_text(SCRIPT)
    return path


def test_the_command_line_answers_for_a_task_in_a_script(
    script: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["find", f"{script}:made", "--budget", "60", "--study", "told", sqlite_url]) == 0
    printed = capsys.readouterr()
    assert "told: loss on test data" in printed.out
    assert "Spent of a budget of 60 trainings" in printed.out
    assert "study told: about" in printed.err  # the plan
    assert acs.load_study(study_name="told", storage=sqlite_url).trials


def test_the_command_line_is_told_which_way_is_better(
    tmp_path: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "of_mine.py"
    metric = '    device="cpu", metric=lambda outputs, targets: -float((outputs - targets).abs().mean()),'
    path.write_text(SCRIPT.replace('    device="cpu",', metric))
    call = ["find", str(path), "--budget", "60", "--study", "way", sqlite_url]
    assert main(call) == 1
    assert "(--direction)" in capsys.readouterr().err
    main([*call, "--direction", "maximize"])
    assert acs.load_study(study_name="way", storage=sqlite_url).direction == "maximize"


@pytest.mark.parametrize(
    ("where", "match"),
    [
        ("{script}:nothing", "has no 'nothing'; it has task"),
        ("{script}:not_a_task", "has a int, not a Task, called 'not_a_task'"),
        ("missing.py:task", "there is no script 'missing.py'"),
        ("{script}x", "there is no script"),
    ],
)
def test_a_script_without_the_task_is_an_error_that_says_so(
    where: str, match: str, script: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["find", where.format(script=script), "--budget", "60", sqlite_url]) == 1
    assert match in capsys.readouterr().err


def test_a_script_that_fails_is_an_error_that_says_so(
    tmp_path: Path, sqlite_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.py"
    path.write_text("1 / 0")
    assert main(["find", str(path), "--budget", "60", sqlite_url]) == 1
    assert "broken.py failed: ZeroDivisionError: division by zero" in capsys.readouterr().err
