"""What an operator's row says that it computes, in numpy and scipy."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from actsearch.operators import Operator

__all__ = ["reference"]


def reference(row: Operator, *arguments: Any) -> npt.NDArray[np.float64]:
    """The reference of a row at arguments, the input x first where the operator uses it.

    One that takes any number of arguments is that of two, applied again and again.
    """
    if row.separator is not None and len(arguments) > row.arity:
        return functools.reduce(functools.partial(reference, row), arguments)
    names = ("x", "a", "b", "c") if row.uses_x else ("a", "b", "c")
    given = dict(zip(names, arguments, strict=False))
    return np.asarray(eval(row.reference, {"np": np, "special": special, **given}))
