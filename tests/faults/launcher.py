"""Starts searches as processes of their own, without the seconds that importing torch takes each time: by forking.

It is itself a fork of the process of the tests, as that is after their collection: with every library, and before any
test has run. What pytest has put in place by then is taken away again.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import runpy
import sys
import traceback
import warnings
from typing import NoReturn

import optuna
import torch
import torch.nn.functional as F
from torch import nn

import actsearch as acs

__all__ = ["serve"]


def warm_up() -> None:
    """Have everything imported that a search imports when it first needs it."""
    torch.set_num_threads(1)  # a fork would wait for threads that it does not have
    x, y = torch.randn(16, 2), torch.arange(16) % 2
    task = acs.Task(
        model=lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)),
        train=(x[:8], y[:8]),
        valid=(x[8:], y[8:]),
        loss=F.cross_entropy,
        metric="loss",
        epochs=2,
        device="cpu",
    )
    pruner = acs.SuccessiveHalving(min_resource=1, reduction_factor=2)
    for strategy in ("random", "bayesian", "genetic"):
        study = acs.create_study(study_name=strategy, strategy=strategy, pruner=pruner)
        study.optimize(task, n_trials=12, executor=acs.Local(4), show_progress_bar=False)
    optuna.storages.RDBStorage("sqlite://").engine.dispose()  # for exports


def run(output: str, script: str, *arguments: str) -> NoReturn:
    """One script in this process, which ends with it."""
    with open(output, "w") as stream:
        os.dup2(stream.fileno(), 1)
    _take_streams()
    code = 0
    try:
        sys.argv = [script, *arguments]
        runpy.run_path(script, run_name="__main__")
    except BaseException as error:
        code = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _take_streams() -> None:
    """Those of Python's for the numbers 0, 1 and 2, as in an interpreter that has just begun."""
    sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")


def serve(commands: int, answers: int) -> NoReturn:
    """Obey commands, JSON in a line each, until there are no more; this process does nothing else from here on."""
    try:
        os.dup2(commands, 0)
        os.dup2(answers, 1)
        os.closerange(
            3, 4096
        )  # as pipes of xdist, which would not see the end of the process of the tests
        _forget_pytest()
        gc.freeze()  # what is here is never looked at again, and shared with every fork
        gc.enable()  # conftest.py switches it off until now
        _obey()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _forget_pytest() -> None:
    """As in an interpreter that has just begun."""
    faulthandler.disable()
    sys.meta_path[:] = [it for it in sys.meta_path if "_pytest" not in type(it).__module__]
    warnings.resetwarnings()
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", kind)


def _obey() -> None:
    out = os.fdopen(os.dup(1), "w")
    for line in os.fdopen(os.dup(0)):
        command, *given = json.loads(line)
        if command == "wait":
            print(os.waitstatus_to_exitcode(os.waitpid(given[0], 0)[1]), file=out, flush=True)
        elif command == "start":
            print(_start(*given), file=out, flush=True)
        else:
            print(_start_orphan(*given), file=out, flush=True)


def _start(errors: str, given: str, *script: str) -> int:
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(os.open(given, os.O_RDWR), 0)  # not blocked until somebody writes
        run(*script)
    return pid


def _start_orphan(given: str, output: str, folder: str, code: str) -> int:
    """Code in a process in a group of its own, whose parent has ended: the next above it that wants orphans gets it."""
    read, write = os.pipe()
    between = os.fork()
    if between == 0:
        pid = os.fork()
        if pid == 0:
            _run_child(given, output, folder, code)
        os.write(write, str(pid).encode())
        os._exit(0)
    os.waitpid(between, 0)
    pid = int(os.read(read, 100))
    os.close(read)
    os.close(write)
    return pid


def _run_child(given: str, output: str, folder: str, code: str) -> NoReturn:
    os.setpgid(0, 0)
    os.chdir(folder)
    os.dup2(os.open(given, os.O_RDONLY), 0)
    os.dup2(os.open(output, os.O_WRONLY), 1)
    os.closerange(3, 4096)
    _take_streams()
    try:
        exec(code, {"__name__": "__main__"})
    except BaseException:
        traceback.print_exc()
    os._exit(1)
