"""Callbacks that write trials for TensorBoard, MLflow and W&B, with these libraries, read back from what they wrote."""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from wandb_files import WandbRun, read_runs

import actsearch as acs

# of SQLAlchemy 2.1, at what MLflow 3.17 asks of it
pytestmark = pytest.mark.filterwarnings(
    "ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"
)

CALLBACKS: dict[str, Callable[[Path], Any]] = {
    "tensorboard": lambda folder: acs.TensorBoardCallback(folder / "runs"),
    "mlflow": lambda folder: acs.MLflowCallback(
        f"sqlite:///{folder}/mlflow.db", tags={"who": "me"}
    ),
    "wandb": lambda folder: acs.WandbCallback(
        wandb_kwargs={"mode": "offline", "dir": folder, "project": "p", "config": {"lab": "one"}}
    ),
}
MEASURED = ("train_loss", "train_metric", "valid_loss", "valid_metric")


@dataclass
class Logged:
    """What a library has of one trial: its settings as texts, its last metrics, and its curve by epoch."""

    settings: dict[str, str]
    metrics: dict[str, float]
    curve: dict[int, dict[str, float]]
    further: dict[str, Any] = field(default_factory=dict)


def imported(name: str) -> Any:
    """A library, or a skip that says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"{name} cannot be imported ({error}): .ci/slow installs it")


@pytest.fixture(scope="module", autouse=True)
def no_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What MLflow and W&B would tell their makers, and what W&B keeps in the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("WANDB_ERROR_REPORTING", "false")
        patch.setenv("WANDB_SILENT", "true")
        for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp("wandb")))
        yield
        if (wandb := sys.modules.get("wandb")) is not None:
            wandb.teardown()  # ends its process


def read(name: str, folder: Path) -> dict[int, Logged]:
    """What a library has of every trial, by its number; each once, or this fails."""
    return {"tensorboard": read_tensorboard, "mlflow": read_mlflow, "wandb": read_wandb}[name](
        folder
    )


def read_tensorboard(folder: Path) -> dict[int, Logged]:
    accumulator = imported("tensorboard.backend.event_processing.event_accumulator")
    plugin = imported("tensorboard.plugins.hparams.plugin_data_pb2")
    logged = {}
    for run in (folder / "runs").iterdir():
        (_,) = run.iterdir()  # one file, or TensorBoard would follow one of several
        events = accumulator.EventAccumulator(str(run)).Reload()
        curve: dict[int, dict[str, float]] = {}
        metrics = {}
        for tag in events.Tags()["scalars"]:
            for event in events.Scalars(tag):
                if tag in MEASURED:
                    curve.setdefault(event.step, {})[tag] = event.value
                else:
                    metrics[tag] = event.value
        data = plugin.HParamsPluginData.FromString(
            events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        )
        settings = {
            key: str(getattr(value, value.WhichOneof("kind")))
            for key, value in data.session_start_info.hparams.items()
        }
        (text,) = events.Tensors("trial/text_summary")
        further = {"text": text.tensor_proto.string_val[0].decode()}
        logged[int(run.name.removeprefix("trial-"))] = Logged(settings, metrics, curve, further)
    return logged


def read_mlflow(folder: Path) -> dict[int, Logged]:
    client = imported("mlflow").MlflowClient(f"sqlite:///{folder}/mlflow.db")
    logged: dict[int, Logged] = {}
    for experiment in client.search_experiments(filter_string="name != 'Default'"):
        for run in client.search_runs([experiment.experiment_id]):
            curve: dict[int, dict[str, float]] = {}
            for name in MEASURED:
                for metric in client.get_metric_history(run.info.run_id, name):
                    curve.setdefault(metric.step, {})[name] = metric.value
            metrics = {
                key: value for key, value in run.data.metrics.items() if key not in MEASURED
            }
            further = {
                "run": run.info.run_name, "status": run.info.status, "tags": run.data.tags,
                "experiment": experiment.name, "ended": run.info.end_time,
            }  # fmt: skip
            number = int(run.data.params["trial"])
            assert number not in logged
            logged[number] = Logged(run.data.params, metrics, curve, further)
    return logged


def read_wandb(folder: Path) -> dict[int, Logged]:
    logged: dict[int, Logged] = {}
    for run in read_runs(folder):
        curve = {
            row["_step"]: {k: v for k, v in row.items() if k in MEASURED} for row in run.history
        }
        hidden = (*MEASURED, "_wandb", "_step", "_runtime", "_timestamp", "_wandb.runtime")
        metrics = {key: value for key, value in run.summary.items() if key not in hidden}
        settings = {key: str(value) for key, value in run.config.items() if key != "_wandb"}
        assert run.config["trial"] not in logged
        logged[run.config["trial"]] = Logged(settings, metrics, curve, {"run": run})
    return logged


def objective(candidate: acs.Candidate, run: acs.Run) -> float:
    """Each trial is complete, pruned or fails, after two or one reports."""
    run.report(1, run.number + 0.5)
    if run.number % 3 == 1:
        raise acs.TrialPruned("hopeless")
    run.report(2, math.nan if run.number % 3 == 2 else run.number + 0.25)
    if run.number % 3 == 2:
        raise ValueError("exploded")
    return run.number + 0.25


@dataclass
class Search:
    """A search with a callback, and where both wrote."""

    folder: Path
    study: acs.Study
    name: str

    def logged(self) -> dict[int, Logged]:
        return read(self.name, self.folder)


def search(
    name: str, folder: Path, task: Any = objective, trials: int = 3, **settings: Any
) -> Search:
    imported(name)
    url = f"sqlite:///{folder}/study.db"
    chosen = {"direction": "minimize", "strategy": "random", "study_name": "tried <b>", **settings}
    study = acs.create_study(storage=url, **chosen)
    callback = CALLBACKS[name](folder)
    study.optimize(task, n_trials=trials, callbacks=[callback], show_progress_bar=False)
    return Search(folder, study, name)


@pytest.fixture(scope="module", params=CALLBACKS)
def searched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Search:
    """Imports take seconds, and MLflow makes a database, so that what is only read is shared."""
    return search(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.slow
def test_each_trial_is_written_once_with_all_that_is_known_of_it(searched: Search) -> None:
    logged = searched.logged()
    trials = [trial for trial in searched.study.trials if trial.state.is_trained]
    assert set(logged) == {trial.number for trial in trials}
    assert sorted(trial.state.name for trial in trials) == ["COMPLETE", "FAILED", "PRUNED"]
    for trial in trials:
        found = logged[trial.number]
        assert found.settings["study"] == "tried <b>"
        assert found.settings["state"] == trial.state.name
        assert found.settings["activation"] == trial.record.candidate.label
        assert found.settings["formula"] == str(trial.candidate.formula)
        assert found.settings.get("reason", "") == trial.reason
        for key, value in trial.record.candidate.activations["*"].hyperparameters.items():
            assert found.settings[key] == str(value)
        assert found.metrics["seconds"] == pytest.approx(trial.record.seconds)
        assert found.metrics.get("value") == (trial.value and pytest.approx(trial.value))
        curve = trial.curve.set_index("epoch")["valid_metric"].to_dict()
        measured = {epoch: row["valid_metric"] for epoch, row in found.curve.items()}
        assert measured == pytest.approx(curve, nan_ok=True)


def check_tensorboard(searched: Search) -> None:
    for found in searched.logged().values():
        assert f"    formula: {found.settings['formula']}\n" in found.further["text"]


def check_mlflow(searched: Search) -> None:
    status = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAILED": "FAILED"}
    for number, found in searched.logged().items():
        assert found.further["run"] == f"trial {number}"
        assert found.further["experiment"] == "tried <b>"
        assert found.further["tags"]["who"] == "me"
        assert found.further["status"] == status[found.settings["state"]]
        ended = searched.study.trials[number].datetime_complete
        assert ended is not None
        assert found.further["ended"] == int(ended.timestamp() * 1000)


def check_wandb(searched: Search) -> None:
    for number, found in searched.logged().items():
        run = found.further["run"]
        assert isinstance(run, WandbRun)
        assert (run.name, run.group, run.project) == (f"trial {number}", "tried <b>", "p")
        assert run.exit_code == (found.settings["state"] == "FAILED")
        assert found.settings["lab"] == "one"


@pytest.mark.slow
def test_it_looks_as_the_library_wants_it(searched: Search) -> None:
    checks = {"tensorboard": check_tensorboard, "mlflow": check_mlflow, "wandb": check_wandb}
    checks[searched.name](searched)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLBACKS)
def test_a_study_that_goes_on_adds_its_trials_and_repeats_none(name: str, tmp_path: Path) -> None:
    first = search(name, tmp_path)
    before = first.logged()
    url = f"sqlite:///{tmp_path}/study.db"
    study = acs.load_study(study_name="tried <b>", storage=url)
    callback = CALLBACKS[name](tmp_path)
    study.optimize(objective, total_trials=5, callbacks=[callback], show_progress_bar=False)
    study.optimize(objective, total_trials=5, callbacks=[callback], show_progress_bar=False)
    after = first.logged()
    assert len(after) == 5
    assert set(before) < set(after)


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLBACKS)
def test_a_task_has_its_losses_by_epoch_as_means_over_its_seeds(
    name: str, tmp_path: Path, tiny_task: acs.Task
) -> None:
    task = tiny_task.replace(epochs=2, seeds=2)
    found = search(name, tmp_path, task, trials=2)
    for number, logged in found.logged().items():
        curve = found.study.trials[number].curve
        for epoch in (1, 2):
            rows = curve[curve["epoch"] == epoch]
            assert len(rows) == 2
            for column in MEASURED:
                assert logged.curve[epoch][column] == pytest.approx(rows[column].mean())
    assert logged.metrics["spread"] > 0
    assert "ReLU" in found.logged()[0].settings["activation"]


def two(candidate: acs.Candidate, run: acs.Run) -> dict[str, float]:
    return {"a": float(run.number), "b": -1.0}


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLBACKS)
def test_several_objectives_have_a_value_each(name: str, tmp_path: Path) -> None:
    directions = {"a": "minimize", "b": "minimize"}
    found = search(name, tmp_path, two, directions=directions, direction=None)
    for number, logged in found.logged().items():
        assert (logged.metrics["value_a"], logged.metrics["value_b"]) == (number, -1.0)


@pytest.mark.slow
def test_values_are_called_as_the_user_says(tmp_path: Path) -> None:
    imported("tensorboard")
    study = acs.create_study(study_name="s", directions={"a": "minimize", "b": "minimize"})
    callback = acs.TensorBoardCallback(tmp_path / "runs", metric_name=["first", "second"])
    study.optimize(two, n_trials=1, callbacks=[callback], show_progress_bar=False)
    assert read_tensorboard(tmp_path)[0].metrics["second"] == -1.0

    one = acs.TensorBoardCallback(tmp_path / "runs", metric_name=["first"])
    with pytest.raises(acs.ActsearchError, match=r"1 names \(first\), and the study has 2 obj"):
        study.optimize(two, n_trials=1, callbacks=[one], show_progress_bar=False)


@pytest.mark.parametrize("metric_name", ["", [], [""], 3, None])
def test_what_cannot_name_a_value_is_refused(metric_name: Any, tmp_path: Path) -> None:
    for make in (acs.TensorBoardCallback, acs.MLflowCallback):
        with pytest.raises(acs.ActsearchError, match="metric_name must be a text"):
            make(str(tmp_path), metric_name=metric_name)
    with pytest.raises(acs.ActsearchError, match="metric_name must be a text"):
        acs.WandbCallback(metric_name=metric_name)


@pytest.mark.parametrize("name", CALLBACKS)
def test_without_its_library_a_callback_says_what_to_install(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(acs.ActsearchError, match=rf'pip install "actsearch\[{name}\]"'):
        CALLBACKS[name](tmp_path)


@pytest.mark.slow
def test_what_the_library_cannot_write_ends_the_search_and_the_trial_is_kept(
    tmp_path: Path, sqlite_url: str
) -> None:
    imported("tensorboard")
    (tmp_path / "runs").write_text("not a folder")
    callback = acs.TensorBoardCallback(tmp_path / "runs")
    study = acs.create_study(study_name="s", storage=sqlite_url, direction="minimize")
    with pytest.raises(OSError, match="runs"):
        study.optimize(objective, n_trials=3, callbacks=[callback], show_progress_bar=False)
    assert study.trials[0].state.name == "COMPLETE"
    study.optimize(objective, total_trials=3, show_progress_bar=False)
    assert sum(trial.state.is_trained for trial in study.trials) == 3


@pytest.mark.slow
def test_an_error_of_mlflow_is_not_swallowed(tmp_path: Path) -> None:
    mlflow = imported("mlflow")
    found = search("mlflow", tmp_path)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    client.delete_experiment(client.get_experiment_by_name("tried <b>").experiment_id)
    callback = CALLBACKS["mlflow"](tmp_path)
    with pytest.raises(mlflow.exceptions.MlflowException, match="must be in the 'active' state"):
        found.study.optimize(objective, n_trials=1, callbacks=[callback], show_progress_bar=False)
    with pytest.raises(mlflow.exceptions.MlflowException):
        acs.MLflowCallback("no-such-scheme://x")


@pytest.mark.slow
def test_runs_and_settings_of_the_users_own_stay_as_they_are(tmp_path: Path) -> None:
    wandb, mlflow = imported("wandb"), imported("mlflow")
    mine = wandb.init(mode="offline", dir=tmp_path, project="mine")
    uri = mlflow.get_tracking_uri()
    for name in ("wandb", "mlflow"):
        folder = tmp_path / f"ours-{name}"
        folder.mkdir()
        search(name, folder)
    assert wandb.run is mine
    assert mlflow.get_tracking_uri() == uri
    assert mlflow.active_run() is None
    mine.log({"still": 1})
    mine.finish()


@pytest.mark.slow
def test_names_that_mlflow_refuses_are_written_with_lines(tmp_path: Path) -> None:
    imported("mlflow")

    def odd(candidate: acs.Candidate, run: acs.Run) -> dict[str, float]:
        return {"a=1": 1.0, "b": 2.0}

    directions = {"a=1": "minimize", "b": "minimize"}
    found = search("mlflow", tmp_path, odd, directions=directions, direction=None)
    assert found.logged()[0].metrics["value_a_1"] == 1.0


@pytest.mark.slow
def test_nothing_is_imported_before_a_callback_is_made() -> None:
    code = (
        "import sys, actsearch as acs\n"
        "acs.TensorBoardCallback, acs.MLflowCallback, acs.WandbCallback\n"
        "print({'tensorboard', 'mlflow', 'wandb'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "set()", result.stderr
