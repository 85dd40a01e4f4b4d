"""Several candidates of one task trained in one pass."""

from actsearch.training.stack.equality import check_stack
from actsearch.training.stack.exit_rule import ExitRule
from actsearch.training.stack.model import Member
from actsearch.training.stack.stacked_site import Unstackable
from actsearch.training.stack.together import fit_together

__all__ = [
    "Member",
    "Unstackable",
    "ExitRule",
    "check_stack",
    "fit_together",
]
