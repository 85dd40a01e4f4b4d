"""The candidates that are compared, read from one study or several, and what each is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from actsearch.errors import StudyError
from actsearch.records import TrialRecord
from actsearch_dashboard.compare_address import split_reference
from actsearch_dashboard.data import Store, StudyView
from actsearch_dashboard.text import candidate_label, markdown, one_line, short_labels, shorten

__all__ = ["Compared", "labels_elsewhere", "name_studies", "read_compared", "studies_of"]

_STUDY = 18  # characters of a study's name that leave room for a formula in a legend


@dataclass(frozen=True)
class Compared:
    """One candidate among those that are compared.

    Attributes:
        view: of its study.
        trial: with its epochs.
        name: what it is called in figures: number and formula, after its study where there are several.
    """

    view: StudyView
    trial: TrialRecord
    name: str

    @property
    def study(self) -> str:
        """Name of its study."""
        return self.view.record.name


def labels_elsewhere(view: StudyView, references: Sequence[str]) -> dict[str, str]:
    """The labels of trials of other studies, by reference; those that are not there are left out."""
    own = view.record.name
    by_study = _group(references, own)
    by_study.pop(own, None)
    labels = {}
    for name, wanted in by_study.items():
        other = _open(view.store, name)
        if other is None:
            continue
        for trial in other.store.reader.trials(other.record, list(wanted)):
            labels[wanted[trial.number]] = candidate_label(trial.candidate.label)
    return labels


def read_compared(view: StudyView, references: Sequence[str]) -> list[Compared]:
    """The candidates in the order of their references; says which of their studies are gone.

    Args:
        view: the page's own study, which references without a study mean.
        references: see :func:`actsearch_dashboard.compare_address.refer`.
    """
    own = view.record.name
    found: dict[str, tuple[StudyView, TrialRecord]] = {}
    for name, wanted in _group(references, own).items():
        of = view if name == own else _open(view.store, name)
        if of is None:
            st.warning(f"Study {markdown(shorten(name))} is gone.", icon=":material/search_off:")
            continue
        for trial in of.store.reader.trials(of.record, list(wanted), epochs=True):
            found[wanted[trial.number]] = of, trial
    read = [found[reference] for reference in references if reference in found]
    labels = short_labels([candidate_label(trial.candidate.label) for _, trial in read])
    studies = name_studies([of.record.name for of, _ in read])
    before = {name: f"{short} " for name, short in studies.items()} if len(studies) > 1 else {}
    return [
        Compared(of, trial, f"{before.get(of.record.name, '')}#{trial.number} {label}")
        for (of, trial), label in zip(read, labels, strict=True)
    ]


def studies_of(items: Sequence[Compared]) -> list[StudyView]:
    """The studies of the candidates, each once."""
    return list({item.study: item.view for item in items}.values())


def name_studies(names: Sequence[str]) -> Mapping[str, str]:
    """A short name of each study that tells it from the others: its beginning, else its end, else all of it."""
    distinct = list(dict.fromkeys(names))
    starts = [shorten(name, _STUDY) for name in distinct]
    ends = [_shorten_start(name) for name in distinct]
    whole = [one_line(name) for name in distinct]
    short = next((way for way in (starts, ends) if len(set(way)) == len(way)), whole)
    return dict(zip(distinct, short, strict=True))


def _shorten_start(name: str) -> str:
    line = one_line(name)
    return line if len(line) <= _STUDY else "…" + line[1 - _STUDY :]


def _group(references: Sequence[str], own: str) -> dict[str, dict[int, str]]:
    """References by study and number."""
    grouped: dict[str, dict[int, str]] = {}
    for reference in references:
        study, number = split_reference(reference, own)
        if number is not None:
            grouped.setdefault(study, {})[number] = reference
    return grouped


def _open(opened: Store, name: str) -> StudyView | None:
    try:
        return opened.view(name)
    except StudyError:
        return None
