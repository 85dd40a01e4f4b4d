"""What an activation costs in a product: its forms side by side, their errors, and files to take away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from actsearch.errors import ActsearchError
from actsearch.records import SiteDiagnostics, TrialRecord
from actsearch.report import first_diagnostics
from actsearch_dashboard.activation_panel import group_diagnostics
from actsearch_dashboard.components import show_figure
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.figures.common import lay_out
from actsearch_dashboard.function_client import ask
from actsearch_dashboard.palette import series_colour
from actsearch_dashboard.text import markdown, one_line

__all__ = ["error_curves", "forms_frame", "show_deployment"]

_HEIGHT = 300
_SMALLEST = 1e-9  # of an error, on a logarithmic axis
_COLUMNS: Mapping[str, Any] = {
    "time / GELU": st.column_config.NumberColumn(
        format="%.2f ×",
        help="Forward and backward on 128 x 256 numbers, as a multiple of nn.GELU's on this machine. A table is one "
        "look-up a number on integer hardware, whatever the function: as much as ReLU.",
    ),
    "kept / GELU": st.column_config.NumberColumn(
        format="%.2f ×", help="Bytes kept for the backward pass, as a multiple of nn.GELU's."
    ),
    "error at most": st.column_config.NumberColumn(
        format="%.3g",
        help="Of hinges no input of the range is further off; of tables no code is, in output codes.",
    ),
}


def show_deployment(view: StudyView, trial: TrialRecord) -> None:
    """On demand, as it is measured: a table of forms, a figure of their errors, and C headers."""
    if trial.candidate.is_baseline or trial.candidate.learns_shape:
        return
    st.subheader("In a product", anchor=False)
    st.caption(
        "What it costs as composed formula, lean, compiled, as hinges (ReLUs alone) and as a table of codes, on the "
        "inputs that were recorded; from -6 to 6 where none were."
    )
    group = _choose_group(trial)
    name = f"{trial.number} {group}" if len(trial.candidate.activations) > 1 else str(trial.number)
    with st.container(horizontal=True, vertical_alignment="center"):
        measures = st.button("Measure", icon=":material/speed:", key=f"deploy {name}")
        compiled = st.toggle("with torch.compile, which takes a minute", key=f"compile {name}")
    key = f"deployed {name} {compiled}"
    if measures:
        diagnostics = first_diagnostics(trial)
        if trial.candidate.single is None:
            diagnostics = group_diagnostics(view, group, diagnostics)
        sites = [] if diagnostics is None else [_site(site) for site in diagnostics.newest]
        ended = diagnostics is not None and bool(diagnostics.end)
        try:
            with st.spinner("Measuring ..."):
                st.session_state[key] = ask(
                    "compare_deployments",
                    item=trial.candidate.activations[group].to_json(),
                    sites=sites,
                    ended=ended,
                    compiled=compiled,
                )
        except ActsearchError as error:
            st.info(markdown(error), icon=":material/info:")
    if (made := st.session_state.get(key)) is not None:
        _show(made, name)


def _choose_group(trial: TrialRecord) -> str:
    """The only group of sites, or that of several which the reader chooses: each has a function of its own."""
    groups = list(trial.candidate.activations)
    if len(groups) < 2:
        return groups[0]
    chosen = st.selectbox(
        "Activation at",
        groups,
        format_func=one_line,  # whole: of two that are cut to the same words, the wrong one would be chosen
        key=f"deploy group {trial.number}",
    )
    return chosen if chosen in groups else groups[0]


def _site(site: SiteDiagnostics) -> dict[str, Any]:
    return {
        "site": site.site,
        "mean": site.mean,
        "sd": site.sd,
        "histogram": list(site.histogram),
        "learned": {name: list(values) for name, values in site.learned.items()},
    }


def _show(made: Mapping[str, Any], name: str) -> None:
    table = forms_frame(made["rows"])
    st.dataframe(table, hide_index=True, column_config=_COLUMNS, placeholder="")
    for note in made["notes"]:
        st.caption(markdown(note))
    for row in made["rows"]:
        if reason := row.get("reason"):
            st.caption(f"{markdown(row['form'])}: {markdown(reason)}")
    if any("curve" in row for row in made["rows"]):
        show_figure(error_curves(made), "errors")
    with st.container(horizontal=True):
        for file in made["files"]:
            st.download_button(
                file["name"],
                file["text"].encode(),
                file_name=file["name"],
                mime="text/x-c",
                icon=":material/download:",
                key=f"header {name} {file['name']}",
                on_click="ignore",
            )


def forms_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row a form that could be made."""
    return pd.DataFrame(
        [
            {
                "form": row["form"],
                "time / GELU": row.get("time"),
                "kept / GELU": row.get("kept"),
                "error at most": row.get("error"),
                "of": {"codes": "output codes", "absolute": "the output"}.get(
                    row.get("unit", ""), ""
                ),
            }
            for row in rows
            if "reason" not in row
        ]
    )


def error_curves(made: Mapping[str, Any]) -> go.Figure:
    """The distance of each form from the formula, over the inputs."""
    figure = go.Figure()
    for index, row in enumerate(row for row in made["rows"] if "curve" in row):
        y = [max(error, _SMALLEST) for error in row["curve"]]
        line = {"width": 1.5, "color": series_colour(index)}
        figure.add_scatter(x=made["x"], y=y, name=row["form"], mode="lines", line=line)
    figure.update_yaxes(type="log", exponentformat="power")
    return lay_out(figure, "x", "distance from f(x)", _HEIGHT)
