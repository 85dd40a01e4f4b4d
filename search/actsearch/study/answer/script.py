"""A Task in a script of the user's, for the command line."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from actsearch.errors import TaskError
from actsearch.task import Task

__all__ = ["load_task"]

_DEFAULT = "task"


def load_task(where: str) -> Task:
    """Run a script, as an import does, and take a Task from it.

    Args:
        where: ``script.py:name``; without a name it is ``task``. It may also be a function that makes it.

    Raises:
        TaskError: there is no such script or name, it is no Task, or the script fails.
    """
    file, _, name = where.rpartition(":") if ".py:" in where else (where, "", _DEFAULT)
    path = Path(file)
    if path.suffix != ".py" or not path.is_file():
        raise TaskError(
            f"{where!r}: there is no script {file!r}; give script.py:name, where name is an acs.Task in that file"
        )
    module_name = path.stem if path.stem.isidentifier() else "__actsearch_script__"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise TaskError(f"{file}: Python cannot import it")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))  # as where it is run
    before = sys.modules.get(module_name)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        if before is not None:
            sys.modules[module_name] = before
        raise TaskError(f"{file} failed: {type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if callable(found) and not isinstance(found, Task):
        try:
            found = found()
        except Exception as error:
            raise TaskError(f"{file}:{name}() failed: {type(error).__name__}: {error}") from error
    if not isinstance(found, Task):
        others = [key for key, value in vars(module).items() if isinstance(value, Task)]
        hint = f"; it has {', '.join(others)}" if others else "; put task = acs.Task(...) into it"
        what = "no" if found is None else f"a {type(found).__name__}, not a Task, called"
        raise TaskError(f"{file} has {what} {name!r}{hint}")
    return found
