"""Groups of sites that get an activation each."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actsearch.errors import SpaceError
from actsearch.records import SHARED, ActivationRecord, CandidateRecord
from actsearch.screening import fingerprint

__all__ = ["SiteGroups"]


@dataclass(frozen=True)
class SiteGroups:
    """Which sites share an activation, as candidates name them.

    Attributes:
        keys: for each group, in the order in which they are searched, the keys of its activation in a candidate:
            ``"depth:1/3"``, the path of a site, or one or more patterns.
        covers_all_sites: whether the groups are all hidden sites of the model and nothing else. One activation for
            every group is then a shared one, and written as such; of named groups it is written for each.
    """

    keys: tuple[tuple[str, ...], ...]
    covers_all_sites: bool

    @classmethod
    def shared(cls) -> SiteGroups:
        """One group of all hidden sites."""
        return cls(((SHARED,),), True)

    @classmethod
    def bands(cls, count: int) -> SiteGroups:
        """So many bands of depth."""
        return cls(tuple((f"depth:{band}/{count}",) for band in range(1, count + 1)), True)

    @classmethod
    def sites(cls, paths: Sequence[str]) -> SiteGroups:
        """A group for each site."""
        return cls(tuple((path,) for path in paths), True)

    @classmethod
    def named(cls, patterns: Mapping[str, str | None]) -> SiteGroups:
        """A group for each pattern; those with one name are one group."""
        by_name: dict[tuple[str, str | None], list[str]] = {}
        for pattern, name in patterns.items():
            by_name.setdefault(("", pattern) if name is None else ("name", name), []).append(
                pattern
            )
        return cls(tuple(tuple(group) for group in by_name.values()), False)

    def __len__(self) -> int:
        return len(self.keys)

    @functools.cached_property
    def all_keys(self) -> tuple[str, ...]:
        """The keys of every group, in order."""
        return tuple(key for group in self.keys for key in group)

    @functools.cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.all_keys)

    def items(self, candidate: CandidateRecord) -> tuple[ActivationRecord, ...] | None:
        """A candidate's activation in each group; None for one that is not made by these groups."""
        if (shared := candidate.single) is not None:
            return (shared,) * len(self.keys)
        if candidate.is_baseline or not candidate.by_group.keys() <= self._known:
            return None
        items = []
        for first, *others in self.keys:
            item = candidate.at(first)
            if item is None or any(candidate.at(key) != item for key in others):
                return None
            items.append(item)
        return tuple(items)

    def candidate(
        self,
        items: Sequence[ActivationRecord],
        operation: str = "",
        parents: tuple[int, ...] = (),
    ) -> CandidateRecord:
        """A candidate of one activation for each group; of one function everywhere, a shared one."""
        # also where the formulas are written differently: identity must not depend on how they are written
        if self.covers_all_sites and (
            all(item == items[0] for item in items[1:])
            or len({fingerprint(item) for item in items}) == 1
        ):
            return CandidateRecord.shared(items[0], operation, parents)
        activations = {
            key: item for group, item in zip(self.keys, items, strict=True) for key in group
        }
        return CandidateRecord(activations, operation, parents)

    def normalize(self, candidate: CandidateRecord) -> CandidateRecord:
        """A candidate as these groups write it, so that equal ones are written equally.

        Raises:
            SpaceError: for one that names other sites, or leaves a group out.
        """
        if candidate.is_baseline:
            return candidate
        items = self.items(candidate)
        if items is None:
            groups = "; ".join(", ".join(group) for group in self.keys)
            raise SpaceError(
                f"the candidate names {', '.join(candidate.activations)}: give one activation, or one for each "
                f"group of the space ({groups})"
                + (", the same for all patterns of a group" if not self.covers_all_sites else "")
            )
        return self.candidate(items, candidate.operation, candidate.parents)

    def is_shared(self, candidate: CandidateRecord) -> bool:
        """Whether a candidate has one activation in all groups."""
        items = self.items(candidate)
        return items is not None and all(item == items[0] for item in items[1:])

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {"groups": [list(group) for group in self.keys], "whole": self.covers_all_sites}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SiteGroups:
        """Read :meth:`to_json` output."""
        return cls(tuple(tuple(group) for group in data["groups"]), bool(data["whole"]))
