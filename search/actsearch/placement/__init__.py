"""Finding the activations of a user's model, and swapping them on a copy."""

from actsearch.placement.analysis import ModelAnalysis, model_structure, sites
from actsearch.placement.choose import match_sites
from actsearch.placement.function_module import FunctionModule
from actsearch.placement.initialise import initialise_for_gain
from actsearch.placement.model_run import StepCall, forward
from actsearch.placement.placing import (
    Placement,
    expose_sites,
    place,
    place_analyzed,
)
from actsearch.placement.site_list import Site, Sites

__all__ = [
    "FunctionModule",
    "ModelAnalysis",
    "Placement",
    "Site",
    "Sites",
    "StepCall",
    "expose_sites",
    "forward",
    "initialise_for_gain",
    "match_sites",
    "model_structure",
    "place",
    "place_analyzed",
    "sites",
]
