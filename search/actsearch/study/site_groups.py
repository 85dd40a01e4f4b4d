"""The groups of sites of a study: found in the task's model, kept with the study."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actsearch.activations import describe
from actsearch.errors import ActsearchError, PlacementError, SpaceError, StudyError
from actsearch.evaluation import Subject
from actsearch.placement import Site, Sites, match_sites
from actsearch.records import ActivationRecord, StudyRecord
from actsearch.strategies import SiteGroups, Space

__all__ = ["SITE_GROUPS", "StudyGroups", "known_groups"]

SITE_GROUPS = "site_groups"
"""Key of the study's user attributes."""


@dataclass(frozen=True)
class StudyGroups:
    """Groups of sites with the sites that they stand for in the task's model.

    Attributes:
        groups: as strategies and candidates name them.
        sites: paths of each key of a group; empty where the model is not known.
    """

    groups: SiteGroups
    sites: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, space: Space, subject: Subject) -> StudyGroups:
        """Find the groups of a space in what is optimised.

        Raises:
            SpaceError: a pattern matches no site, two groups have a site in common, there are fewer sites than bands of
                depth, or the sites have no names that last.
        """
        groups = space.site_groups()
        sites = None if groups == SiteGroups.shared() else subject.sites()
        if sites is None:
            if groups is None:
                raise SpaceError(
                    "sites='per_site' must know the sites, and an objective of your own keeps its model to itself: "
                    "give a Task, name groups by pattern, as Space(sites={'encoder.*': None}), or divide by depth"
                )
            return cls(groups, {})
        hidden = _hidden(sites)
        if groups is None:
            _check_names(hidden, _hidden(subject.sites(again=True) or ()))
            return cls(SiteGroups.sites(hidden), {path: [path] for path in hidden})
        if space.sites == "per_depth" and space.bands > len(hidden):
            raise SpaceError(
                f"depth_bands={space.bands}, and the model has {len(hidden)} hidden sites: give {len(hidden)} at most, "
                "or sites='per_site'"
            )
        return cls(groups, _paths_by_pattern(groups, sites))

    def all_sites(self, subject: Subject) -> dict[str, list[str]]:
        """Paths of the sites of each key of a group, those of a shared activation included; empty for a function."""
        sites = subject.sites()
        if sites is None:
            return {}
        known = {key: list(paths) for key, paths in self.sites.items()}
        return known or dict.fromkeys(self.groups.all_keys, _hidden(sites))

    def own_activations(self, subject: Subject) -> dict[str, ActivationRecord]:
        """What the model has at most sites of each key, where that is one function of one number."""
        formulas = {site.path: site.formula for site in subject.sites() or ()}
        found = {}
        for key, paths in self.all_sites(subject).items():
            counts = Counter(formulas[path] for path in paths if formulas.get(path))
            for formula, _ in counts.most_common(1):
                with contextlib.suppress(ActsearchError):
                    found[key] = describe(formula)
        return found

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            **self.groups.to_json(),
            "sites": {key: list(paths) for key, paths in self.sites.items()},
        }

    def check_same(self, stored: Mapping[str, Any], name: str) -> None:
        """Refuse a model with other groups: what was proposed would not fit.

        Raises:
            StudyError: says which.
        """
        before = SiteGroups.from_json(stored)
        if before != self.groups:
            there, here = (", ".join(one.all_keys) for one in (before, self.groups))
            raise StudyError(
                f"the model has other sites than that of study {name!r}: {here}; stored {there}; make a new study"
            )


def known_groups(study: StudyRecord) -> StudyGroups | None:
    """The groups that are kept with a study; None before its first optimize, where only the model says them."""
    stored = study.user_attrs.get(SITE_GROUPS)
    if stored is not None:
        return StudyGroups(SiteGroups.from_json(stored), dict(stored["sites"]))
    groups = Space.from_json(study.space).site_groups()
    return None if groups is None else StudyGroups(groups, {})


def _hidden(sites: Iterable[Site]) -> list[str]:
    return [site.path for site in sites if site.role == "hidden"]


def _check_names(hidden: Sequence[str], again: Sequence[str]) -> None:
    if again != hidden:
        raise SpaceError(
            "sites='per_site': the model has other sites each time it is built, so that names do not identify "
            f"them: {', '.join(hidden)}; then {', '.join(again)}"
        )


def _paths_by_pattern(groups: SiteGroups, sites: Sites) -> dict[str, list[str]]:
    paths: dict[str, list[str]] = {}
    owner: dict[str, str] = {}
    for pattern in groups.all_keys:
        try:
            paths[pattern] = [site.path for site in match_sites(sites, pattern)]
        except PlacementError as error:
            raise SpaceError(f"sites: the pattern {pattern!r} names no group: {error}") from error
        for path in paths[pattern]:
            if path in owner:
                raise SpaceError(
                    f"sites: the patterns {owner[path]!r} and {pattern!r} overlap: both match {path!r}"
                )
            owner[path] = pattern
    return paths
