"""Ways out: code to paste, and a plot."""

from actsearch.export.figure import plot
from actsearch.export.learned import averaged
from actsearch.export.python_code import to_python
from actsearch.export.subject import class_name_of, record_of

__all__ = ["averaged", "class_name_of", "plot", "record_of", "to_python"]
