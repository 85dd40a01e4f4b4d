"""What a study that learns from others keeps of them: written when it is made, the same ever after.

A search that is resumed thus makes the same trials, even if the earlier studies went on meanwhile.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from actsearch.activation_catalog import CATALOG
from actsearch.errors import FormulaError, StudyError
from actsearch.expression import parse
from actsearch.records import StudyRecord, TrialRecord, TrialState
from actsearch.report import leaderboard
from actsearch.storage import quote_name
from actsearch.strategies import Earlier

__all__ = ["EARLIER", "MOST_STUDIES", "OldStudy", "read_earlier", "write_earlier"]

_log = logging.getLogger("actsearch")

EARLIER = "earlier_studies"
"""Key of the user attributes of a study that learns from others."""

MOST_STUDIES = 20
"""Of all studies the newest: what is kept of each takes up to some 10 KB in each study that learns from it."""

_MOST = 200  # functions of a study: the time to learn from them grows with their cube


@dataclass(frozen=True)
class OldStudy:
    """A study with its trials."""

    record: StudyRecord
    trials: Sequence[TrialRecord]

    @property
    def ranked(self) -> list[TrialRecord]:
        """Complete trials, best first, without the model unchanged: the new study has a trial of its own model."""
        ranked = leaderboard(self.trials, self.record.direction)
        return [trial for trial in ranked if not trial.candidate.is_baseline]


def write_earlier(old_studies: Sequence[OldStudy]) -> list[dict[str, Any]]:
    """What earlier studies found, as JSON data; one that nothing can be learned from is left out and logged."""
    written = []
    for old in old_studies:
        name = quote_name(old.record.name)
        try:
            functions = _functions(old)
        except StudyError as error:
            _log.warning("nothing is learned from study %s: it %s", name, error)
            continue
        found = [[trial.candidate.activations["*"].formula, trial.value] for trial in functions]
        kept = [pair for pair in found if _is_pair(pair)]
        _say_left_out(name, len(found) - len(kept), len(found))
        if kept:
            written.append(
                {"study": old.record.name, "direction": old.record.direction, "found": kept}
            )
    return written


def _functions(old: OldStudy) -> list[TrialRecord]:
    """The best and the latest trials of one activation, a function of one number, in order of number.

    Raises:
        StudyError: why there are none.
    """
    if old.record.directions:
        raise StudyError("has several objectives")
    complete = [trial for trial in old.trials if _is_function(trial)]
    if old.record.direction not in ("maximize", "minimize") or not complete:
        raise StudyError(
            "has no complete trial of one activation that is a function of one number"
        )
    complete = [trial for trial in complete if trial.fingerprint]
    if not complete:
        raise StudyError("was stored without the identities of its trials")
    best = leaderboard(complete, old.record.direction)[: _MOST // 4]
    latest = sorted(complete, key=lambda trial: -trial.number)
    kept = list({trial.number: trial for trial in [*best, *latest]}.values())[:_MOST]
    return sorted(kept, key=lambda trial: trial.number)


def _is_function(trial: TrialRecord) -> bool:
    item = trial.candidate.single
    if trial.state is not TrialState.COMPLETE or item is None or trial.candidate.learns_shape:
        return False
    if trial.value is None or not math.isfinite(trial.value):
        return False
    return item.name is None or (item.name in CATALOG and CATALOG[item.name].elementwise)


def read_earlier(study: StudyRecord) -> tuple[Earlier, ...]:
    """What a study keeps of others; what another program made unreadable is left out and logged."""
    stored = study.user_attrs.get(EARLIER, [])
    if not isinstance(stored, list):
        stored = [stored]
    read = [_read(item, study) for item in stored[:MOST_STUDIES]]
    return tuple(earlier for earlier in read if earlier is not None)


def _read(item: Any, study: StudyRecord) -> Earlier | None:
    data = item if isinstance(item, dict) else {}
    name, found, direction = data.get("study"), data.get("found"), data.get("direction")
    if (
        not isinstance(name, str)
        or not isinstance(found, list)
        or direction not in ("maximize", "minimize")
    ):
        _log.warning(
            "study %s: what it keeps of an earlier study cannot be read and is left out",
            quote_name(study.name),
        )
        return None
    pairs = [pair for pair in found[:_MOST] if _is_pair(pair)]
    _say_left_out(quote_name(name), len(found) - len(pairs), len(found))
    if not pairs:
        return None
    sign = 1.0 if direction == "maximize" else -1.0
    formulas, values = zip(*pairs, strict=True)
    return Earlier(name, formulas, tuple(sign * float(value) for value in values))


def _is_pair(pair: Any) -> bool:
    """Whether this is a formula and a finite number."""
    if not isinstance(pair, list) or len(pair) != 2:
        return False
    formula, value = pair
    try:
        parse(formula)
        return not isinstance(value, bool) and math.isfinite(value)
    except (FormulaError, TypeError, OverflowError):
        return False


def _say_left_out(name: str, count: int, total: int) -> None:
    if count:
        _log.warning(
            "%d of %d functions of study %s cannot be read and are left out", count, total, name
        )
