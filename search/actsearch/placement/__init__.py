"""Finding the activations of a user's model, and swapping them on a copy."""

from actsearch.placement.analysis import ModelAnalysis, model_structure, pre_activations, sites
from actsearch.placement.choose import Where, match_sites
from actsearch.placement.function_module import FunctionModule
from actsearch.placement.initialise import initialise_for_gain
from actsearch.placement.model_run import forward, observe_output
from actsearch.placement.placing import (
    Placement,
    expose_sites,
    place,
    place_analyzed,
)
from actsearch.placement.random_streams import isolated_random
from actsearch.placement.site_list import Site, Sites
from actsearch.placement.site_trace import trace_sites

__all__ = [
    "FunctionModule",
    "ModelAnalysis",
    "Placement",
    "Site",
    "Sites",
    "Where",
    "expose_sites",
    "forward",
    "initialise_for_gain",
    "isolated_random",
    "match_sites",
    "model_structure",
    "observe_output",
    "place",
    "place_analyzed",
    "pre_activations",
    "sites",
    "trace_sites",
]
