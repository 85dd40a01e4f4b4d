"""Playground: a formula or a row of the catalog, moved by hand, and what of it a study has tried."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

import streamlit as st

from actsearch.activation_catalog import CATALOG, Hyperparameter, Row, Value
from actsearch.errors import ActivationError, ActsearchError
from actsearch.records import ActivationRecord, CandidateRecord, Curve
from actsearch.report import find_twins
from actsearch_dashboard import figures
from actsearch_dashboard.activation_panel import shorten_error, show_facts, show_latex
from actsearch_dashboard.components import show_figure
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.function_client import ask
from actsearch_dashboard.functions import curve_from
from actsearch_dashboard.relatives import nearest_table, show_twins
from actsearch_dashboard.state import remember_study, select_study, store
from actsearch_dashboard.text import markdown, shorten

__all__ = ["slider_values", "render"]

TITLE, ICON = "Playground", "science"

_FORMULA = "formula"  # in the address
_KEPT = "playground"  # in the session: what was looked at last
_TEXT, _ROW = "formula_text", "catalog_row"  # widgets
_FIRST = "x * sigmoid(x)"
_STEPS = 60  # of a slider: some three pixels each
_SHAPE = (256, 256)  # numbers enough that the time of a call alone does not count


def render() -> None:
    """The page; it needs no study."""
    st.header("Playground", anchor=False)
    st.caption(
        "Type a formula or take a row of the catalog, and see what it is. The address keeps it: links can be sent."
    )
    address = _read_address()
    row = _catalog_row(address[_FORMULA])
    left, right = st.columns([2, 3], gap="large")
    with left:
        _inputs(address[_FORMULA], row)
        settings = {} if row is None else _sliders(row, address)
        inspected = _read(address[_FORMULA], settings)
    if inspected is None:
        with right:
            _language()
        return
    with left:
        _words(inspected.record)
    view = _view()
    with right:
        _picture(inspected)
    st.divider()
    _in_study(view, inspected)


def _read_address() -> Mapping[str, str]:
    """What the address says, or what was looked at last; put into both."""
    kept: dict[str, str] = st.session_state.get(_KEPT, {_FORMULA: _FIRST})
    asked = st.query_params.get(_FORMULA)
    if asked is None:
        st.query_params.update(kept)
        return kept
    row = _catalog_row(asked)
    names = [] if row is None else [setting.name for setting in row.hyperparameters]
    settings = {name: st.query_params[name] for name in names if name in st.query_params}
    st.session_state[_KEPT] = {_FORMULA: asked, **settings}
    return {_FORMULA: asked, **settings}


def _take(formula: str, **settings: str) -> None:
    """Look at something else from now on."""
    for name in st.session_state.get(_KEPT, {}):
        st.query_params.pop(name, None)
    st.session_state[_KEPT] = {_FORMULA: formula, **settings}
    st.query_params.update(st.session_state[_KEPT])


def _take_text() -> None:
    _take(str(st.session_state[_TEXT]))


def _take_row() -> None:
    if st.session_state.get(_ROW):
        _take(str(st.session_state[_ROW]))


def _take_setting(name: str, key: str) -> None:
    kept = dict(st.session_state.get(_KEPT, {}))
    _take(**{**kept, name: f"{st.session_state[key]}"})


def _catalog_row(text: str) -> Row | None:
    """The catalog row of that name, if it is a function of one number."""
    name = text.strip()
    row = CATALOG[name] if name in CATALOG else None
    return row if row is not None and row.elementwise and row.role == "hidden" else None


def _inputs(formula: str, row: Row | None) -> None:
    st.session_state[_TEXT] = formula
    st.text_input(
        "Formula, or a name of the catalog",
        key=_TEXT,
        on_change=_take_text,
        help="One variable x; numbers; + - * / **; operators such as tanh(x), max(x, 0); learned numbers param(1.0).",
    )
    names = [name for name in CATALOG.names(role="hidden") if CATALOG[name].elementwise]
    st.session_state[_ROW] = None if row is None else row.name
    st.selectbox(
        "Catalog", names, index=None, key=_ROW, on_change=_take_row, placeholder="or choose a row"
    )


def _sliders(row: Row, address: Mapping[str, str]) -> dict[str, Value]:
    """The settings as the reader moved them."""
    st.caption(f"{markdown(row.source)}" + ("" if row.tier != "control" else " · a control"))
    return {
        setting.name: _setting(row, setting, address.get(setting.name))
        for setting in row.hyperparameters
    }


def _setting(row: Row, setting: Hyperparameter, text: str | None) -> Value:
    value = _parse_setting(row, setting, text)
    key = f"set {row.name} {setting.name}"
    change = functools.partial(_take_setting, setting.name, key)
    st.session_state[key] = value
    if not setting.choices and isinstance(setting.default, str):
        st.text_input(setting.name, key=key, on_change=change)
    elif setting.choices or not math.isfinite(setting.high - setting.low):
        options = setting.choices or (value,)
        st.select_slider(setting.name, options=options, key=key, on_change=change)
    else:
        st.select_slider(
            setting.name,
            options=slider_values(setting, value),
            key=key,
            on_change=change,
            format_func=lambda number: f"{number:.3g}",
            help="On a logarithmic scale." if setting.log else None,
        )
    return value


def _parse_setting(row: Row, setting: Hyperparameter, text: str | None) -> Value:
    """A setting from the address; its default where there is none, or not a valid one."""
    if text is None:
        return setting.default
    try:
        for choice in setting.choices:
            if str(choice) == text:
                return choice
        value: Value = text if isinstance(setting.default, str) else type(setting.default)(text)
        return setting.check(value, row.name)
    except (ActivationError, ValueError, OverflowError):
        st.warning(
            f"{setting.name} cannot be {markdown(shorten(text, 30))}: its default is shown.",
            icon=":material/info:",
        )
        return setting.default


def slider_values(setting: Hyperparameter, value: Value) -> list[Value]:
    """Places of a slider, evenly over the range or over its logarithm, with the default and the present value."""
    low, high = setting.low, setting.high
    shares = [step / _STEPS for step in range(_STEPS + 1)]
    if setting.log:
        places = [low * (high / low) ** share for share in shares]
    else:
        places = [low + (high - low) * share for share in shares]
    rounded = {setting.round(place) for place in places}
    return sorted({*rounded, setting.default, value}, key=float)


class _Inspected(NamedTuple):
    """What was typed or chosen; ``curve`` is None where it is not a function of one number, as ``reason`` says."""

    record: ActivationRecord
    identity: tuple[str, str, str]
    curve: Curve | None
    reason: str


@st.cache_data(max_entries=256, show_spinner="Computing ...")
def _inspect(formula: str, settings: Mapping[str, Value]) -> _Inspected:
    answer = ask("inspect", what=formula, settings=settings)
    curve = answer["curve"]
    return _Inspected(
        ActivationRecord.from_json(answer["activation"]),
        tuple(answer["identity"]),
        None if curve is None else curve_from(curve),
        answer.get("reason", ""),
    )


def _read(formula: str, settings: Mapping[str, Value]) -> _Inspected | None:
    """What is meant, or why it cannot be read."""
    try:
        return _inspect(formula, settings)
    except ActsearchError as error:
        st.warning("This cannot be read yet:", icon=":material/edit:")
        st.code(shorten_error(error), language=None)
        return None


def _language() -> None:
    """What can be written, for somebody whose formula was not understood."""
    from actsearch.operators import OPERATORS

    st.markdown("**What a formula may hold**")
    st.markdown(
        "One variable `x`, numbers, `+ - * / **`, learned numbers `param(1.0)` or "
        '`param(1.0, per="channel")`, and these operators:'
    )
    st.code(", ".join(sorted(OPERATORS)), language=None, wrap_lines=True)
    st.markdown("For example")
    for example in ("x * sigmoid(param(1.0) * x)", "max(x, 0.1 * x)", "tanh(x) + 0.1 * x"):
        st.code(example, language=None)


def _words(record: ActivationRecord) -> None:
    st.code(record.formula, language=None, wrap_lines=True)
    show_facts(record)
    if record.name is not None and st.button("Write it as a formula", icon=":material/edit:"):
        _take(record.formula)
        st.rerun()
    with st.expander("Use it", icon=":material/code:"):
        what = repr(record.formula)
        if record.name is not None:
            settings = "".join(f", {k}={v!r}" for k, v in record.hyperparameters.items())
            what = f"{record.name!r}{settings}"
        st.code(
            f"act = acs.activation({what})\nstudy.enqueue_trial({record.formula!r})",
            language="python",
            wrap_lines=True,
        )
        if st.button("Measure what it costs", icon=":material/timer:"):
            _cost(record)


def _cost(record: ActivationRecord) -> None:
    try:
        cost = ask("measure_cost", item=record.to_json(), shape=_SHAPE)
    except ActsearchError as error:
        st.info(markdown(error), icon=":material/info:")
        return
    st.caption(
        f"{markdown(cost)} forward and backward, on this machine's processor, {' × '.join(map(str, _SHAPE))} numbers."
    )


def _picture(inspected: _Inspected) -> None:
    with st.container(border=True):
        show_latex(inspected.record)
    if inspected.curve is None:
        st.info(markdown(inspected.reason), icon=":material/info:")
        return
    figure = figures.function(inspected.curve, inputs=figures.normal_histogram())
    figure.data[0].name = "N(0, 1)"
    figure.update_layout(height=560)
    show_figure(figure, "playground function")
    st.caption("Behind it: inputs from N(0, 1), as a layer gives them at the start of training.")


def _view() -> StudyView | None:
    """The study looked at, if there is one that can be read: this page works without."""
    try:
        opened = store()
        name = select_study([study.name for study in opened.studies()])
        if name is None:
            return None
        remember_study(name)
        return opened.view(name)
    except ActsearchError:
        return None


def _in_study(view: StudyView | None, inspected: _Inspected) -> None:
    """Which trials of the study are this function, and which are closest."""
    if view is None:
        st.caption("Open a storage with a study to see which of its trials are closest to this.")
        return
    st.subheader(f"In the study {markdown(shorten(view.record.name, 60))}", anchor=False)
    try:
        _relatives(view, inspected)
    except ActsearchError as error:
        st.info(markdown(error), icon=":material/info:")


def _relatives(view: StudyView, inspected: _Inspected) -> None:
    frame = view.frame()
    if not len(frame):
        st.caption("It has no trial yet.")
        return
    twins = find_twins(frame, *inspected.identity)
    if twins.same:
        st.markdown(":green[:material/check:] This study has proposed this function.")
    else:
        st.markdown("No trial of this study is this function.")
    show_twins(view, twins, "playground")
    nearest_table(view, CandidateRecord.shared(inspected.record))
    st.caption(f"Fingerprint `{inspected.identity[0]}`")
