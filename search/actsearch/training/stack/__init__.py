"""Several candidates of one task trained in one pass."""

from actsearch.training.stack.fit import StackedFit, fit_stack, fit_together
from actsearch.training.stack.model import Member, StackedModel
from actsearch.training.stack.optimizer import ELEMENTWISE
from actsearch.training.stack.per_slice import Unstackable, group_key
from actsearch.training.stack.trust import check_stack
from actsearch.training.stack.watch import Watch

__all__ = [
    "ELEMENTWISE",
    "Member",
    "StackedFit",
    "StackedModel",
    "Unstackable",
    "Watch",
    "check_stack",
    "fit_stack",
    "fit_together",
    "group_key",
]
