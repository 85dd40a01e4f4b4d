"""A search without training: what a strategy proposes is given a value by a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from actsearch.records import CandidateRecord, TrialRecord, TrialState
from actsearch.screening import identify
from actsearch.strategies import Context, Earlier, Space, Strategy

__all__ = ["simulate"]

Evaluate = Callable[[Sequence[CandidateRecord], Sequence[str]], Sequence[float]]


def simulate(
    strategy: Strategy,
    evaluate: Evaluate,
    seed: int,
    trials: int,
    direction: Literal["maximize", "minimize"] = "maximize",
    space: Space | None = None,
    *,
    enqueued: Sequence[CandidateRecord] = (),
    earlier: tuple[Earlier, ...] = (),
) -> list[TrialRecord]:
    """The history of a search, duplicates included.

    Args:
        strategy: is asked batch after batch.
        evaluate: from candidates and their identities to values; called once a batch with what is new.
        seed: of the study.
        trials: how many that are new; fewer where the strategy has nothing more to propose.
        direction: of the values.
        space: to search in; the default one if None.
        enqueued: what is tried before anything is proposed.
        earlier: what earlier studies found.
    """
    context = Context(space or Space(), seed, direction, earlier=earlier)
    history: list[TrialRecord] = []
    first: dict[str, int] = {}
    while len(first) < trials:
        proposals = [] if history else list(enqueued)
        if not proposals:
            proposals = strategy.propose(history, strategy.batch_size(history, context), context)
        if not proposals:
            break
        identities = [identify(candidate).identity for candidate in proposals]
        new = [
            place
            for place, identity in enumerate(identities)
            if identity not in first and identity not in identities[:place]
        ]
        values = evaluate([proposals[i] for i in new], [identities[i] for i in new])
        found = dict(zip(new, values, strict=True))
        for place, (candidate, identity) in enumerate(zip(proposals, identities, strict=True)):
            number = len(history)
            original = first.setdefault(identity, number)
            is_new = original == number
            history.append(
                TrialRecord(
                    number, TrialState.COMPLETE if is_new else TrialState.DUPLICATE, candidate,
                    found[place] if is_new else None, 0.0, fingerprint=identity,
                    duplicate_of=None if is_new else original,
                )
            )  # fmt: skip
    return history
