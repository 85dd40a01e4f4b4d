"""A new study that begins with the best of old ones."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from actsearch.activations import describe
from actsearch.checks import check_integer
from actsearch.errors import ActsearchError, StudyError
from actsearch.records import CandidateRecord, StudyRecord, TrialRecord, TrialState
from actsearch.storage import Storage, quote_name
from actsearch.strategies import WARM_START as AS_WARM_START
from actsearch.strategies import Space
from actsearch.study.earlier import OldStudy
from actsearch.study.sources import Sources, means_all, names_of, read_sources

__all__ = ["WARM_START", "WarmStart"]

_log = logging.getLogger("actsearch")

WARM_START = "warm_start"
"""Key of the user attributes, of the study and of each trial that it began with."""

_TOP = 5


class WarmStart:
    """What a new study takes over: candidates alone. Their values are measured anew, on its own task and seeds.

    Attributes:
        old_studies: where they come from.
        trials: to be stored with the new study, best first: of several old studies in turn.
        attributes: what is written down of it, as JSON data.
    """

    def __init__(
        self, sources: Sources, top_k: int | None, storage: Storage, space: Space, new: str
    ) -> None:
        """Args:
        sources: the old studies, or names of such in the same storage.
        top_k: how many of their best.
        storage: of the new study.
        space: of the new study; what lies outside of it is left out and written down with the reason.
        new: name of the new study.
        """
        self._names = names_of(sources)
        self._is_all = means_all(sources, storage)
        self._is_one = isinstance(self._names, str) and not self._is_all
        self._top = _resolve_top_k(top_k)
        self._space = space
        self.old_studies = read_sources(sources, storage, new)
        self.trials: list[TrialRecord] = []
        self._left_out: list[dict[str, Any]] = []
        best = _in_turn(self.old_studies)[: self._top]
        for old, trial in best:
            self._take(old.record, trial)
        if not self.trials:
            self._report_nothing(bool(best))

    def _report_nothing(self, is_outside: bool) -> None:
        """Say that there is nothing to begin with: no error where whatever there is was asked for.

        Raises:
            StudyError: studies were named.
        """
        names = [self._names] if isinstance(self._names, str) else self._names
        which = f"study {names[0]!r}" if self._is_one else "studies " + ", ".join(map(repr, names))
        if self._is_all:
            _log.warning("no other study of this storage has something to begin with")
        elif is_outside:
            raise StudyError(
                f"nothing of {which} lies in the space of the new study: "
                + "; ".join(f"trial {item['number']} {item['reason']}" for item in self._left_out)
            )
        else:
            raise StudyError(
                f"{which} {'has' if self._is_one else 'have'} no complete trial to start from: "
                "optimize it first, or leave warm_start_from out"
            )

    def _take(self, old: StudyRecord, trial: TrialRecord) -> None:
        try:
            activations = {
                group: describe(item) for group, item in trial.candidate.activations.items()
            }
        except ActsearchError as error:
            reason = f"cannot be read: {str(error).splitlines()[0]}"
        else:
            candidate = CandidateRecord(activations, AS_WARM_START)
            reason = _outside(candidate, self._space, old)
            if not reason:
                if (groups := self._space.site_groups()) is not None:
                    candidate = groups.normalize(candidate)
                origin = {"study": old.name, "number": trial.number, "value": trial.value}
                self.trials.append(
                    TrialRecord(-1, TrialState.WAITING, candidate, user_attrs={WARM_START: origin})
                )
                return
        self._left_out.append(self._place(old.name, trial.number) | {"reason": reason})
        _log.warning("trial %d of study %s is left out: it %s", trial.number, old.name, reason)

    @property
    def attributes(self) -> dict[str, Any]:
        """Which studies, how many trials were asked for, and what was left out."""
        origins = [trial.user_attrs[WARM_START] for trial in self.trials]
        taken = [self._place(origin["study"], origin["number"]) for origin in origins]
        return {
            "study" if self._is_one else "studies": self._names,
            "top_k": self._top,
            "trials": [one["number"] for one in taken] if self._is_one else taken,
            "left_out": self._left_out,
        }

    def _place(self, study: str, number: int) -> dict[str, Any]:
        """Where a trial comes from, as far as the study is not the only one."""
        return {"number": number} if self._is_one else {"study": study, "number": number}

    @staticmethod
    def differences(sources: Sources | None, top_k: int | None, stored: StudyRecord) -> list[str]:
        """How a warm start that is asked for differs from the one that a stored study had."""
        if sources is None:
            return []
        names = names_of(sources)  # what they have found since does not count
        had = stored.user_attrs.get(WARM_START, {})
        had = had if isinstance(had, Mapping) else {}
        before = had.get("study", had.get("studies"))
        if before != names:
            return [f"warm_start_from: {quote_name(names)}, stored {quote_name(before)}"]
        if had.get("top_k") != _resolve_top_k(top_k):
            return [f"warm_start_top_k: {_resolve_top_k(top_k)}, stored {had.get('top_k')}"]
        return []


def _in_turn(old_studies: Sequence[OldStudy]) -> list[tuple[OldStudy, TrialRecord]]:
    """The best of each study, then the second best of each, and so on; each function once."""
    found: dict[str, tuple[OldStudy, TrialRecord]] = {}
    for place in itertools.zip_longest(*(old.ranked for old in old_studies)):
        for old, trial in zip(old_studies, place, strict=True):
            if trial is not None:
                found.setdefault(_identity(trial), (old, trial))
    return list(found.values())


def _identity(trial: TrialRecord) -> str:
    candidate = trial.candidate
    # passes of shape learning are numbered, and those of two studies alike
    is_known = trial.fingerprint and not candidate.learns_shape
    return trial.fingerprint if is_known else repr(candidate.activations)


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
