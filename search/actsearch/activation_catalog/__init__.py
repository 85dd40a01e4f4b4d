"""The activations people use: one row each. To add one, add a row with its ``reference`` to one of these tables.

``formula`` says what a row computes, in the project's own language with the row's hyperparameters as further names.
``function``, where given, is the dotted name of torch's own fused implementation of the same function; it takes the
hyperparameters as keywords. What no formula can say completely (random slopes, straight-through gradients) is built in
:mod:`actsearch.activations.special` under the row's name.
"""

from actsearch.activation_catalog.common import COMMON
from actsearch.activation_catalog.gated import GATED
from actsearch.activation_catalog.learned import LEARNED, START_SLOPE, start_slopes
from actsearch.activation_catalog.literature import LITERATURE
from actsearch.activation_catalog.outputs import OUTPUTS
from actsearch.activation_catalog.rows import Catalog, Hyperparameter, Row, Value
from actsearch.activation_catalog.splines import (
    MOST_POINTS,
    SPLINES,
    format_points,
    parse_points,
    spline_pieces,
)

__all__ = [
    "ACTIVATIONS",
    "CATALOG",
    "MOST_POINTS",
    "START_SLOPE",
    "Catalog",
    "Hyperparameter",
    "Row",
    "Value",
    "catalog",
    "format_points",
    "parse_points",
    "spline_pieces",
    "start_slopes",
]

ACTIVATIONS: tuple[Row, ...] = (*COMMON, *LEARNED, *GATED, *LITERATURE, *SPLINES, *OUTPUTS)
"""Every row."""

CATALOG = Catalog(ACTIVATIONS)
"""Every row by name."""

catalog = CATALOG
"""The same, under the name that users know: ``acs.catalog``."""
