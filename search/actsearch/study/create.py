"""Making, loading and deleting studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from actsearch.checks import check_integer
from actsearch.errors import StudyError
from actsearch.halving import WHERE_IT_PAYS, SuccessiveHalving
from actsearch.records import StudyRecord
from actsearch.storage import Storage, quote_name, versions
from actsearch.strategies import DEFAULT, Space, Strategy, make_strategy, refuse_unsupported
from actsearch.study.directions import given_directions, refuse_pruner
from actsearch.study.earlier import EARLIER, write_earlier
from actsearch.study.study import Study
from actsearch.study.warm_start import WARM_START, WarmStart

__all__ = ["create_study", "delete_study", "load_study"]

_IN_MEMORY = "sqlite://"


def create_study(
    *,
    study_name: str,
    storage: str | None = None,
    strategy: str | Strategy | None = None,
    space: Space | None = None,
    direction: Literal["maximize", "minimize"] | None = None,
    directions: Sequence[str] | Mapping[str, str] | None = None,
    seed: int | None = None,
    pruner: SuccessiveHalving | Literal["auto"] | None = "auto",
    load_if_exists: bool = False,
    warm_start_from: Study | str | Sequence[Study | str] | None = None,
    warm_start_top_k: int | None = None,
) -> Study:
    """Make a study, or open the one that is there.

    Args:
        study_name: its name, unique in the storage.
        storage: URL such as ``sqlite:///studies/actsearch.db``, with three slashes before a relative path and four
            before an absolute one; None keeps it in memory.
        strategy: a name in ``actsearch.strategies.STRATEGIES``, or a strategy with settings.
        space: what may be proposed; the recommended activations and operators by default.
        direction: of the metric; None takes the metric's own.
        directions: likewise for several objectives, in the order of ``Task(objectives=...)``, or by name. A callable
            then returns a mapping: of its entries those of these names count, or the first so many.
        seed: seed of everything random in the study; 0 by default.
        pruner: which trials are given up early, as ``acs.SuccessiveHalving()``; None for none. By default, for the
            strategy "auto" with one objective, those of a Task that are behind where early values tell the final ones:
            ``acs.SuccessiveHalving(1, 3, min_correlation=0.7)``; for others none. A stored study keeps its own.
        load_if_exists: open a study of that name; what is given here must then agree with it. Of several calls at
            once one makes the study, and the others open it.
        warm_start_from: begin with the best candidates of another study: one from ``load_study``, or the name of one
            in this storage. They are trained first, anew; their old values are not taken over. What lies outside of
            the space is left out, which is logged and kept in the study's ``user_attrs["warm_start"]``. Of a list of
            studies the best of each are taken, then the second best, and so on; "all" takes every other study of this
            storage that has complete trials of one activation, the 20 newest, unless one is named "all". The strategy
            "auto" learns from all that they have found until now as well, and believes each as far as it ranks what
            the new study tries.
        warm_start_top_k: how many candidates; 5 by default.

    Raises:
        StudyError: the name is taken, or the stored study differs from what is given; says in what.
        StorageError: the database cannot be opened or is not ours.
        SpaceError: the space or strategy is not valid.

    Example:
        >>> study = acs.create_study(study_name="digits", storage="sqlite:///demo.db", seed=1)
        >>> study.study_name, len(study.trials)
        ('digits', 0)
    """
    _check_arguments(study_name, pruner, warm_start_from, warm_start_top_k)
    if seed is not None:
        seed = check_integer("seed", seed, StudyError, low=0, high=2**31 - 1)
    given, names = given_directions(direction, directions)
    own = None if pruner == "auto" else pruner
    refuse_pruner(own, given)
    chosen = _choose_strategy(strategy, space, given, own)
    opened = Storage(_IN_MEMORY if storage is None else storage, create=True)

    def open_stored(stored: StudyRecord) -> Study:
        more = WarmStart.differences(warm_start_from, warm_start_top_k, stored)
        more += _objective_differences(stored, given, names)
        _check_same(stored, strategy, space, direction, seed, own, more)
        study = Study(opened, stored)
        if direction is not None:
            study.set_direction(direction)
        return study

    if load_if_exists and (stored := opened.find_study(study_name)) is not None:
        return open_stored(stored)
    settings = space or Space()
    warm = None
    if warm_start_from is not None:
        warm = WarmStart(warm_start_from, warm_start_top_k, opened, settings, study_name)
    if pruner == "auto" and chosen.prunes_by_default and len(given) < 2:
        own = WHERE_IT_PAYS
    record = _new_record(study_name, seed or 0, given, names, settings, chosen, warm, own)
    stored = opened.create_study(
        record, warm.trials if warm else (), load_if_exists=load_if_exists
    )
    # another process may have made it meanwhile
    return open_stored(stored) if load_if_exists else Study(opened, stored)


def _choose_strategy(
    strategy: Strategy | str | None,
    space: Space | None,
    directions: Sequence[str],
    pruner: SuccessiveHalving | None,
) -> Strategy:
    """The strategy, the default one if none is given.

    Raises:
        StudyError: it does not support what the study asks for.
    """
    chosen = make_strategy(strategy or DEFAULT)
    is_grouped = space is not None and space.sites != "shared"
    refuse_unsupported(
        chosen, directions=len(directions), groups=is_grouped, pruning=pruner is not None
    )
    return chosen


def _new_record(
    name: str,
    seed: int,
    directions: Sequence[str],
    names: Sequence[str],
    space: Space,
    strategy: Strategy,
    warm: WarmStart | None,
    pruner: SuccessiveHalving | None,
) -> StudyRecord:
    """The settings of a new study; names and several directions only where there are several."""
    is_several = len(directions) > 1
    attributes: dict[str, Any] = {} if warm is None else {WARM_START: warm.attributes}
    if warm is not None and _learns(strategy, space, is_several):
        attributes[EARLIER] = write_earlier(warm.old_studies)
    return StudyRecord(
        id=0,
        name=name,
        seed=seed,
        direction=directions[0] if directions else None,
        directions=tuple(directions) if is_several else (),
        objectives=tuple(names) if is_several else (),
        space=space.to_json(),
        strategy=strategy.describe(),
        versions=versions(),
        user_attrs=attributes,
        pruner=None if pruner is None else pruner.describe(),
    )


def _learns(strategy: Strategy, space: Space, is_several: bool) -> bool:
    """Whether earlier studies tell a new one more than what to begin with: which activation for all sites is good."""
    return strategy.learns_from_studies and not is_several and space.sites == "shared"


def load_study(*, study_name: str, storage: str) -> Study:
    """Open a stored study.

    Args:
        study_name: its name in the storage.
        storage: URL of the database, as for :func:`create_study`.

    Raises:
        StudyError: there is none of that name; suggests the nearest.
        StorageError: the database is missing, cannot be opened or is not ours.

    Example:
        >>> _ = acs.create_study(study_name="old", storage="sqlite:///demo.db")
        >>> acs.load_study(study_name="old", storage="sqlite:///demo.db").study_name
        'old'
    """
    opened = Storage(storage)
    return Study(opened, opened.study(study_name))


def delete_study(*, study_name: str, storage: str) -> None:
    """Remove a study with everything in it.

    Args:
        study_name: its name in the storage.
        storage: URL of the database, as for :func:`create_study`.

    Raises:
        StudyError: there is none of that name, or a process is running it.
        StorageError: the database is missing, cannot be opened or is not ours.

    Example:
        >>> _ = acs.create_study(study_name="old", storage="sqlite:///demo.db")
        >>> acs.delete_study(study_name="old", storage="sqlite:///demo.db")
    """
    Storage(storage).delete_study(study_name)


def _objective_differences(
    stored: StudyRecord, given: Sequence[str], names: Sequence[str]
) -> list[str]:
    """How several objectives that are given differ from the stored ones."""
    differences = []
    if (len(given) > 1 or stored.directions) and given and tuple(given) != stored.directions:
        differences.append(f"directions: {tuple(given)!r}, stored {stored.directions!r}")
    if names and stored.objectives and tuple(names) != stored.objectives:
        differences.append(f"objectives: {tuple(names)!r}, stored {stored.objectives!r}")
    return differences


def _check_arguments(study_name: object, pruner: object, source: object, top_k: object) -> None:
    if top_k is not None and source is None:
        raise StudyError("warm_start_top_k says how many: say from which study, warm_start_from=")
    if not isinstance(study_name, str) or not study_name.strip() or not _storable(study_name):
        raise StudyError(
            f"study_name must be a text that is not empty, not {quote_name(study_name)}"
        )
    if "://" in study_name and "***" in (shown := quote_name(study_name)):
        raise StudyError(
            f"study_name is a URL with a password, {shown}, and a name is shown to everybody; "
            "give the URL as storage=, and the study a name"
        )
    if pruner not in (None, "auto") and not isinstance(pruner, SuccessiveHalving):
        raise StudyError(
            f'pruner must be acs.SuccessiveHalving(...), "auto" or None, not {pruner!r}'
        )


def _storable(text: str) -> bool:
    """Whether every database takes a text: no NUL, no half of a surrogate pair."""
    return "\0" not in text and text.encode("utf-8", "ignore").decode() == text


def _check_same(
    stored: StudyRecord,
    strategy: Strategy | str | None,
    space: Space | None,
    direction: str | None,
    seed: int | None,
    pruner: SuccessiveHalving | None,
    more: Sequence[str] = (),
) -> None:
    """Refuse to go on with other settings; what was not given is not compared."""
    differences = [*more, *([] if space is None else space.differences(stored.space))]
    if isinstance(strategy, Strategy):
        before = make_strategy(stored.strategy).describe()
        differences += _setting_differences("strategy", before, strategy.describe())
    elif strategy is not None and strategy != stored.strategy.get("name"):
        differences.append(f"strategy: {strategy!r}, stored {stored.strategy.get('name')!r}")
    if pruner is not None and pruner.describe() != stored.pruner:
        differences += _setting_differences("pruner", stored.pruner or {}, pruner.describe())
    if direction is not None and stored.direction not in (None, direction):
        differences.append(f"direction: {direction!r}, stored {stored.direction!r}")
    if seed is not None and seed != stored.seed:
        differences.append(f"seed: {seed}, stored {stored.seed}")
    if differences:
        raise StudyError(
            f"study {stored.name!r} was made with other settings; give those, or another study_name:\n  "
            + "\n  ".join(differences)
        )


def _setting_differences(
    what: str, stored: Mapping[str, Any], given: Mapping[str, Any]
) -> list[str]:
    return [
        f"{what} {key}: {given.get(key)!r}, stored {stored.get(key)!r}"
        for key in sorted({*stored, *given})
        if given.get(key) != stored.get(key)
    ]
