"""Which functions are worth a training: a Gaussian process over functions. Its door is ``promising``."""

from actsearch.strategies.surrogate.choice import promising

__all__ = ["promising"]
