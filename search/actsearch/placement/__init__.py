"""Finding the activations of a user's model, and swapping them on a copy."""

from actsearch.placement.analysis import ModelAnalysis, model_structure
from actsearch.placement.choose import Where, bands, match_sites, select_sites
from actsearch.placement.function_module import FunctionModule
from actsearch.placement.initialise import initialise_for_gain
from actsearch.placement.place import (
    Placement,
    Replacement,
    expose_sites,
    place,
    place_analyzed,
    pre_activations,
)
from actsearch.placement.probe import SiteTrace, forward, trace
from actsearch.placement.sites import Site, Sites, sites

__all__ = [
    "FunctionModule",
    "ModelAnalysis",
    "Placement",
    "Replacement",
    "Site",
    "SiteTrace",
    "Sites",
    "Where",
    "bands",
    "match_sites",
    "forward",
    "initialise_for_gain",
    "expose_sites",
    "place",
    "place_analyzed",
    "pre_activations",
    "select_sites",
    "sites",
    "model_structure",
    "trace",
]
