"""Gradient-based search: learn the shape of the activation, then name it."""

from actsearch.strategies.gradient.strategy import Gradient

__all__ = ["Gradient"]
