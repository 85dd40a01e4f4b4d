"""What a formula surely does on an interval: enclosures of its values and slopes. No torch."""

from actsearch.bounds.enclosure import Enclosure, enclose
from actsearch.bounds.extremes import Bound, bound_magnitude, bound_slope, bound_values
from actsearch.bounds.interval import Interval

__all__ = [
    "Bound",
    "Enclosure",
    "Interval",
    "bound_magnitude",
    "bound_slope",
    "bound_values",
    "enclose",
]
