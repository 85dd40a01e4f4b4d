"""Taking a candidate away: Python to paste, and files."""

from __future__ import annotations

import dataclasses

import pandas as pd
import streamlit as st

from actsearch.errors import ActsearchError
from actsearch.records import CandidateRecord, TrialRecord, say_pass
from actsearch.report import chosen_rate, curve_trials, family_of, origin
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.function_client import ask
from actsearch_dashboard.text import csv_text, file_stem, markdown, one_line

__all__ = ["curves_csv", "enqueue_text", "show"]

_RECIPE = (
    "optimizer",
    "epochs",
    "steps",
    "batch_size",
    "weight_decay",
    "schedule",
    "clip_grad_norm",
    "gain",
)
_CODE_HEIGHT = 380  # pixels, some 16 lines; the rest is scrolled to


def show(view: StudyView, trial: TrialRecord) -> None:
    """Python for any PyTorch model, and downloads."""
    st.subheader("Export", anchor=False)
    python = _python(view, trial)
    if python is not None:
        st.code(python, language="python", height=_CODE_HEIGHT)
    stem = f"{file_stem(view.record.name)}-trial-{trial.number}"
    _recipe(view, trial)
    with st.container(horizontal=True):
        if python is not None:
            _button("Python", python, f"{stem}.py".replace("-", "_"), "text/x-python")
        _button("JSON", _json(view, trial), f"{stem}.json", "application/json")
        if any(evaluation.epochs for evaluation in trial.evaluations):
            _button("CSV of the curves", curves_csv(trial), f"{stem}-curves.csv", "text/csv")


def _recipe(view: StudyView, trial: TrialRecord) -> None:
    """What it was trained with, and how to have it trained again."""
    task = view.record.task or {}
    chosen = chosen_rate(view.record.user_attrs)
    facts = {
        "seeds": ", ".join(str(evaluation.seed) for evaluation in trial.evaluations),
        "learning rate": f"{chosen.used:.4g}, chosen" if chosen else task.get("lr"),
        **{name.replace("_", " "): task.get(name) for name in _RECIPE},
        "trained with": ", ".join(f"{name} {word}" for name, word in trial.trained_with.items()),
    }
    with st.expander("Recipe", icon=":material/menu_book:"):
        lines = [f"{name}: {one_line(word)}" for name, word in facts.items() if word]
        st.code("\n".join(lines) or "Nothing was recorded.", language=None, wrap_lines=True)
        st.code(enqueue_text(trial.candidate), language=None, wrap_lines=True)


def enqueue_text(candidate: CandidateRecord) -> str:
    """Python that puts a candidate into a study."""
    if candidate.is_baseline:
        return 'study.enqueue_trial("baseline")'
    single = candidate.single
    if single is not None and single.name is not None:
        settings = "".join(
            f", {name}={value!r}"
            for name, value in single.hyperparameters.items()
            if str(name).isidentifier() and isinstance(value, (bool, int, float, str))
        )
        return f"study.enqueue_trial({single.name!r}{settings})"
    if single is not None:
        return f"study.enqueue_trial({single.formula!r})"
    groups = {group: item.formula for group, item in candidate.by_group.items()}
    return f"study.enqueue_trial({groups!r})"


def _button(label: str, text: str, file: str, mime: str) -> None:
    st.download_button(
        label,
        text.encode(),
        file_name=file,
        mime=mime,
        icon=":material/download:",
        key=f"download {label}",
        on_click="ignore",
    )


def _python(view: StudyView, trial: TrialRecord) -> str | None:
    """One file; None, and words, where it cannot be written."""
    if trial.candidate.is_baseline:
        return None
    if trial.candidate.learns_shape:
        family = family_of(trial.number, view.frame())
        curves = curve_trials(view.store.reader.trials(view.record, family))
        words = say_pass(trial.number, curves.get(trial.number))
        st.info(f"No Python for it: {markdown(words)}.", icon=":material/info:")
        return None
    try:
        return _write_python(trial.candidate, one_line(_origin(view, trial)))
    except ActsearchError as error:
        st.info(f"No Python for it: {markdown(error)}", icon=":material/info:")
        return None


@st.cache_data(max_entries=256, show_spinner="Writing Python ...")
def _write_python(candidate: CandidateRecord, note: str) -> str:
    items = {group: item.to_json() for group, item in candidate.activations.items()}
    return str(ask("write_python", items=items, note=note))


def _origin(view: StudyView, trial: TrialRecord) -> str:
    """Where the candidate comes from: study, trial and the newest verdict about it."""
    if (found := view.verdict_of(trial.number)) is not None:
        return origin(view.record.name, trial, *found)
    return origin(view.record.name, trial, None, None, chosen_rate(view.record.user_attrs))


def _json(view: StudyView, trial: TrialRecord) -> str:
    from actsearch.report.json_view import trial_json

    return trial_json(view.record.name, trial)


def curves_csv(trial: TrialRecord) -> str:
    """The epochs of every seed."""
    return csv_text(
        pd.DataFrame(
            [
                {"seed": evaluation.seed, **dataclasses.asdict(epoch)}
                for evaluation in trial.evaluations
                for epoch in evaluation.epochs
            ]
        )
    )
