"""An activation that is several calls, as a module, and what it is called."""

from __future__ import annotations

import functools

from actsearch.placement.chains import Chain, Replay
from actsearch.placement.execution import FunctionCall
from actsearch.placement.function_module import FunctionModule
from actsearch.placement.site_formula import catalog_name

__all__ = ["chain_module", "chain_name", "names_of_chain"]


def chain_module(chain: Chain, formula: str) -> FunctionModule:
    """A module that computes what a chain does, called after the catalog row that it is, or else by its formula."""
    return FunctionModule(Replay(chain.steps, chain.start, chain.end), chain_name(chain, formula))


def chain_name(chain: Chain, formula: str) -> str:
    """What a chain is called: a catalog row, unless it learns; else its helper, its formula, or one of its calls."""
    known, helper, carrier = names_of_chain(chain)
    return ("" if chain.learns else known) or helper or formula or carrier


@functools.lru_cache(maxsize=1024)
def names_of_chain(chain: Chain) -> tuple[str, str, str]:
    """The catalog row that a chain is, the helper that makes its calls, and the call that something replaces."""
    helper = chain.helper.co_name.strip("_") if chain.helper is not None else ""
    known = catalog_name(Replay(chain.steps, chain.start, chain.end, by_example=True))
    carrier = chain.carrier.name if isinstance(chain.carrier, FunctionCall) else "activation"
    return known, helper if helper.isidentifier() else "", carrier
