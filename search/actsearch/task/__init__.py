"""What is optimised: the user's model, data, loss, metric and budget."""

from actsearch.task.copies import reading_copy
from actsearch.task.data import Batches, inputs_and_targets, to_device
from actsearch.task.metrics import Accumulator, Metric
from actsearch.task.placed import forget_placed, on_device
from actsearch.task.task import Task

__all__ = [
    "Accumulator",
    "Batches",
    "Metric",
    "Task",
    "forget_placed",
    "inputs_and_targets",
    "on_device",
    "reading_copy",
    "to_device",
]
