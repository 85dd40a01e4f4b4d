"""Starts searches as processes of their own, without the seconds that importing torch takes each time: by forking."""

import json
import os
import runpy
import sys
import traceback

import torch
import torch.nn.functional as F
from torch import nn

import actsearch as acs

torch.set_num_threads(1)


def warm_up() -> None:
    """Have everything imported that a search imports when it first needs it."""
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


def run(output: str, script: str, *arguments: str) -> None:
    """One script in this process, which ends with it."""
    with open(output, "w") as stream:
        os.dup2(stream.fileno(), 1)
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


warm_up()
for line in sys.stdin:
    command, *given = json.loads(line)
    if command == "ready":
        print(flush=True)
        continue
    if command == "wait":
        print(os.waitstatus_to_exitcode(os.waitpid(given[0], 0)[1]), flush=True)
        continue
    pid = os.fork()
    if pid == 0:
        errors = os.open(given.pop(0), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(errors, 2)
        os.dup2(os.open(given.pop(0), os.O_RDWR), 0)  # not blocked until somebody writes
        run(*given)
    print(pid, flush=True)
