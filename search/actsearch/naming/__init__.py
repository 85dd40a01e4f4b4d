"""A curve as formulas: which catalog row it is, or which composed one, and how near each comes."""

from actsearch.naming.curve import Curve
from actsearch.naming.names import Name, name_curve
from actsearch.naming.writing import tidy

__all__ = ["Curve", "Name", "name_curve", "tidy"]
