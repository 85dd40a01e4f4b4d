"""What an objective is given to try: a record that knows how to become torch modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from actsearch.activations import (
    Activation,
    activation,
    build_expression,
    candidate_record,
    describe,
)
from actsearch.errors import ActivationError
from actsearch.expression import Expression
from actsearch.placement import Placement, place
from actsearch.records import ActivationRecord, CandidateRecord

__all__ = ["Candidate"]


@dataclass(frozen=True)
class Candidate:
    """An activation, or the user's model unchanged, on trial.

    Attributes:
        record: the stored data.
        no_activation: of a pass of shape learning that is known to be a trial: why it is no activation, and where its
            curve is.

    Example:
        >>> def objective(candidate, run):
        ...     model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        ...     placed = candidate.place(model).model  # or candidate.module() alone
        ...     return placed(torch.ones(1, 4)).item()
        >>> study = acs.create_study(study_name="placed", direction="minimize", strategy="random")
        >>> study.optimize(objective, n_trials=1, show_progress_bar=False)
        >>> study.best_trial.state.name
        'COMPLETE'
    """

    record: CandidateRecord
    no_activation: str = field(default="", repr=False, compare=False)

    @classmethod
    def of(cls, what: Any, **hyperparameters: Any) -> Candidate:
        """A candidate of one shared activation: catalog name, formula, Expression or record; or of several: a mapping.

        Args:
            what: an activation, or a mapping to activations from sites, as :func:`actsearch.place` takes it.
            hyperparameters: settings of a catalog row.
        """
        if (record := candidate_record(what)) is not None:
            return what if isinstance(what, cls) else cls(record)
        if isinstance(what, Mapping):
            return cls(_record_by_site(what))
        return cls(CandidateRecord.shared(describe(what, **hyperparameters), operation="user"))

    @classmethod
    def baseline(cls) -> Candidate:
        """The user's model unchanged."""
        return cls(CandidateRecord.baseline())

    @property
    def formula(self) -> str:
        """The formula as text; empty for the model unchanged."""
        return self.record.formula

    @property
    def label(self) -> str:
        """Short text for tables."""
        return self.record.label

    @property
    def expression(self) -> Expression:
        """The formula as a tree."""
        return build_expression(self._shared())

    def module(self, channels: int | None = None) -> Activation:
        """A new activation module.

        Args:
            channels: size of axis 1, for parameters learned per channel.

        Raises:
            ActivationError: for the unchanged model, for a pass of shape learning, or when channels are needed and
                missing.
        """
        return activation(self._shared(), channels=channels)

    def place(self, model: nn.Module, *, sample: Any = None) -> Placement:
        """Put the activation into a copy of a model; see :func:`actsearch.place`."""
        return place(model, self, sample=sample)

    def _shared(self) -> ActivationRecord:
        candidate_record(self)  # refuses what is no activation
        if self.record.single is None:
            raise ActivationError(
                "this candidate is the model unchanged and has no activation of its own: use "
                "candidate.place(model), or name a baseline, as in confirm(..., baseline='relu')"
                if self.record.is_baseline
                else "this candidate has several activations: use candidate.place(model), or choose one of "
                f"candidate.record.activations: {', '.join(self.record.activations)}"
            )
        return describe(self.record.single)

    def __str__(self) -> str:
        return self.label or "the model unchanged"


def _record_by_site(activations: Mapping[str, Any]) -> CandidateRecord:
    if not activations:
        raise ActivationError("{} names no activation: give one for each group of sites")
    for group in activations:
        if not isinstance(group, str):
            raise ActivationError(
                f"{group!r} names no sites: a key is a path, a pattern, or a band as 'depth:1/3'"
            )
    return CandidateRecord(
        {group: describe(item) for group, item in activations.items()}, operation="user"
    )
