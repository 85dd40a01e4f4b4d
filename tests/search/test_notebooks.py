"""What a notebook shows of a study, a trial, a verdict, a task and the sites of a model."""

from __future__ import annotations

import dataclasses
import html
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from torch import nn

import actsearch as acs
from actsearch.report import Verdict

NAME = "<script>alert(1)</script> \\(x\\) $\\href{javascript:alert(1)}{y}$ \" '"
SHOWN = {"div", "p", "strong", "table", "tr", "th", "td", "svg", "title", "polyline"}
"""Elements that hold text and lines, and neither load nor run anything."""


class _Reader(HTMLParser):
    """Elements, attributes and text, as a browser takes them."""

    def __init__(self, fragment: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: dict[str, set[str]] = {}
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(fragment)
        self.close()
        assert not self._open, "an element is left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value or "")
        if tag != "polyline":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "polyline":
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.words)


def read(shown: object) -> _Reader:
    """What a notebook would show, if it holds nothing that runs, loads, or sets colours of its own."""
    reader = _Reader(shown._repr_html_())  # type: ignore[attr-defined]
    assert reader.elements <= SHOWN
    assert set(reader.attributes) <= {
        "class", "style", "width", "height", "role", "points", "fill", "stroke", "stroke-width",
    }  # fmt: skip
    assert reader.attributes.get("stroke", set()) <= {"currentColor"}
    for style in reader.attributes["style"]:
        assert re.findall(r"(?<![-\w])(?:color|background[-\w]*): ([^;]*)", style) in (
            [],
            ["inherit"],
        )
    (names,) = reader.attributes["class"]  # what is between dollars in a name is no formula
    assert set(names.split()) == {"tex2jax_ignore", "mathjax_ignore"}
    return reader


@pytest.fixture(scope="module")
def task(make_tiny_task: Callable[[], acs.Task]) -> acs.Task:
    return make_tiny_task().replace(name=NAME, epochs=3)


@pytest.fixture(scope="module")
def confirmed(task: acs.Task) -> acs.Study:
    study = acs.create_study(study_name=NAME, strategy="random", seed=3)
    study.optimize(task, n_trials=4, show_progress_bar=False)
    study.confirm(task, top_k=2, seeds=8, show_progress_bar=False)
    return study


def test_a_verdict_is_its_table_with_intervals_and_its_sentence(confirmed: acs.Study) -> None:
    (verdict,) = confirmed.verdicts
    shown = read(verdict)
    assert verdict.sentence in shown.words
    assert NAME in shown.text
    assert {"95 % interval", verdict.baseline.label} <= set(shown.words)
    cells = re.split(r"  +", "  ".join(str(verdict).splitlines()[1:-2]))
    assert {cell for cell in cells if cell and set(cell) != {"-"}} <= set(shown.words)


def test_a_study_says_what_was_tried_and_how_far_its_best_can_be_trusted(
    confirmed: acs.Study, task: acs.Task
) -> None:
    shown = read(confirmed)
    best, (verdict,) = confirmed.best_trial, confirmed.verdicts
    assert f"Study {NAME}" in shown.words
    assert {"random", verdict.sentence} <= set(shown.words)
    assert "4 COMPLETE" in shown.text
    row = verdict.row(best.number)
    trust = f"when confirmed: {row.verdict}" if row else "not confirmed"
    assert f"trial {best.number}, {best.record.candidate.label}: loss" in shown.text
    assert trust in shown.text

    fresh = acs.create_study(study_name="fresh", strategy="random")
    assert "none is complete" in read(fresh).words
    fresh.optimize(task, n_trials=1, show_progress_bar=False)
    assert "optimistic, as the best of many noisy values, and not confirmed" in read(fresh).text


def test_a_trial_has_its_formula_its_value_and_its_curve(confirmed: acs.Study) -> None:
    (verdict,) = confirmed.verdicts
    for row in verdict.rows:
        assert row.number is not None
        trial = confirmed.trials[row.number]
        shown = read(trial)
        assert {trial.record.candidate.formula, "COMPLETE", verdict.remark(row)} <= set(
            shown.words
        )
        assert f"{trial.value:.4f}" in shown.words
        (points,) = shown.attributes["points"]
        assert len(points.split()) == len(trial.curve) == 3
        assert f"to {trial.value:.4f} at 3" in shown.text
    waiting = next(trial for trial in confirmed.trials if trial.state.name == "WAITING")
    assert "svg" not in read(waiting).elements


def test_a_trial_says_why_it_failed_and_nothing_of_that_is_markup() -> None:
    def objective(candidate: acs.Candidate, run: acs.Run) -> float:
        raise ValueError("<img src=x onerror=alert(1)>")

    study = acs.create_study(study_name="fails", direction="minimize")
    study.optimize(objective, n_trials=1, show_progress_bar=False)
    shown = read(study.trials[0])
    assert "FAILED" in shown.words
    assert "<img src=x onerror=alert(1)>" in shown.text


def test_a_study_of_several_objectives_shows_its_front() -> None:
    study = acs.create_study(study_name="two", directions={"a": "minimize", "b": "minimize"})
    study.optimize(
        lambda candidate, run: {"a": run.number, "b": -run.number},
        n_trials=3,
        show_progress_bar=False,
    )
    shown = read(study)
    assert "Pareto front of a, b" in shown.words
    assert ", ".join(str(trial.number) for trial in study.best_trials) in shown.words
    assert "0.0000, " in read(study.best_trials[0]).text


def test_a_task_says_what_is_trained(task: acs.Task) -> None:
    shown = read(task)
    assert f"Task {NAME}" in shown.words
    for name, text in (("epochs", "3"), ("lr", "0.01"), ("train", "(float32[64, 2], int64[64])")):
        assert shown.words[shown.words.index(name) + 1] == text


def test_sites_are_a_table_and_still_a_list() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2), nn.Softmax(1))
    sites = acs.sites(model)
    shown = read(sites)
    assert shown.words[:4] == ["path", "kind", "type", "role"]
    assert shown.words[4:12] == [
        "1",
        "module",
        "ReLU",
        "hidden",
        "3",
        "module",
        "Softmax",
        "output",
    ]
    assert "2 sites (1 hidden, 1 output), traced by torch.fx" in shown.words
    assert isinstance(sites, list)
    assert read(acs.sites(nn.Linear(2, 2))).words == ["0 sites (none), traced by torch.fx"]


def test_a_damaged_verdict_shows_its_own_words(confirmed: acs.Study) -> None:
    data = confirmed.verdicts[0].to_json()
    data["rows"][0] |= {"label": "", "activation": {"formula": "<img src=x onerror=alert(1)>"}}
    verdict = Verdict.from_json(data)
    assert verdict.rows[0].is_damaged
    assert "unreadable" in read(verdict).words


def test_a_study_whose_database_is_gone_says_so_and_does_not_raise(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    study = acs.create_study(study_name=NAME, storage=f"sqlite:///{path}")
    path.unlink()
    assert f"study {NAME} cannot be shown: StorageError: " in read(study).text


def test_what_is_shown_can_be_written_in_any_notebook(task: acs.Task) -> None:
    """A notebook is JSON in UTF-8, which has no halves of surrogate pairs."""
    shown = dataclasses.replace(task, name="half \ud800 & more")._repr_html_()
    assert html.unescape(shown.encode().decode()).count("half \\ud800 & more") == 1
