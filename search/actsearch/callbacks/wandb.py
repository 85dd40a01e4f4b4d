"""Trials as runs of Weights & Biases: the only module that imports it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from actsearch.callbacks.entry import check_metric_name, make_entry, missing_library

if TYPE_CHECKING:
    from actsearch.study import Study, Trial

__all__ = ["WandbCallback"]

_LONGEST_GROUP = 128  # characters, which the server takes


class WandbCallback:
    """Writes each trial to Weights & Biases: ``study.optimize(task, callbacks=[acs.WandbCallback()])``.

    A trial is a run in the group that is called like the study: its settings are the run's config, its losses and
    metrics by epoch the history, its value and seconds the summary. A trial that failed is a run that failed. A run of
    your own that is active meanwhile stays as it is.

    Args:
        metric_name: what the value is called; with several objectives their names are added to it, or it is a list of
            one for each.
        wandb_kwargs: for ``wandb.init``, as project, entity, tags, ``mode="offline"``, or a config that is added.

    Raises:
        ActsearchError: wandb is not installed.

    Example:
        >>> callback = acs.WandbCallback(wandb_kwargs={"project": "activations"})  # doctest: +SKIP
        >>> study.optimize(task, n_trials=50, callbacks=[callback])  # doctest: +SKIP
    """

    def __init__(
        self,
        metric_name: str | Sequence[str] = "value",
        wandb_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self._metric_name = check_metric_name(metric_name)
        self._wandb_kwargs = dict(wandb_kwargs or {})
        try:
            import wandb
        except ImportError as error:
            raise missing_library("WandbCallback", "wandb", error) from error
        self._library: Any = wandb

    def __call__(self, study: Study, trial: Trial) -> None:
        """Write a trial that has ended."""
        entry = make_entry(study, trial, self._metric_name)
        settings = {
            "group": study.study_name[:_LONGEST_GROUP],
            "name": f"trial {trial.number}",
            "reinit": "create_new",  # beside a run that is active, which init would give back instead
            **self._wandb_kwargs,
            "config": {**entry.settings, **(self._wandb_kwargs.get("config") or {})},
        }
        with self._library.init(**settings) as run:  # an error on the way ends the run as failed
            for epoch, measured in entry.curve:
                run.log(dict(measured), step=epoch)
            run.summary.update(dict(entry.metrics))
            run.finish(exit_code=int(trial.state.value == "FAILED"))
