"""Trials as runs of MLflow: the only module that imports it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from actsearch.callbacks.entry import Entry, check_metric_name, make_entry, missing_library

if TYPE_CHECKING:
    from actsearch.study import Study, Trial

__all__ = ["MLflowCallback"]

_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAILED": "FAILED"}
_BATCH = 1000  # metrics that MLflow takes in one request
_PARAMS = 100  # likewise
_REFUSED = re.compile(r"[^\w\-. :/]")  # in the name of a metric or a parameter, on every system


class MLflowCallback:
    """Writes each trial to MLflow: ``study.optimize(task, callbacks=[acs.MLflowCallback("sqlite:///mlflow.db")])``.

    A trial is a run of the experiment that is called like the study: its settings are parameters, its value, seconds,
    and losses by epoch metrics. A run that is called KILLED was pruned. The active run and the tracking URI of your own
    code stay as they are.

    Args:
        tracking_uri: where to, as ``mlflow.set_tracking_uri`` takes it; None for what MLflow is set to.
        metric_name: what the value is called; with several objectives their names are added to it, or it is a list of
            one for each.
        experiment_name: None for the study's name.
        tags: further tags of each run.

    Raises:
        ActsearchError: MLflow is not installed.

    Example:
        >>> callback = acs.MLflowCallback("sqlite:///mlflow.db")  # doctest: +SKIP
        >>> study.optimize(task, n_trials=50, callbacks=[callback])  # doctest: +SKIP
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        metric_name: str | Sequence[str] = "value",
        experiment_name: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self._metric_name = check_metric_name(metric_name)
        self._experiment_name = experiment_name
        self._tags = dict(tags or {})
        try:
            import mlflow
        except ImportError as error:
            raise missing_library("MLflowCallback", "mlflow", error) from error
        self._entities: Any = mlflow.entities
        self._client: Any = mlflow.MlflowClient(tracking_uri)

    def __call__(self, study: Study, trial: Trial) -> None:
        """Write a trial that has ended."""
        entry = make_entry(study, trial, self._metric_name)
        began, ended = _milliseconds(trial.datetime_start), _milliseconds(trial.datetime_complete)
        run = self._client.create_run(
            self._experiment_id(self._experiment_name or study.study_name),
            start_time=began,
            tags=self._tags,
            run_name=f"trial {trial.number}",
        )
        self._write(run.info.run_id, entry, ended or 0, trial.number)
        self._client.set_terminated(run.info.run_id, _STATUS.get(trial.state.value), ended)

    def _experiment_id(self, name: str) -> str:
        known = self._client.get_experiment_by_name(name)
        return str(self._client.create_experiment(name) if known is None else known.experiment_id)

    def _write(self, run_id: str, entry: Entry, ended: int, number: int) -> None:
        metrics = [
            *_metrics(self._entities, entry.metrics, ended, number),
            *itertools.chain.from_iterable(
                _metrics(self._entities, measured, ended, epoch) for epoch, measured in entry.curve
            ),
        ]
        params = [
            self._entities.Param(_name(name), str(value)) for name, value in entry.settings.items()
        ]
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + _BATCH])
        for start in range(0, len(params), _PARAMS):
            self._client.log_batch(run_id, params=params[start : start + _PARAMS])


def _metrics(entities: Any, values: Mapping[str, float], when: int, step: int) -> Iterable[Any]:
    return [entities.Metric(_name(name), value, when, step) for name, value in values.items()]


def _name(text: str) -> str:
    """A name with what MLflow refuses written as a line, as in the pattern of a group of sites."""
    return _REFUSED.sub("_", text)


def _milliseconds(when: datetime | None) -> int | None:
    """Since 1970, as MLflow counts."""
    return None if when is None else int(when.timestamp() * 1000)
