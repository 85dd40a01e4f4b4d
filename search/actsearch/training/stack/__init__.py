"""Several candidates of one task trained in one pass."""

from actsearch.training.stack.equality import check_stack
from actsearch.training.stack.model import Member
from actsearch.training.stack.stacked_fit import StackedFit
from actsearch.training.stack.stacked_site import Unstackable
from actsearch.training.stack.together import fit_together
from actsearch.training.stack.watch import Watch

__all__ = [
    "Member",
    "StackedFit",
    "Unstackable",
    "Watch",
    "check_stack",
    "fit_together",
]
