"""Finding the activations of a user's model, and swapping them on a copy."""

from actsearch.placement.called import Called
from actsearch.placement.choose import Where, bands, matching, selected
from actsearch.placement.initialise import initialise_for_gain
from actsearch.placement.look import Look, structure
from actsearch.placement.place import (
    Placement,
    Replacement,
    open_sites,
    place,
    place_seen,
    pre_activations,
)
from actsearch.placement.probe import SiteTrace, forward, trace
from actsearch.placement.sites import Site, Sites, sites

__all__ = [
    "Called",
    "Look",
    "Placement",
    "Replacement",
    "Site",
    "SiteTrace",
    "Sites",
    "Where",
    "bands",
    "matching",
    "forward",
    "initialise_for_gain",
    "open_sites",
    "place",
    "place_seen",
    "pre_activations",
    "selected",
    "sites",
    "structure",
    "trace",
]
