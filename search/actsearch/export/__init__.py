"""Ways out: code to paste, and a plot."""

from actsearch.export.plot import plot
from actsearch.export.python_code import to_python

__all__ = ["plot", "to_python"]
