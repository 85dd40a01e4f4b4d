"""A new study that begins with the best of an old one."""

from __future__ import annotations

import logging
from typing import Any

from actsearch.activations import describe
from actsearch.checks import check_integer
from actsearch.errors import ActsearchError, StudyError
from actsearch.records import CandidateRecord, StudyRecord, TrialRecord, TrialState
from actsearch.report import leaderboard
from actsearch.storage import Storage, quote_name
from actsearch.strategies import WARM_START as AS_WARM_START
from actsearch.strategies import Space
from actsearch.study.study import Study

__all__ = ["WARM_START", "WarmStart"]

_log = logging.getLogger("actsearch")

WARM_START = "warm_start"
"""Key of the user attributes, of the study and of each trial that it began with."""

_TOP = 5


class WarmStart:
    """What a new study takes over: candidates alone. Their values are measured anew, on its own task and seeds.

    Attributes:
        trials: to be stored with the new study, best first.
        attributes: what is written down of it, as JSON data.
    """

    def __init__(
        self, source: Study | str, top_k: int | None, storage: Storage, space: Space
    ) -> None:
        """Args:
        source: the old study, or the name of one in the same storage.
        top_k: how many of its best.
        storage: of the new study.
        space: of the new study; what lies outside of it is left out and written down with the reason.
        """
        old, trials = _read(source, storage)
        self._name = old.name
        self._source = old
        self._top = _resolve_top_k(top_k)
        self._space = space
        self.trials: list[TrialRecord] = []
        self._left_out: list[dict[str, Any]] = []
        ranked = leaderboard(trials, old.direction)
        # the new study has a trial of its own model unchanged
        best = [trial for trial in ranked if not trial.candidate.is_baseline][: self._top]
        if not best:
            raise StudyError(
                f"study {old.name!r} has no complete trial to start from: "
                "optimize it first, or leave warm_start_from out"
            )
        for trial in best:
            self._take(trial)
        if not self.trials:
            raise StudyError(
                f"nothing of study {old.name!r} lies in the space of the new study: "
                + "; ".join(f"trial {item['number']} {item['reason']}" for item in self._left_out)
            )

    def _take(self, trial: TrialRecord) -> None:
        try:
            activations = {
                group: describe(item) for group, item in trial.candidate.activations.items()
            }
        except ActsearchError as error:
            reason = f"cannot be read: {str(error).splitlines()[0]}"
        else:
            candidate = CandidateRecord(activations, AS_WARM_START)
            reason = _outside(candidate, self._space, self._source)
            if not reason:
                if (groups := self._space.site_groups()) is not None:
                    candidate = groups.normalize(candidate)
                origin = {"study": self._name, "number": trial.number, "value": trial.value}
                self.trials.append(
                    TrialRecord(-1, TrialState.WAITING, candidate, user_attrs={WARM_START: origin})
                )
                return
        self._left_out.append({"number": trial.number, "reason": reason})
        _log.warning("trial %d of study %s is left out: it %s", trial.number, self._name, reason)

    @property
    def attributes(self) -> dict[str, Any]:
        """Which study, how many were asked for, and what was left out."""
        return {
            "study": self._name,
            "top_k": self._top,
            "trials": [trial.user_attrs[WARM_START]["number"] for trial in self.trials],
            "left_out": self._left_out,
        }

    @staticmethod
    def differences(
        source: Study | str | None, top_k: int | None, stored: StudyRecord
    ) -> list[str]:
        """How a warm start that is asked for differs from the one that a stored study had."""
        if source is None:
            return []
        name = source if isinstance(source, str) else source.study_name
        had = stored.user_attrs.get(WARM_START, {})
        differences = []
        if had.get("study") != name:
            differences.append(
                f"warm_start_from: {quote_name(name)}, stored {quote_name(had.get('study'))}"
            )
        elif had.get("top_k") != _resolve_top_k(top_k):
            differences.append(
                f"warm_start_top_k: {_resolve_top_k(top_k)}, stored {had.get('top_k')}"
            )
        return differences


def _read(source: Study | str, storage: Storage) -> tuple[StudyRecord, list[TrialRecord]]:
    if isinstance(source, Study):
        return source.record, [trial.record for trial in source.trials]
    if not isinstance(source, str):
        raise StudyError(
            f"warm_start_from must be a study or the name of one in this storage, not {quote_name(source)}"
        )
    record = storage.study(source)
    return record, storage.trials(record.id)


def _resolve_top_k(top_k: int | None) -> int:
    return _TOP if top_k is None else check_integer("warm_start_top_k", top_k, StudyError, low=1)


def _outside(candidate: CandidateRecord, space: Space, source: StudyRecord) -> str:
    """Why a candidate lies outside of a space; empty for one inside."""
    if candidate.single is None:
        if space.sites == "shared":
            return "is not one activation for all sites"
        if space.to_json()["sites"] != source.space.get("sites") or space.to_json().get(
            "depth_bands"
        ) != source.space.get("depth_bands"):
            return "is made for other groups of sites"
    reasons = (space.outside(item.name, item.formula) for item in candidate.activations.values())
    return next(filter(None, reasons), "")
