"""The default: a portfolio, then the most promising of what several sources propose."""

from actsearch.strategies.auto.strategy import Auto

__all__ = ["Auto"]
