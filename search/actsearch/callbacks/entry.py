"""What is written of a trial, wherever it goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from actsearch.errors import ActsearchError
from actsearch.records import CandidateRecord
from actsearch.report import objective_names

if TYPE_CHECKING:  # users hand these over; the floor of studies is above
    import pandas as pd

    from actsearch.study import Study, Trial

__all__ = ["Entry", "check_metric_name", "make_entry", "missing_library"]

_MEASURED = ("train_loss", "train_metric", "valid_loss", "valid_metric")


@dataclass(frozen=True)
class Entry:
    """One trial in names, numbers and texts.

    Attributes:
        settings: what was tried, and how: activation, formula, what made it, hyperparameters, learning rate if the
            study chose one, study, strategy, seed, number of the trial, state, and why it ended early.
        metrics: value of each objective where there is one, spread where there is one, seconds.
        curve: epoch (or step) with what was measured there, the mean over seeds.
    """

    settings: Mapping[str, str | int | float]
    metrics: Mapping[str, float]
    curve: Sequence[tuple[int, Mapping[str, float]]]


def make_entry(study: Study, trial: Trial, metric_name: str | Sequence[str]) -> Entry:
    """Read what is to be written.

    Raises:
        ActsearchError: another number of names than of objectives.
    """
    record, candidate = trial.record, trial.record.candidate
    settings: dict[str, str | int | float] = {
        "study": study.study_name,
        "strategy": str(study.record.strategy.get("name")),
        "seed": study.record.seed,
        "trial": trial.number,
        "state": trial.state.value,
        "activation": candidate.label,
        "formula": candidate.formula,
        "made by": candidate.operation,
        "reason": trial.reason,
        **dict(_hyperparameters(candidate)),
    }
    if trial.chosen_rate is not None:
        settings["learning_rate"] = trial.chosen_rate.used
    names = _name_values(objective_names(study.record), metric_name)
    values = dict(zip(names, trial.values, strict=False))
    metrics = {**values, "spread": record.spread, "seconds": record.seconds}
    return Entry(
        {name: value for name, value in settings.items() if value != ""},
        {name: value for name, value in metrics.items() if value is not None},
        list(_means(trial.curve)),
    )


def check_metric_name(metric_name: str | Sequence[str]) -> str | tuple[str, ...]:
    """Refuse at the door what cannot name values.

    Raises:
        ActsearchError: neither a text nor a list of texts.
    """
    if isinstance(metric_name, str) and metric_name:
        return metric_name
    if isinstance(metric_name, Sequence) and not isinstance(metric_name, str):
        names = tuple(metric_name)
        if names and all(isinstance(name, str) and name for name in names):
            return names
    raise ActsearchError(
        f"metric_name must be a text, or one for each objective, not {metric_name!r}"
    )


def missing_library(callback: str, extra: str, error: ImportError) -> ActsearchError:
    """What to raise where the library of a callback cannot be imported."""
    return ActsearchError(
        f'{callback} cannot import its library ({error}): pip install "actsearch[{extra}]"'
    )


def _hyperparameters(candidate: CandidateRecord) -> Iterator[tuple[str, str | int | float]]:
    """Those of a catalog row; of several rows each under the name of its group of sites."""
    for group, item in candidate.activations.items():
        for name, value in item.hyperparameters.items():
            yield (name if candidate.single is not None else f"{group} {name}"), value


def _name_values(objectives: Sequence[str], metric_name: str | Sequence[str]) -> Sequence[str]:
    if isinstance(metric_name, str):
        return [f"{metric_name}_{name}" for name in objectives] or [metric_name]
    expected = len(objectives) or 1
    if len(metric_name) != expected:
        raise ActsearchError(
            f"metric_name has {len(metric_name)} names ({', '.join(metric_name)}), and the study has {expected} "
            f"objective{'s' if expected > 1 else ''}: give as many, or one text for all"
        )
    return metric_name


def _means(curve: pd.DataFrame) -> Iterator[tuple[int, Mapping[str, float]]]:
    """By epoch, over those seeds that reached it; one of them that is not finite shows in the mean."""
    measured = [name for name in _MEASURED if curve[name].notna().any()]
    if not measured:
        return
    grouped = curve.groupby("epoch")[measured]
    means = grouped.mean().where(grouped.count().eq(grouped.size(), axis=0))
    for epoch, row in zip(means.index.tolist(), means.to_numpy().tolist(), strict=True):
        yield int(epoch), dict(zip(measured, row, strict=True))
