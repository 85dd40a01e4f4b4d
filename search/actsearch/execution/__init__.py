"""Where trials run. Executors only evaluate; they never touch the database."""

from actsearch.execution.local import Local
from actsearch.execution.processes import Processes
from actsearch.execution.work import Executor, Finished, Job, Work

__all__ = ["Executor", "Finished", "Job", "Local", "Processes", "Work"]
