"""What the page Compare compares, as the address has it: ``?compare=3,17,other study:5`` or ``?studies=a,b``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from urllib.parse import unquote

import streamlit as st

from actsearch_dashboard.text import markdown, shorten
from actsearch_dashboard.trial_picker import parse_number

__all__ = [
    "FEWEST",
    "MOST",
    "STUDIES",
    "TRIALS",
    "format_names",
    "keep_names",
    "parse_names",
    "pick_known",
    "refer",
    "requested_names",
    "split_reference",
]

TRIALS, STUDIES = "compare", "studies"
"""Keys in the address."""

FEWEST, MOST = 2, 6
"""How many are compared: as many as there are colours."""


def format_names(names: Sequence[str]) -> str:
    """Names as one text for the address."""
    return ",".join(name.replace("%", "%25").replace(",", "%2C") for name in names)


def parse_names(text: str) -> list[str]:
    """What :func:`format_names` wrote, each name once."""
    return list(dict.fromkeys(unquote(part) for part in text.split(",") if part))


def refer(study: str, number: int, own: str) -> str:
    """A trial as the address names it: by its number, or, of another study than ``own``, as ``study:number``."""
    return str(number) if study == own else f"{study}:{number}"


def split_reference(text: str, own: str) -> tuple[str, int | None]:
    """The study and the number that :func:`refer` wrote, or somebody typed; None where that is no number.

    A study's name may hold colons, since the last one is the one before the number.
    """
    study, colon, digits = text.rpartition(":")
    return study if colon else own, parse_number(digits)


def requested_names(key: str) -> list[str]:
    """What the address asks for."""
    return parse_names(st.query_params.get(key, ""))


def pick_known(asked: Sequence[str], known: Collection[str], what: str) -> list[str]:
    """Of what is asked for that which is there, at most :data:`MOST`; says what is not.

    Args:
        asked: names.
        known: those that are there.
        what: a word for them.
    """
    chosen = [name for name in asked if name in known]
    if missing := [name for name in asked if name not in chosen]:
        names = ", ".join(markdown(shorten(name, 30)) for name in missing[:MOST])
        st.warning(f"There is no {what} {names} here.", icon=":material/search_off:")
    if len(chosen) > MOST:
        st.warning(f"The first {MOST} are compared.", icon=":material/filter_alt:")
    return chosen[:MOST]


def keep_names(key: str, chosen: Sequence[str]) -> None:
    """Put what is compared into the address, and take what is not out of it."""
    st.query_params.pop(STUDIES if key == TRIALS else TRIALS, None)
    text = format_names(chosen)
    if text and st.query_params.get(key) != text:
        st.query_params[key] = text
    elif not text:
        st.query_params.pop(key, None)
