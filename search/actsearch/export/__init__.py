"""Ways out: code to paste, and a plot."""

from actsearch.export.origin import origin
from actsearch.export.plot import plot
from actsearch.export.python_code import to_python

__all__ = ["origin", "plot", "to_python"]
