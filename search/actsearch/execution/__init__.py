"""Where trials run. Executors only evaluate; they never touch the database."""

from actsearch.execution.local import Local
from actsearch.execution.processes import Processes
from actsearch.execution.work import Executor, Job, Work

__all__ = ["Executor", "Job", "Local", "Processes", "Work"]
