"""The whole digits study beside the same study written as a plain Optuna loop: TPE, SQLite, MedianPruner.

Run ``python tests/benchmarks/whole_study.py``; the exit status is 1 when the limit is missed. Both train the digits MLP
for the same number of epochs under the same two seeds, in turns, into database files of their own. Counted are
candidates that were trained to the end, a minute; printed beside is the best value at equal numbers of trials. The
plain loop chooses among activations that torch has, with their hyperparameters; the study is that of
studies/digits_mlp.py, Bayesian and genetic, in this process and in two child processes. Where Ray is installed, the
plain loop is also run by Ray Tune with its OptunaSearch, one trial a core.
"""

from __future__ import annotations

import argparse
import importlib.util
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


def drawn_by_ray(trial: optuna.Trial) -> dict[str, Any]:
    """One draw from the choices; a function of the module, since Ray pickles it by name."""
    CHOICES[trial.suggest_categorical("activation", list(CHOICES))](trial)
    return {}


def ray_tune(task: acs.Task, trials: int, url: str) -> tuple[int, float]:
    """The plain loop with Ray Tune in the place of Optuna's own; finished trials and the best value."""
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    def objective(config: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        accuracies = []
        for seed in SEEDS:
            torch.manual_seed(seed)
            model = mlp()
            for path, module in list(model.named_children()):
                if isinstance(module, nn.ReLU):
                    fixed = optuna.trial.FixedTrial(config)
                    setattr(model, path, CHOICES[config["activation"]](fixed))  # type: ignore[arg-type]
            accuracies.append(train(task, model, None))
        tune.report({"accuracy": statistics.fmean(accuracies)})

    search = OptunaSearch(
        drawn_by_ray, metric="accuracy", mode="max", sampler=optuna.samplers.TPESampler(seed=0)
    )
    tuner = tune.Tuner(
        tune.with_resources(objective, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=search, num_samples=trials, max_concurrent_trials=2, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            storage_path=str(Path(url.removeprefix("sqlite:///")).parent), verbose=0
        ),
    )
    results = tuner.fit()
    best = results.get_best_result("accuracy", "max").metrics["accuracy"]
    return len(results) - results.num_errors, float(best)


def ours(
    task: acs.Task, trials: dict[str, int], processes: int | None, url: str
) -> tuple[int, float]:
    """The study as in studies/digits_mlp.py, without its verdict; finished trials and the best value."""
    finished, best = 0, 0.0
    for strategy, count in trials.items():
        study = acs.create_study(study_name=strategy, storage=url, strategy=strategy)
        executor = None if processes is None else acs.Processes(processes)
        study.optimize(task, n_trials=count, executor=executor, show_progress_bar=False)
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
    parser.add_argument("--rounds", type=int, default=3, help="of everything in turns (default 3)")
    options = parser.parse_args(arguments)
    quick = options.quick
    trials = {"bayesian": 6, "genetic": 6} if quick else {"bayesian": 40, "genetic": 80}
    task = make_task("mlp", 2 if quick else 15).replace(seeds=SEEDS)
    total = sum(trials.values())
    runs: dict[str, Callable[[], tuple[float, float]]] = {
        "plain loop": lambda: timed(plain_loop, task, total),
        # a task of its own for each: what was measured on one is remembered
        "ours": lambda: timed(ours, task.replace(), trials, None),
        "ours, 2 processes": lambda: timed(ours, task.replace(), trials, 2),
    }
    if importlib.util.find_spec("ray") is not None:
        runs["Ray Tune, 2 workers"] = lambda: timed(ray_tune, task, total)
    print(machine())
    torch.set_num_threads(2)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(1 if quick else options.rounds):
        for name, run in runs.items():
            found[name].append(run())
            print(
                f"  {name}: {found[name][-1][0]:.0f} a minute, best {found[name][-1][1]:.4f}",
                flush=True,
            )
    print("                     candidates a minute  times the plain loop  best value")
    ratios = {}
    for name, rows in found.items():
        rate, best = (statistics.median(column) for column in zip(*rows, strict=True))
        ratios[name] = statistics.median(
            own[0] / plain[0] for own, plain in zip(rows, found["plain loop"], strict=True)
        )
        print(f"{name:<20} {rate:>20.0f}  {ratios[name]:>20.2f}  {best:>10.4f}", flush=True)
    failed = max(ratios["ours"], ratios["ours, 2 processes"]) < LIMIT and not quick
    if failed:
        print(f"missed: {LIMIT} times the plain loop on two cores")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
