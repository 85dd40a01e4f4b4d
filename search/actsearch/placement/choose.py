"""Which of a model's sites are meant."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from typing import Any, get_args

from torch import nn

from actsearch.checks import is_number, nearest
from actsearch.errors import PlacementError
from actsearch.placement.known_activations import equivalent_class
from actsearch.placement.site_list import Site, SiteRole, Sites

__all__ = ["Where", "match_sites", "select_sites", "split_by_depth"]

Where = str | type[nn.Module] | tuple[float, float] | Callable[[Site], bool] | Sequence[Any] | None
"""See :func:`select_sites`."""

_ROLES = get_args(SiteRole)
_GROUP = re.compile(r"depth:(\d+)/(\d+)")


def select_sites(sites: Sites, where: Where, model: nn.Module) -> list[Site]:
    """The sites that are meant.

    Args:
        sites: every site.
        where: None for the role "hidden"; a role, or "all"; a path; a pattern such as ``"encoder.*"``, a class of
            modules, or two shares of the depth, as ``(0.5, 1.0)`` for the second half, for hidden sites that match; a
            function of a :class:`Site`, for sites of any role; or a list of these, for what any of them matches. A
            class of torch stands for the function of its name too: ``nn.LeakyReLU`` for ``F.leaky_relu``, called or
            held.
        model: where the sites are.

    Raises:
        PlacementError: for a path or pattern that matches nothing, and for anything else than these.
    """
    hidden = [site for site in sites if site.role == "hidden"]
    if where is None:
        return hidden
    if isinstance(where, str):
        return _sites_named(sites, where)
    if isinstance(where, nn.Module):
        raise PlacementError(
            f"where={type(where).__name__}() is an instance: give the class, where={type(where).__name__}"
        )
    if isinstance(where, type) and issubclass(where, nn.Module):
        return [
            site
            for site in hidden
            if issubclass(equivalent_class(model.get_submodule(site.path)), where)
        ]
    if callable(where) and not isinstance(where, type):
        return [site for site in sites if _matches(where, site)]
    if (
        isinstance(where, tuple)
        and len(where) == 2
        and all(is_number(end) and 0 <= end <= 1 for end in where)
    ):
        low, high = where
        last = max(len(hidden) - 1, 1)  # of a single site, the depth is 0
        return [site for index, site in enumerate(hidden) if low <= index / last <= high]
    if isinstance(where, (list, tuple)):
        chosen = {site.path for item in where for site in select_sites(sites, item, model)}
        return [site for site in sites if site.path in chosen]
    raise PlacementError(
        f"where={where!r} selects no sites: give a role, a path or pattern, a module class, two shares of the depth, "
        "or a function of a site"
    )


def _matches(where: Callable[[Site], bool], site: Site) -> bool:
    try:
        return bool(where(site))
    except Exception as error:
        raise PlacementError(
            f"the function given as where= raised {type(error).__name__} for the site {site.path!r}: {error}; it takes "
            "a Site, with path, kind, type, order, role and aliases, and returns whether to select it"
        ) from error


def _sites_named(sites: Sites, name: str) -> list[Site]:
    if name == "all":
        return list(sites)
    if name in _ROLES:
        return [site for site in sites if site.role == name]
    return match_sites(sites, name)


def match_sites(sites: Sites, name: str) -> list[Site]:
    """The site at a path, whatever its role, or the hidden sites that match a pattern or a group; at least one.

    A group is ``"depth:1/3"``, the first of three bands of depth.
    """
    if not isinstance(name, str):
        raise PlacementError(
            f"{name!r} selects no sites: a key is a path, a pattern, or a band as 'depth:1/3'; "
            "pass anything else as where="
        )
    known = {path: site for site in sites for path in (site.path, *site.aliases)}
    if name in known:
        return [known[name]]
    hidden = [site for site in sites if site.role == "hidden"]
    if group := _GROUP.fullmatch(name):
        band, count = int(group[1]), int(group[2])
        if not 1 <= band <= count <= len(hidden):
            raise PlacementError(f"{name!r}: there are {len(hidden)} hidden sites to divide")
        return split_by_depth(hidden, count)[band - 1]
    paths = fnmatch.filter(known, name)
    if chosen := [site for site in hidden if not {site.path, *site.aliases}.isdisjoint(paths)]:
        return chosen
    if paths:
        raise PlacementError(
            f"{name!r} matches no hidden activation, but "
            + ", ".join(f"{path} ({known[path].role})" for path in paths[:5])
            + ": name such sites by their full path"
        )
    raise PlacementError(
        f"there is no activation at {name!r}"
        + (nearest(name, known) if known else "; there is none at all")
        + (f"; for the role, give where={name!r}" if name in _ROLES else "")
        + "".join(f". {note}" for note in sites.notes if sites.how == "listed")
    )


def split_by_depth(items: Sequence[Site], count: int) -> list[list[Site]]:
    """Sites in so many groups of equal size, one site more in the first ones if it does not come out even."""
    share, more = divmod(len(items), count)
    groups, start = [], 0
    for index in range(count):
        end = start + share + (index < more)
        groups.append(list(items[start:end]))
        start = end
    return groups
