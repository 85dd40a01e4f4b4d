"""The whole digits study beside the same study written as a plain Optuna loop: TPE, SQLite, MedianPruner.

Run ``python tests/benchmarks/whole_study.py``; the exit status is 1 when the limit is missed. Both train the digits MLP
for the same number of epochs under the same two seeds, in turns, into database files of their own. Counted are
candidates that were trained to the end, a minute; printed beside is the best value at equal numbers of trials. The
plain loop chooses among activations that torch has, with their hyperparameters; the study is that of
studies/digits_mlp.py, Bayesian and genetic.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import torch
from stacked_training import machine, make_task, mlp
from torch import nn
from torch.nn import functional as F

import actsearch as acs

LIMIT = 4.0  # times the candidates a minute of the plain loop
SEEDS = (1, 2)

CHOICES: dict[str, Callable[[optuna.Trial], nn.Module]] = {
    "relu": lambda trial: nn.ReLU(),
    "leaky_relu": lambda trial: nn.LeakyReLU(trial.suggest_float("slope", 0.01, 0.5, log=True)),
    "elu": lambda trial: nn.ELU(trial.suggest_float("alpha", 0.1, 2.0)),
    "celu": lambda trial: nn.CELU(trial.suggest_float("celu_alpha", 0.1, 2.0)),
    "softplus": lambda trial: nn.Softplus(trial.suggest_float("beta", 0.5, 4.0)),
    "selu": lambda trial: nn.SELU(),
    "gelu": lambda trial: nn.GELU(),
    "silu": lambda trial: nn.SiLU(),
    "mish": lambda trial: nn.Mish(),
    "tanh": lambda trial: nn.Tanh(),
    "sigmoid": lambda trial: nn.Sigmoid(),
    "softsign": lambda trial: nn.Softsign(),
    "hardswish": lambda trial: nn.Hardswish(),
    "prelu": lambda trial: nn.PReLU(init=trial.suggest_float("init", 0.0, 0.5)),
}


def plain_loop(task: acs.Task, trials: int, url: str) -> tuple[int, float]:
    """What one writes today; finished trials and the best value."""

    def objective(trial: optuna.Trial) -> float:
        name = trial.suggest_categorical("activation", list(CHOICES))
        accuracies = []
        for place, seed in enumerate(SEEDS):
            torch.manual_seed(seed)
            model = mlp()
            for path, module in list(model.named_children()):
                if isinstance(module, nn.ReLU):
                    setattr(model, path, CHOICES[name](trial))
            accuracies.append(train(task, model, trial if place == 0 else None))
        return statistics.fmean(accuracies)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=url,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=0),
        pruner=optuna.pruners.MedianPruner(),
    )
    study.optimize(objective, n_trials=trials)
    finished = [t for t in study.trials if t.state is optuna.trial.TrialState.COMPLETE]
    return len(finished), study.best_value


def train(task: acs.Task, model: nn.Module, trial: optuna.Trial | None) -> float:
    """A training loop in plain PyTorch; accuracy on validation data after the last epoch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=task.lr)
    (x, y), (xv, yv) = task.train, task.valid
    accuracy = 0.0
    for epoch in range(task.epochs):
        model.train()
        for rows in torch.split(torch.randperm(len(x)), task.batch_size):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[rows]), y[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        model.eval()
        with torch.no_grad():
            accuracy = (model(xv).argmax(1) == yv).float().mean().item()
        if trial is not None:
            trial.report(accuracy, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
    return accuracy


def ours(task: acs.Task, trials: dict[str, int], url: str) -> tuple[int, float]:
    """The study as in studies/digits_mlp.py, without its verdict; finished trials and the best value."""
    finished, best = 0, 0.0
    for strategy, count in trials.items():
        study = acs.create_study(study_name=strategy, storage=url, strategy=strategy)
        study.optimize(task, n_trials=count, show_progress_bar=False)
        finished += sum(trial.state.name == "COMPLETE" for trial in study.trials)
        best = max(best, study.best_value)
    return finished, best


def timed(run: Callable[..., tuple[int, float]], *arguments: Any) -> tuple[float, float]:
    """Finished candidates a minute, and the best value, into a new database file."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'study.db'}"
        started = time.perf_counter()
        finished, best = run(*arguments, url)
        return finished / (time.perf_counter() - started) * 60, best


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if the limit was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few trials, no limit")
    quick = parser.parse_args(arguments).quick
    trials = {"bayesian": 6, "genetic": 6} if quick else {"bayesian": 40, "genetic": 80}
    task = make_task("mlp", 2 if quick else 15).replace(seeds=SEEDS)
    print(machine())
    print("threads  plain loop a minute  ours a minute  ratio  best plain  best ours")
    failed = False
    for threads in (1, 2):
        torch.set_num_threads(threads)
        rows = []
        for _ in range(1 if quick else 3):
            plain = timed(plain_loop, task, sum(trials.values()))
            rows.append((*plain, *timed(ours, task, trials)))
        plain_rate, plain_best, rate, best = (
            statistics.median(column) for column in zip(*rows, strict=True)
        )
        ratio = statistics.median(row[2] / row[0] for row in rows)
        print(
            f"{threads:>7}  {plain_rate:>19.0f}  {rate:>13.0f}  {ratio:>5.2f}  {plain_best:>10.4f}  {best:>9.4f}",
            flush=True,
        )
        failed |= threads == 2 and ratio < LIMIT
    if failed and not quick:
        print(f"missed: {LIMIT} times the plain loop with two threads")
    return int(failed and not quick)


if __name__ == "__main__":
    sys.exit(main())
