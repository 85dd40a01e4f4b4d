"""What is known of activations before the first trial: hundreds of them, trained on small tasks of many kinds.

``studies/activation_benchmark.py`` made the table; ``load`` reads it, without torch.

Example:
    >>> table = acs.benchmark.load()
    >>> begin_with = [table.functions[place].label for place in table.portfolio(8)]
    >>> len(begin_with)
    8
"""

from actsearch.benchmark.file import VERSION, leave_out, load, write
from actsearch.benchmark.portfolio import choose_portfolio
from actsearch.benchmark.ranks import normal_scores
from actsearch.benchmark.table import Benchmark, BenchmarkFunction, BenchmarkTask

__all__ = [
    "VERSION",
    "Benchmark",
    "BenchmarkFunction",
    "BenchmarkTask",
    "choose_portfolio",
    "leave_out",
    "load",
    "normal_scores",
    "write",
]
