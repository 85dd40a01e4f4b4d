"""Learn the shape of the activation by gradients, then name it, and try the names in the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from actsearch.activation_catalog import CATALOG
from actsearch.activations import describe
from actsearch.checks import check_field, check_integer
from actsearch.errors import ActsearchError, SpaceError
from actsearch.records import LEARNED, SHAPE, ActivationRecord, CandidateRecord, TrialRecord
from actsearch.strategies.base import Context, Feature, Strategy, pending
from actsearch.strategies.gradient.freezing import freeze_names
from actsearch.strategies.gradient.naming import name_shapes
from actsearch.strategies.gradient.rounds import Round, current_round, is_complete
from actsearch.strategies.gradient.shapes import unexplained

__all__ = ["Gradient"]

_RELU = describe("relu")  # of a function, whose model is not known
_MOST_FAILED = 3  # passes of a round that come to nothing


@dataclass(frozen=True)
class Gradient(Strategy):
    """Shape learning, then symbolic regression, then trials of the names.

    In passes, each a trial, fresh copies of the model under different seeds share one curve for each group of sites
    (piecewise linear, beginning as the activation that the model has). Their weights train on one part of the training
    data, the curve follows the gradient of their loss on the other, and stays when the next pass begins with new
    weights. The curve whose copies did best on validation data is a trial of its own, trained and scored like any
    candidate. Then it is named: rows of the catalog as ``a * f(b * x + c) + d``, and composed formulas; the shortest
    within the noise first. The numbers of a name learn in the network, from where they fit the curve, and are then
    fixed, to few digits: at their mean over the sites of a group, or at those of one site where the sites' functions
    differ. That is the last trial of a name, and its value there decides, not how near it is to the curve. Then
    another round begins, with the best trial of the search, the model unchanged aside.

    A name stands for its curve up to what the layers around it absorb: factor and offset of what goes in and comes
    out, and with them mirror images.

    Attributes:
        passes: of shape learning, in a round. Two take as long as four trainings.
        names: of a curve that are tried, in a round.
        start: activation that the first pass begins with; None for the one that the model has.

    Example:
        >>> acs.create_study(study_name="shapes", strategy=acs.Gradient(names=2, start="relu"))
        Study('shapes', sqlite://)
    """

    name: ClassVar[str] = "gradient"
    supports: ClassVar[frozenset[Feature]] = frozenset({Feature.GROUPS})
    proposes_in_steps: ClassVar[bool] = True
    passes: int = 2
    names: int = 3
    start: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_field(self, "passes", check_integer, SpaceError, low=1, high=100)
        check_field(self, "names", check_integer, SpaceError, low=1, high=100)
        if self.start is not None:
            try:
                item = describe(self.start)
            except ActsearchError as error:
                raise SpaceError(f"start: {error}") from None
            if not _is_function(item):
                raise SpaceError(f"start={self.start!r} is not a fixed function of one number")

    @property
    def learns_shapes(self) -> bool:
        """Always."""
        return True

    def first_pass(self, context: Context) -> CandidateRecord:
        """Where shape learning begins.

        Raises:
            SpaceError: what the model has is no function that could be written down.
        """
        keys = context.site_groups.all_keys
        if several := [group for group in context.site_groups.keys if len(group) > 1]:
            raise SpaceError(
                f"strategy 'gradient' learns a curve for each pattern of sites, and {' and '.join(several[0])} are one "
                "group: name the sites of each group by one pattern, or choose another strategy"
            )
        if self.start is not None:
            return CandidateRecord(dict.fromkeys(keys, describe(self.start)), self._operation(0))
        if missing := [key for key in keys if key not in context.own and context.sites]:
            paths = ", ".join(context.sites.get(missing[0], missing))
            raise SpaceError(
                f"shape learning begins with the activation that the model has, and that at {paths} is no fixed "
                "function of one number, or a step: say where to begin, as Gradient(start='relu')"
            )
        return CandidateRecord(
            {key: context.own.get(key, _RELU) for key in keys}, self._operation(0)
        )

    def _operation(self, done: int) -> str:
        """Of the next pass, when so many of a round have learned."""
        return f"{SHAPE} {done + 1} of {self.passes}"

    def batch_size(self, history: Sequence[TrialRecord], context: Context) -> int:
        """1 for a pass and for a learned curve; of names as many as there may be."""
        now = current_round(history)
        return 1 if self._learns(now, context) or not now.curves else self.names

    def propose(
        self, history: Sequence[TrialRecord], n: int, context: Context
    ) -> list[CandidateRecord]:
        """The next pass, or the learned curve, or names for it; nothing where no pass comes to anything.

        Each step follows from what the one before has come to: while one is in training there is none.
        """
        if pending(history):
            return []
        now = current_round(history)
        if now.frozen or (now.names and not self._can_freeze(now)):
            return [self._next_round(history, context)]
        if self._learns(now, context):
            return [self._next_pass(now, history, context)]
        if not now.learned(context):
            return []
        if not now.curves:
            trial, shapes = now.best(context)
            items = [shape.record() for shape in shapes]
            return [context.site_groups.candidate(items, LEARNED, (trial.number,))]
        if not now.names:
            return self._name(now, history, context)[:n] or [self._next_round(history, context)]
        frozen = freeze_names(now.names, self.names, now.best(context)[1], context)
        return frozen[:n] or [self._next_round(history, context)]

    def _learns(self, now: Round, context: Context) -> bool:
        done = len(now.learned(context))
        return not now.curves and done < self.passes and len(now.passes) - done < _MOST_FAILED

    @staticmethod
    def _can_freeze(now: Round) -> bool:
        return any(is_complete(trial) for trial in now.names)

    def _next_pass(
        self, now: Round, history: Sequence[TrialRecord], context: Context
    ) -> CandidateRecord:
        """From where the last one ended; the first from its start, or from the best so far."""
        if not (learned := now.learned(context)):
            if now.passes:
                return now.passes[0].candidate
            return (
                self.first_pass(context) if now.index == 0 else self._next_round(history, context)
            )
        trial, shapes = learned[-1]
        items = [shape.record() for shape in shapes]
        return _beginning_with(items, context, (trial.number,), self._operation(len(learned)))

    def _next_round(self, history: Sequence[TrialRecord], context: Context) -> CandidateRecord:
        """The first pass of another round, which begins with the best trial but the model unchanged."""
        sign = 1 if context.direction == "maximize" else -1
        groups = context.site_groups
        complete = [
            (sign * trial.value, -trial.number, trial, items)
            for trial in history
            if is_complete(trial) and trial.value is not None
            and (items := groups.items(trial.candidate)) is not None
            and all(_is_function(item) for item in items)
        ]  # fmt: skip
        if not complete:
            return self.first_pass(context)
        _, _, best, items = max(complete, key=lambda entry: entry[:2])
        return _beginning_with(items, context, (best.number,), self._operation(0))

    def _name(
        self, now: Round, history: Sequence[TrialRecord], context: Context
    ) -> list[CandidateRecord]:
        chosen, shapes = now.best(context)
        others = [own for trial, own in now.learned(context) if trial is not chosen]
        noise = [
            min(0.5, unexplained(shape, others[-1][index])) if others else None
            for index, shape in enumerate(shapes)
        ]
        return name_shapes(
            shapes, noise, self.names, context,
            context.proposal_seed(history), (now.curves[-1].number,),
        )  # fmt: skip


def _beginning_with(
    items: Sequence[ActivationRecord], context: Context, parents: tuple[int, ...], operation: str
) -> CandidateRecord:
    """A pass; a curve for each group, also where they begin alike."""
    groups = context.site_groups
    activations = {
        key: item for keys, item in zip(groups.keys, items, strict=True) for key in keys
    }
    return CandidateRecord(activations, operation, parents)


def _is_function(item: ActivationRecord) -> bool:
    row = CATALOG[item.name] if item.name else None
    return row is None or (row.elementwise and not row.random and not row.straight_through)
