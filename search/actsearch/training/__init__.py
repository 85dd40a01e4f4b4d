"""One seeded training loop."""

from actsearch.placement.random_streams import isolated_random
from actsearch.training.check import check_task
from actsearch.training.data_check import DataReport, Overlap, check_data
from actsearch.training.loop import TrainingResult, fit
from actsearch.training.optimizer import further_settings, optimizer_settings, parameter_groups
from actsearch.training.schedule import uses_learning_rate

__all__ = [
    "DataReport",
    "Overlap",
    "TrainingResult",
    "check_data",
    "check_task",
    "fit",
    "isolated_random",
    "further_settings",
    "optimizer_settings",
    "parameter_groups",
    "uses_learning_rate",
]
