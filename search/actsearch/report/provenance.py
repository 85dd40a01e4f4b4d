"""Where a candidate comes from, in words for the head of a file."""

from __future__ import annotations

from actsearch.records import TrialRecord
from actsearch.report.learning_rate import ChosenRate
from actsearch.report.verdict import Verdict, VerdictRow

__all__ = ["origin"]


def origin(
    study_name: str,
    trial: TrialRecord | None,
    verdict: Verdict | None,
    row: VerdictRow | None,
    rate: ChosenRate | None = None,
) -> str:
    """Study, trial and verdict as sentences; what is not known is left out.

    Args:
        study_name: the study, or an empty text.
        trial: the trial, if it is at hand.
        verdict: the confirmation that compared it, if there is one.
        row: its line there, or a line alone.
        rate: that its study chose for its trials, if it did; a verdict has rates of its own.
    """
    number = trial.number if trial is not None else row.number if row is not None else None
    words = [f"Study {study_name}"] if study_name else []
    words += [f"trial {number}" if words else f"Trial {number}"] if number is not None else []
    lines = [", ".join(words) + "."] if words else []
    if trial is not None and trial.value is not None:
        lines.append(f"Its score in the search was {trial.value:.6g}.")
        if rate is not None and row is None:
            lines.append(str(rate))
    if verdict is not None and row is not None:
        lines.append(verdict.remark(row))
    elif row is not None and row.verdict == "left early":
        lines.append(f"It left the race of a verdict after {len(row.values)} fresh seeds.")
    elif row is not None and row.verdict != "baseline":
        lines.append(
            f"On fresh seeds: {row.verdict}, difference {row.difference:+.4f} "
            f"(95 % interval {row.low:+.4f} to {row.high:+.4f})."
        )
    return " ".join(lines)
