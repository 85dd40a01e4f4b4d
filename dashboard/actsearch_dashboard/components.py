"""Pieces that several pages show."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pandas as pd
import streamlit as st

from actsearch.records import TrialState
from actsearch.report import Verdict, VerdictRow
from actsearch.report.verdict.table import format_signed
from actsearch_dashboard import figures, row_clicks
from actsearch_dashboard.confirming import confirmation_start
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.filters import TRAINED
from actsearch_dashboard.state import current_study, go_to, live, show_errors
from actsearch_dashboard.text import (
    ago,
    column_format,
    markdown,
    moment,
    one_line,
    say_count,
    short_labels,
    shorten,
)
from actsearch_dashboard.zoom import keep_view

__all__ = [
    "COLUMNS",
    "FITTED",
    "FITTED_SIGNED",
    "OPENS",
    "SECONDS",
    "SPREAD",
    "clickable_table",
    "fit_formats",
    "heading",
    "log_axis",
    "show_no_trials",
    "show_note",
    "open_trial",
    "settings",
    "failure_reasons",
    "show_failures",
    "show_figure",
    "show_trials_figure",
    "study_page",
    "table_height",
    "trial_table",
    "verdict_frame",
    "show_verdict",
    "verdict_box",
]

_BUTTONS = {
    "displaylogo": False,
    "modeBarButtonsToRemove": [
        "zoom2d", "pan2d", "select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d",
    ],
}  # fmt: skip

_SEED = re.compile(r"^seed \d+: ")
_WORTH_A_LOG = 1.0  # orders of magnitude: with fewer, both axes look alike
_ROW, _BORDERS = 35, 2  # pixels, as Streamlit draws tables; the header is a row

OPENS = "A click on a row, or Shift + Space, opens it."
FITTED, FITTED_SIGNED = "fitted", "fitted, signed"
"""Formats that :func:`fit_formats` replaces by those that suit a column's numbers."""
SECONDS = "%.2f s"
SPREAD = (
    "Standard deviation over the seeds; of a Task with one seed, over its last epochs. A function of your own with one "
    "seed has none."
)


COLUMNS: Mapping[str, Any] = {
    "trial": st.column_config.NumberColumn(width="small"),
    "value": st.column_config.NumberColumn(format=FITTED),
    "spread": st.column_config.NumberColumn(
        format=FITTED,
        help=SPREAD,
    ),
    "activation": st.column_config.TextColumn(width="large"),
    "function": st.column_config.ImageColumn(
        width=112, help="f(x) for x in -4 .. 4; most are drawn to one scale, -2 .. 4."
    ),
}
"""Columns of tables of trials."""


def log_axis(values: Iterable[float], key: str) -> bool:
    """Whether an axis is logarithmic: a switch, where all numbers are above 0 and differ in more than a digit.

    It is on from the beginning where a linear axis would show the largest numbers alone.
    """
    numbers = list(values)
    if figures.orders_of_magnitude(numbers) < _WORTH_A_LOG:
        return False
    return st.toggle("Logarithmic", value=figures.is_steep(numbers), key=f"log {key}")


def study_page(body: Callable[[StudyView], None]) -> Callable[[], None]:
    """The page of a study that has trials: without any, or where the storage cannot be read, it says what to do."""

    @show_errors
    def render() -> None:
        view = current_study()
        if view is not None:
            heading(view)
            if view.frame().empty:
                live(view, lambda: _wait_for_trials(view))
            else:
                body(view)

    return render


def _wait_for_trials(view: StudyView) -> None:
    if not view.frame().empty:
        st.rerun()
    show_no_trials()


def heading(view: StudyView) -> None:
    """The study's name, and how it is searched."""
    st.header(markdown(shorten(view.record.name, 80)), anchor=False)
    direction = view.record.direction or "direction not yet known"
    objectives = [f"{direction} {view.metric}"]
    if names := view.objectives:
        directions = view.record.directions
        objectives = [f"{way} {name}" for way, name in zip(directions, names, strict=True)]
    show_note(view.record.user_attrs)
    parts = [f"{view.strategy} search", ", ".join(objectives), f"seed {view.record.seed}"]
    if view.is_running:
        parts.append("running now")
    st.caption(" · ".join(markdown(part) for part in parts))
    if not view.store.reader.is_live:
        st.caption("Read from a folder that cannot be written: later changes are not seen here.")


def show_note(attrs: Mapping[str, Any]) -> None:
    """What somebody noted: ``user_attrs["note"]`` of a study or a trial."""
    note = attrs.get("note")
    if isinstance(note, str) and note.strip():
        st.markdown(f":material/edit_note: {markdown(shorten(note, 500))}")


def show_verdict(view: StudyView) -> tuple[datetime, Verdict] | None:
    """The verdict's sentence, or how to get one where none is under way; returns that verdict."""
    headline = view.headline()
    if headline is None:
        if confirmation_start(view) is None:
            _ask_for_verdict(view)
        return None
    when, verdict = headline
    verdict_box(verdict.winner.verdict, f"**{markdown(verdict.sentence)}**")
    st.caption(
        f"Verdict of {markdown(moment(when))} ({ago(when)}): {markdown(shorten(verdict.metric, 40))} on "
        f"{verdict.tested}, {verdict.spent}; intervals hold for {verdict.counted} made on it, over "
        f"{verdict.claim}."
    )
    for later, undecided in view.verdicts()[-1:]:
        if later > when:
            st.caption(
                f"A later one ({markdown(moment(later))}, {undecided.spent}) takes nothing of it back: "
                f"{markdown(undecided.sentence)}"
            )
    if count := _count_later_trials(view, when):
        st.caption(
            f"{say_count(count, 'trial has', 'trials have')} completed since then, and no verdict has compared "
            "what they found: call `study.confirm(task)` again."
        )
    return headline


def verdict_box(word: str, text: str) -> None:
    """What a verdict says, in the colour of its word on every page; ``text`` is markdown."""
    if word == "better":
        st.success(text, icon=":material/verified:")
    elif word == "worse":
        st.warning(text, icon=":material/balance:")
    else:
        st.info(text, icon=":material/balance:")


def _ask_for_verdict(view: StudyView) -> None:
    if not (view.frame()["state"] == TrialState.COMPLETE.value).any():
        return  # there is nothing to confirm
    with st.container(border=True):
        st.markdown(
            "**No verdict yet.** Values of the search are optimistic. To learn whether the best "
            "candidate beats your model, on test data and fresh seeds, call  \n"
            "`print(study.confirm(task))`"  # a code block loads 1.5 MB of highlighting
        )


def show_failures(view: StudyView) -> bool:
    """Where every trial that was trained failed: say so, and why."""
    frame = view.frame()
    trained = frame[frame["state"].isin(TRAINED)]
    if trained.empty or (trained["state"] != TrialState.FAILED.value).any():
        return False
    reason, count = failure_reasons(trained)[0]
    how = "with" if count == len(trained) else f"{count:,} of them with"
    st.error(
        f"All {say_count(len(trained), 'trained trial')} failed, {how}: **{markdown(shorten(reason, 300))}**  \n"
        "What raises has to be mended in the objective or the task; the page Trials has every reason.",
        icon=":material/error:",
    )
    return True


def failure_reasons(failed: pd.DataFrame) -> list[tuple[str, int]]:
    """Why trials failed or were refused, the most frequent first; in which seed does not count."""
    plain = [_SEED.sub("", reason) or "(not given)" for reason in failed["reason"]]
    return Counter(plain).most_common()


def _count_later_trials(view: StudyView, when: datetime) -> int:
    frame = view.frame()
    return int(((frame["completed"] > when) & (frame["state"] == "COMPLETE")).sum())


def verdict_frame(verdict: Verdict) -> pd.DataFrame:
    """The verdict's table, the baseline first; what is asked for first stands where a narrow screen shows it."""
    labels = short_labels([one_line(row.label) for row in verdict.rows])
    rows = [_verdict_line(verdict.baseline, one_line(verdict.baseline.label))]
    rows += [_verdict_line(row, label) for row, label in zip(verdict.rows, labels, strict=True)]
    if verdict.versus_catalog is not None:
        against = verdict.versus_catalog
        label = f"{shorten(verdict.winner.label, 30)}  against  {shorten(against.label, 30)}"
        mean = verdict.winner.mean
        rows.append({**_verdict_line(against, label), "mean": mean, "trial": None})
    return pd.DataFrame(rows).astype({"trial": "Int64"})


def _verdict_line(row: VerdictRow, label: str) -> dict[str, Any]:
    is_baseline = row.verdict == "baseline"
    has_interval = row.verdict not in ("baseline", "left early")
    word = row.verdict + (f" ({row.diverged} diverged)" if row.diverged else "")
    return {
        "activation": label,
        "difference": None if is_baseline else row.difference,
        "interval": f"{format_signed(row.low)} to {format_signed(row.high)}"
        if has_interval
        else "",
        "verdict": word,
        "mean": row.mean,
        "p": row.p_value if has_interval else None,
        "seeds": len(row.values),
        "learning rate": row.learning_rate,
        "untuned": row.untuned,
        "trial": row.number,
        "formula": row.formula,
    }


def show_no_trials() -> None:
    """What to do about a study that is empty."""
    st.info("No trial yet. Call study.optimize to start:", icon=":material/info:")
    st.code("study.optimize(task, n_trials=100)", language="python")


def show_figure(figure: Any, key: str) -> None:
    """A figure in the page's theme, with few of Plotly's buttons: they would cover the legend.

    What the reader zoomed in on stays so when a refresh draws it anew.
    """
    keep_view(figure, key)
    st.plotly_chart(figure, theme="streamlit", key=key, config=_BUTTONS)


def show_trials_figure(figure: Any, key: str) -> None:
    """A figure whose points are trials, their numbers in ``customdata``: a click on one opens it."""
    figure.update_layout(
        dragmode="zoom"
    )  # Streamlit's choice for charts to click on would be to pan
    keep_view(figure, key)
    event = st.plotly_chart(
        figure,
        theme="streamlit",
        key=key,
        on_select="rerun",
        selection_mode="points",
        config=_BUTTONS,
    )
    for point in event["selection"]["points"]:
        number = point.get("customdata")
        if isinstance(number, list):
            number = number[0] if number else None
        if isinstance(number, int):
            open_trial(number)


def trial_table(
    frame: pd.DataFrame,
    numbers: Sequence[int],
    key: str,
    columns: Mapping[str, Any],
    row_height: int | None = None,
    most_rows: int | None = None,
) -> None:
    """A table of trials, ``numbers`` in the order of its rows; a click on a row opens that trial."""
    chosen = clickable_table(frame, key, columns, row_height, most_rows)
    if chosen is not None:
        open_trial(numbers[chosen])


def clickable_table(
    frame: pd.DataFrame,
    key: str,
    columns: Mapping[str, Any],
    row_height: int | None = None,
    most_rows: int | None = None,
) -> int | None:
    """A table; returns the row that was clicked on.

    It is as high as ``most_rows`` rows, or as those that there are; None leaves that to Streamlit, which stops at 400
    pixels.
    """
    height: Any = "auto"
    if most_rows is not None:
        height = table_height(min(len(frame), most_rows), row_height)
    event = st.dataframe(
        frame,
        hide_index=True,
        key=key,
        on_select="rerun",
        selection_mode="single-row",
        column_config=fit_formats(frame, columns),
        placeholder="",
        row_height=row_height,
        height=height,
    )
    row_clicks.watch(key)
    rows = event.selection.rows
    return int(rows[0]) if rows and rows[0] < len(frame) else None


def fit_formats(frame: pd.DataFrame, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Columns whose format is :data:`FITTED` get one that suits the numbers in the table."""
    fitted = dict(columns)
    for name, column in columns.items():
        kind = column.get("type_config") or {}
        if name in frame and kind.get("format") in (FITTED, FITTED_SIGNED):
            numbers = frame[name].astype("Float64").dropna().astype(float)
            form = column_format(numbers, signed=kind["format"] == FITTED_SIGNED)
            fitted[name] = {**column, "type_config": {**kind, "format": form}}
    return fitted


def table_height(rows: int, row_height: int | None = None) -> int:
    """Pixels of a table of which so many rows are seen without scrolling; None for Streamlit's height of a row."""
    return rows * (row_height or _ROW) + _ROW + _BORDERS


def open_trial(number: int) -> None:
    """Go to the page of one trial."""
    go_to("activation", trial=str(number))


def settings(view: StudyView) -> None:
    """What the study was made with, as stored."""
    record = view.record
    with st.expander("Settings of this study", icon=":material/tune:"):
        st.caption(f"Made {moment(record.created)} ({ago(record.created)}).")
        left, right = st.columns(2)
        for place, name, data in (
            (left, "Strategy", record.strategy),
            (left, "Space", record.space),
            (right, "Task", record.task or {}),
            (right, "Versions", record.versions),
            (right, "User attributes", record.user_attrs),
        ):
            if data:
                place.caption(name)
                place.json(dict(data), expanded=1)
