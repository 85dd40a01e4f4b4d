"""Export: code to paste, and a plot."""

from actsearch.export.figure import plot
from actsearch.export.learned import average_learned
from actsearch.export.python_code import to_python
from actsearch.export.subject import make_class_name

__all__ = ["average_learned", "make_class_name", "plot", "to_python"]
