"""What is wrong with a task's data, said before anything is trained."""

from actsearch.training.data_check.check import DataReport, check_data
from actsearch.training.data_check.overlap import Overlap

__all__ = ["DataReport", "Overlap", "check_data"]
