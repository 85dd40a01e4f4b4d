"""A study that asks for what its strategy has not declared is refused when it is made, or when its task says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pytest

import actsearch as acs
from actsearch.activations import describe
from actsearch.records import CandidateRecord, TrialRecord
from actsearch.strategies import Context, Strategy, refuse_unsupported


@dataclass(frozen=True)
class Plain(Strategy):
    """Supports nothing beside one objective and one activation for all sites."""

    name: ClassVar[str] = "plain"

    def batch_size(self, history: Sequence[TrialRecord], context: Context) -> int:
        return 1

    def propose(
        self, history: Sequence[TrialRecord], n: int, context: Context
    ) -> list[CandidateRecord]:
        return [CandidateRecord.shared(describe("relu"), "again")] * n


def test_when_it_is_made() -> None:
    with pytest.raises(
        acs.SpaceError, match="'plain' does not support several objectives; those that do: "
    ):
        acs.create_study(study_name="s", strategy=Plain(), directions=("maximize", "minimize"))
    with pytest.raises(acs.SpaceError, match="an activation for each group of sites"):
        acs.create_study(study_name="s", strategy=Plain(), space=acs.Space(sites="per_depth"))
    with pytest.raises(acs.SpaceError, match="trials that are given up early"):
        acs.create_study(study_name="s", strategy=Plain(), pruner=acs.SuccessiveHalving())
    assert acs.create_study(study_name="s", strategy=Plain()).study_name == "s"


def test_the_message_names_the_strategies_that_do() -> None:
    with pytest.raises(acs.SpaceError, match="those that do: .*random"):
        refuse_unsupported(Plain(), pruning=True)
