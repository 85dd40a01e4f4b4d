"""How far a verdict is that is being made: trainings, seeds of each finalist, time left, and whether it stopped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import streamlit as st

from actsearch.records import RunGoal
from actsearch.storage import StoredTraining
from actsearch_dashboard.data import StudyView
from actsearch_dashboard.text import ago, markdown, say_count, seconds, shorten

__all__ = ["Confirming", "confirmation_start", "measure_confirmation", "show_confirmation"]

_RECENT = 50  # trainings from which the rate is taken
_PATIENCE = timedelta(minutes=10)
_SLOWER = 5  # times as long as the trainings before it took, beyond which one is taken to hang
_MOST_NAMED = 8  # finalists; by default there are five, and the baseline


@dataclass(frozen=True)
class Confirming:
    """Where a verdict is that is being made.

    Attributes:
        done: trainings that are stored, those of an interrupted call included.
        planned: about how many there will be; None where that is not known.
        left: seconds, at the rate of the latest trainings; None before there is one.
        seeds: how many seeds each of the finalists, and the baseline, has been tested under, by label.
        last: when a training was stored last; None before the first.
        is_silent: whether nothing has been stored for longer than trainings take.
    """

    done: int
    planned: int | None
    left: float | None
    seeds: dict[str, int]
    last: datetime | None
    is_silent: bool


def measure_confirmation(
    trainings: Sequence[StoredTraining], goal: RunGoal, now: datetime | None = None
) -> Confirming:
    """Tell how far a verdict is from its stored trainings.

    Args:
        trainings: that are stored.
        goal: what the process that makes it has said.
        now: the present moment.
    """
    now = now or datetime.now(UTC)
    ended = sorted(item.ended for item in trainings if item.ended is not None)
    here = [moment for moment in ended if goal.since is None or moment > goal.since]
    each = None
    if here:
        recent = here[-_RECENT:]
        start = here[-_RECENT - 1] if len(here) > _RECENT else goal.since or here[0]
        each = (recent[-1] - start).total_seconds() / len(recent)
    tested: dict[str, set[int]] = {}
    for item in trainings:
        if item.phase == "confirm":
            tested.setdefault(item.label, set()).add(item.seed)
    done = len(trainings)
    planned = None if goal.target is None else max(goal.target, done)
    left = each * (planned - done) if each and planned is not None else None
    if goal.until is not None:
        limit = max(0.0, (goal.until - now).total_seconds())
        left = limit if left is None else min(left, limit)
    last = here[-1] if here else goal.since
    patience = max(_PATIENCE, timedelta(seconds=_SLOWER * (each or 0)))
    return Confirming(
        done,
        planned,
        left,
        {label: len(seeds) for label, seeds in tested.items()},
        ended[-1] if ended else None,
        last is not None and now - last > patience,
    )


def confirmation_start(view: StudyView) -> datetime | None:
    """When the process that drives the study began to confirm, if it does; never cached."""
    goal = view.run_goal if view.is_running else None
    return goal.since if goal is not None and goal.purpose == "confirm" else None


def show_confirmation(view: StudyView) -> bool:
    """Say that a verdict is being made and how far it is, or that one was interrupted; whether one is being made."""
    goal = view.run_goal if view.is_running else None
    stored = _latest(view.stored_trainings(), None if goal is None else goal.since)
    if goal is None or goal.purpose != "confirm":
        if goal is None:
            _show_interrupted(view, stored)
        return False
    state = measure_confirmation(stored, goal)
    st.info(
        f"Confirmation began {ago(goal.since)}: the best candidates train on fresh seeds, and so does your own model. "
        "The verdict will appear here.",
        icon=":material/balance:",
    )
    share = state.done / state.planned if state.planned else 0.0
    st.progress(min(1.0, share), text=_describe(state))
    if state.seeds:
        st.caption(_describe_seeds(state.seeds))
    if state.is_silent:
        st.warning(
            f"No training has been stored since {ago(state.last or goal.since)}: one takes long, or the process hangs. "
            "In that case end it and call `study.confirm(task)` again: it goes on with what is stored.",
            icon=":material/hourglass_disabled:",
        )
    return True


def _latest(
    stored: Sequence[Sequence[StoredTraining]], since: datetime | None
) -> Sequence[StoredTraining]:
    """The trainings of the verdict that is worked on, or was last: others were given up."""
    first = datetime.min.replace(tzinfo=UTC)

    def last(items: Sequence[StoredTraining]) -> datetime:
        return max((item.ended for item in items if item.ended is not None), default=first)

    latest = max(stored, key=last, default=())
    if since is not None and last(latest) <= since and stored and not stored[-1]:
        return ()  # it has begun just now
    return latest


def _show_interrupted(view: StudyView, stored: Sequence[StoredTraining]) -> None:
    state = measure_confirmation(stored, RunGoal("confirm"))
    verdicts = view.verdicts()
    if not state.done or (verdicts and (state.last is None or state.last < verdicts[-1][0])):
        return
    st.warning(
        f"A confirmation stopped {'' if state.last is None else ago(state.last)} before its verdict: "
        f"{say_count(state.done, 'training is', 'trainings are')} stored. Call `study.confirm(task)` again, with what "
        "it was called with: it goes on where it stopped.",
        icon=":material/restart_alt:",
    )


def _describe(state: Confirming) -> str:
    of = "" if state.planned is None else f" of about {state.planned:,}"
    words = [f"{state.done:,}{of} trainings done"]
    if state.left is not None:
        words.append(
            f"about {seconds(math.ceil(state.left))} left, less if the answer is clear sooner"
        )
    return " · ".join(words)


def _describe_seeds(tested: dict[str, int]) -> str:
    named = [f"{markdown(shorten(label, 40))} {count}" for label, count in tested.items()]
    more = f", and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return f"Seeds so far: {', '.join(named[:_MOST_NAMED])}{more}."
