"""Optuna's own figures of a study's trials."""

from __future__ import annotations

import dataclasses
import html
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna import visualization

from actsearch.records import ActivationRecord, StudyRecord, TrialRecord
from actsearch.report.optuna_view import optuna_study
from actsearch.silence import silence

__all__ = ["MOST_CURVES", "NAMES", "NEED_EPOCHS", "NEED_EVEN", "PARALLEL", "FigureError", "draw"]

_log = logging.getLogger("actsearch")

MOST_CURVES = 200
"""One trace a trial: more would only be a thicket, and slow."""

_MOST_PAIRED = 4  # parameters of figures with a panel for each pair of them
_MOST_PARAMETERS = 8  # of the others: a catalog has dozens, most of them in a few trials
_FEW = "Optuna needs more finished trials for this figure"

Figure = Callable[..., go.Figure]


class FigureError(Exception):
    """A figure that cannot be drawn yet; the text says why."""


def _intermediate_values(study: optuna.Study) -> go.Figure:
    trials = study.get_trials(deepcopy=False)
    latest = [trial for trial in trials if trial.intermediate_values][-MOST_CURVES:]
    if not latest:
        raise FigureError("no trial has reported values by epoch yet")
    smaller = optuna.create_study(study_name=study.study_name, directions=study.directions)
    smaller.add_trials(latest)
    for drawn, trial in zip(smaller.get_trials(deepcopy=False), latest, strict=True):
        drawn.number = trial.number  # which adding gave anew
    return visualization.plot_intermediate_values(smaller)


def _pareto_front(study: optuna.Study) -> go.Figure:
    if len(study.directions) < 2:
        raise FigureError("there is but one objective, so the best trial is all of the front")
    if len(study.directions) > 3:
        raise FigureError(f"{len(study.directions)} objectives cannot be drawn, three can")
    return visualization.plot_pareto_front(study)


def _common(draw_figure: Figure, most: int, least: int = 1) -> Figure:
    """The same for the few parameters that most trials have."""

    def draw_common(study: optuna.Study, **target: Any) -> go.Figure:
        trials = study.get_trials(deepcopy=False)
        count = Counter(name for trial in trials for name in trial.params)
        names = [name for name, _ in count.most_common(most)]
        if len(names) < least:
            raise FigureError("it takes two parameters, and the activation is the only one here")
        return draw_figure(study, params=names, **target)

    return draw_common


PARALLEL = "Parallel coordinates"
"""The name of that figure."""

_FIGURES: dict[str, Figure] = {  # the first is drawn with its page, so it is the lightest
    "Slice": _common(visualization.plot_slice, _MOST_PARAMETERS),
    "Importance": visualization.plot_param_importances,
    PARALLEL: _common(visualization.plot_parallel_coordinate, _MOST_PARAMETERS),
    "Contour": _common(visualization.plot_contour, _MOST_PAIRED, 2),
    "Rank": _common(visualization.plot_rank, _MOST_PAIRED, 2),
    "Timeline": visualization.plot_timeline,
    "Learning curves": _intermediate_values,
    "Pareto front": _pareto_front,
}
_UNTARGETED = ("Timeline", "Learning curves", "Pareto front")

NAMES = tuple(_FIGURES)
"""The figures that :func:`draw` knows."""

NEED_EPOCHS = ("Learning curves",)
"""Those of them that look at epochs."""

NEED_EVEN = ("Importance",)
"""Those that compute something of all trials: a sample with too many good ones would be another study."""


def draw(
    name: str,
    study: StudyRecord,
    trials: Sequence[TrialRecord],
    metric: str,
    objective: int = 0,
) -> go.Figure:
    """Draw one of Optuna's figures.

    Args:
        name: one of :data:`NAMES`.
        study: whose.
        trials: its trials, with epochs for "Learning curves".
        metric: name of the objective that is shown.
        objective: which of several the figure is of.

    Raises:
        FigureError: too few trials, or none with what the figure shows.
    """
    try:
        with silence("optuna", Warning, level=logging.ERROR):  # its hints are for programmers
            if not any(trial.state.is_trained for trial in trials):
                raise FigureError(_FEW)
            optuna_view = optuna_study(
                _escape_study(study), [_escape_trial(trial) for trial in trials]
            )
            target = {} if name in _UNTARGETED else _target(study, objective, metric)
            figure = _FIGURES[name](optuna_view, **target)
    except FigureError:
        raise
    except (
        Exception
    ) as error:  # whatever Optuna's evaluators raise for too few or too equal trials
        _log.info("figure %s of study %r: %s", name, study.name, error)
        raise FigureError(f"{_FEW}: {error}") from error
    if not figure.data:
        raise FigureError(_FEW)
    figure.update_layout(title=None, margin={"l": 60, "r": 20, "t": 30, "b": 50})
    return figure


def _target(study: StudyRecord, objective: int, metric: str) -> dict[str, Any]:
    """The name of what is optimised; of several objectives Optuna wants to be told which."""
    if len(study.directions) < 2:
        return {"target_name": _escape(metric)}
    return {"target": lambda trial: trial.values[objective], "target_name": _escape(metric)}


def _escape_study(study: StudyRecord) -> StudyRecord:
    return dataclasses.replace(
        study,
        name=_escape(study.name),
        objectives=tuple(map(_escape, study.objectives)),
        task={key: _escape(value) for key, value in (study.task or {}).items() if key == "metric"},
    )


def _escape_trial(trial: TrialRecord) -> TrialRecord:
    """The trial with all text that may reach a figure made harmless: Plotly reads a subset of HTML."""
    candidate = trial.candidate
    activations = {_escape(k): _escape_activation(v) for k, v in candidate.activations.items()}
    return dataclasses.replace(
        trial,
        candidate=dataclasses.replace(
            candidate, activations=activations, operation=_escape(candidate.operation)
        ),
        reason=_escape(trial.reason),
    )


def _escape_activation(item: ActivationRecord) -> ActivationRecord:
    return dataclasses.replace(
        item,
        formula=_escape(item.formula),
        name=None if item.name is None else _escape(item.name),
        hyperparameters={
            key: _escape(value) if isinstance(value, str) else value
            for key, value in item.hyperparameters.items()
        },
    )


def _escape(text: object) -> str:
    return html.escape(str(text), quote=False)
