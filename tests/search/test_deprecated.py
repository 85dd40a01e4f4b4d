"""Names of earlier versions still work, and say what to write instead."""

from __future__ import annotations

import pytest

import actsearch as acs
from actsearch import report
from actsearch.records import Diagnostics
from actsearch.report import Pruning, Reader


def test_names_of_earlier_versions_name_their_successors(sqlite_url: str) -> None:
    pruning = Pruning(
        pruned=3, exempt=2, saved=0.5, first_step=1, rank_correlation=None, compared=0
    )
    with pytest.warns(DeprecationWarning, match="spared is called exempt now"):
        assert pruning.spared == 2
    study = acs.create_study(study_name="s", storage=sqlite_url)
    with pytest.warns(DeprecationWarning, match="aim is called run_goal now"):
        assert Reader(sqlite_url).aim(study.record) is None
    with pytest.warns(DeprecationWarning, match="remarks is called diagnostics_remarks now"):
        assert report.remarks(Diagnostics(())) == []
