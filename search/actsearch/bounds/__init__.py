"""What a formula surely does on an interval: enclosures of its values and slopes. No torch."""

from actsearch.bounds.enclosure import Enclosure, enclose
from actsearch.bounds.extremes import Bound, bound_magnitude, bound_slope, bound_values
from actsearch.bounds.interval import Interval
from actsearch.bounds.properties import PROPERTIES, find_violation, is_property

__all__ = [
    "Bound",
    "Enclosure",
    "Interval",
    "PROPERTIES",
    "bound_magnitude",
    "bound_slope",
    "bound_values",
    "enclose",
    "find_violation",
    "is_property",
]
