"""Finding the activations of a user's model, and swapping them on a copy."""

from actsearch.placement.initialise import initialise_for_gain
from actsearch.placement.place import Placement, Replacement, place, pre_activations
from actsearch.placement.probe import SiteTrace, forward, trace
from actsearch.placement.sites import Site, sites

__all__ = [
    "Placement",
    "Replacement",
    "Site",
    "SiteTrace",
    "forward",
    "initialise_for_gain",
    "place",
    "pre_activations",
    "sites",
    "trace",
]
