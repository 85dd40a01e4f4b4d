"""Two to six candidates, of one study or of several, or two to six studies, side by side; the address keeps which."""

from __future__ import annotations

import streamlit as st

from actsearch_dashboard.candidates_panel import show_candidates
from actsearch_dashboard.compare_address import STUDIES, TRIALS
from actsearch_dashboard.components import study_page
from actsearch_dashboard.state import show_errors
from actsearch_dashboard.studies_panel import show_studies

__all__ = ["render"]

TITLE, ICON = "Compare", "compare_arrows"


@show_errors
def render() -> None:
    """The comparison page."""
    if TRIALS not in st.query_params and STUDIES in st.query_params:
        start = "Studies"
    else:
        start = "Candidates"
    what = st.segmented_control(
        "Compare",
        ["Candidates", "Studies"],
        default=start,
        key="what",
        label_visibility="collapsed",
    )
    if what == "Studies":
        show_studies()
    else:
        study_page(show_candidates)()
