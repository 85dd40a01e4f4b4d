"""Genetic programming over formulas by DEAP."""

from actsearch.strategies.genetic.strategy import Genetic

__all__ = ["Genetic"]
