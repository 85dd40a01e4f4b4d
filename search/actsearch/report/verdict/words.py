"""A verdict in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actsearch.report.verdict.looks import MIN_SEEDS
from actsearch.report.verdict.table import WIDEST, format_signed, format_value, shorten

if TYPE_CHECKING:
    from actsearch.report.verdict.rows import Verdict, VerdictRow

__all__ = ["INTERRUPTED", "STOPPED", "describe_row", "describe_verdict", "is_decided"]

_MOSTLY = 0.5
_UNDECIDED = "Undecided: "

INTERRUPTED, STOPPED = "Ctrl-C", "study.stop()"
"""What ended a race, where no limit did."""


def describe_verdict(verdict: Verdict) -> str:
    """What to do, in plain words, and what to keep in mind."""
    text = _all_equal(verdict) or _decision(verdict)
    if ended := _grid_ends(verdict):
        text += f" {ended}"
    if verdict.kept_weights is not None:
        text += f" {verdict.kept_weights.sentence}"
    for shared in verdict.shared_rows:
        text += f" {shared.sentence}"
    if verdict.validation_only:
        text += " Validation only: the objective never looked at run.phase, so the scores are optimistic."
    return text


def is_decided(verdict: Verdict) -> bool:
    """Whether it says what to do, rather than that it cannot tell."""
    return not (_all_equal(verdict) or _decision(verdict)).startswith(_UNDECIDED)


def describe_row(verdict: Verdict, row: VerdictRow) -> str:
    """One plain sentence on one line of the verdict."""
    data = "validation data" if verdict.validation_only else "test data"
    if row.verdict == "baseline":
        return f"The baseline: {verdict.metric} {format_value(row.mean)} on {data}, {verdict.seeds} seeds."
    if row.verdict == "left early":
        return (
            f"Left the race after {len(row.values)} seeds: by then others looked as good or better, or it had "
            f"hardly a chance to become better than {verdict.baseline.label} by seed {verdict.most_seeds}."
        )
    return (
        f"Compared with {verdict.baseline.label} on {data}, {len(row.values)} paired seeds: {row.verdict}, "
        f"{verdict.metric} {format_signed(row.difference)} "
        f"(95 % interval {format_signed(row.low)} to {format_signed(row.high)})."
    )


def _all_equal(verdict: Verdict) -> str:
    scores = {value for row in (verdict.baseline, *verdict.rows) for value in row.values}
    if not verdict.rows or len(scores) != 1:
        return ""
    value = format_value(scores.pop())
    return (
        f"{_UNDECIDED}with {verdict.baseline.label} and every candidate the {verdict.metric} is {value} under every "
        "seed, and tells nothing apart: it is constant or cannot get better on these rows."
    )


def _decision(verdict: Verdict) -> str:
    base = verdict.baseline.label
    if verdict.cut and verdict.winner is verdict.baseline:
        text = f"{_UNDECIDED}{verdict.cut} ended the race after {verdict.seeds} seeds"
        if verdict.seeds >= MIN_SEEDS:
            text += f"; differences above {format_value(verdict.visible_difference)} would have shown in 4 of 5 cases"
        again = "called again" if verdict.cut in (INTERRUPTED, STOPPED) else "with more"
        return f"{text}; {again}, it goes on from there."
    if verdict.seeds < MIN_SEEDS:
        return f"{_UNDECIDED}{verdict.seeds} seeds are too few for a verdict; confirm with at least {MIN_SEEDS}."
    if verdict.baseline.is_at_grid_end:
        return f"{_UNDECIDED}{base} was not compared at its best learning rate."
    if verdict.winner is not verdict.baseline:
        row = verdict.winner
        text = (
            f"Use {row.label}{_training(row)}: its {verdict.metric} is {format_value(abs(row.difference))} "
            f"{'higher' if row.difference > 0 else 'lower'} than with {base} "
            f"(95 % interval {format_value(row.low)} to {format_value(row.high)}), on {verdict.claim}."
        )
        against = verdict.versus_catalog
        if against is not None and against.verdict not in ("better", "too few seeds"):
            text += (
                f" It is {against.verdict} from the catalog's {against.label}, which is simpler."
                if against.verdict == "not distinguishable"
                else f" Against the catalog's {against.label} it is {against.verdict}."
            )
        catalog = [other.label for other in verdict.rows if other.is_catalog]
        if against is None and catalog and not row.is_catalog:
            text += f" How it compares with the catalog's {catalog[0]} was left open."
        return text
    equal = [row.label for row in verdict.rows if row.verdict == "equivalent"]
    if equal and verdict.min_effect is not None:
        are = "is" if len(equal) == 1 else "are"
        text = f"Keep {base}{_training(verdict.baseline)}: {', '.join(equal)} {are} equivalent"
        text += f" to within {format_value(verdict.min_effect)}"
        open_words = ("not distinguishable", "left early")
        unclear = [row.label for row in verdict.rows if row.verdict in open_words]
        return text + (
            f"; undecided: {', '.join(unclear)}." if unclear else ", nothing is better."
        )
    least = format_value(verdict.visible_difference)
    return (
        f"Keep {base}{_training(verdict.baseline)}: nothing beat it; "
        f"differences above {least} would have shown in 4 of 5 cases.{_limit(verdict)}"
    )


def _limit(verdict: Verdict) -> str:
    """What would show smaller differences, where that is not more seeds."""
    if verdict.rows_share < _MOSTLY:
        return ""
    return (
        " Which rows are in the test data makes most of the uncertainty: more rows would show smaller differences, "
        "and a verdict with covers='seeds' asks about these rows alone."
    )


def _training(row: VerdictRow) -> str:
    """At which rate it won: at another one the difference may be another."""
    if row.learning_rate is None:
        return ""
    rates = sorted(set(row.learning_rates))
    more = f" (median of {rates[0]:.2g} to {rates[-1]:.2g} by seed)" if len(rates) > 1 else ""
    return f", trained with lr {row.learning_rate:.2g}{more}"


def _grid_ends(verdict: Verdict) -> str:
    """Which rows were not tuned to their best, and what to do."""
    ended = [row for row in (verdict.baseline, *verdict.rows) if row.is_at_grid_end]
    if not ended or (
        verdict.cut and verdict.seeds < MIN_SEEDS
    ):  # the next one was still to be tried
        return ""
    rates = " and ".join(
        f"{shorten(row.label, WIDEST)} (median {row.learning_rate:.2g})" for row in ended
    )
    return (
        f"The best learning rate of {rates} is the last one that was tried, and a "
        "better one may lie beyond: give the Task an lr near it, or more epochs, and confirm again."
    )
