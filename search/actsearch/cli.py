"""The command line: look at studies, take results out, open the dashboard. A study starts from Python."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from actsearch.errors import ActsearchError
from actsearch.records import TrialState
from actsearch.report import Reader, leaderboard, trials_frame

__all__ = ["main"]

DEFAULT_STORAGE = "sqlite:///studies/actsearch.db"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 an error that was explained, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except ActsearchError as error:
        print(f"actsearch: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of a pipe has seen enough
        return 0
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="actsearch",
        description="Look at activation searches. A search is started from Python: see the README.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="the studies of a storage")
    _add_storage(listing)
    listing.set_defaults(command=_list)

    show = commands.add_parser("show", help="one study: best trials and verdicts")
    show.add_argument("study")
    _add_storage(show)
    show.add_argument(
        "--top", type=int, default=10, metavar="N", help="trials to print (default 10)"
    )
    show.set_defaults(command=_show)

    export = commands.add_parser("export", help="take a study's trials out")
    export.add_argument("study")
    _add_storage(export)
    target = export.add_mutually_exclusive_group(required=True)
    target.add_argument("--to-csv", metavar="FILE", help="a table of the trials")
    target.add_argument("--to-optuna", metavar="URL", help="an Optuna storage, sqlite:///FILE")
    export.set_defaults(command=_export)

    dashboard = commands.add_parser("dashboard", help="open the dashboard on 127.0.0.1")
    dashboard.add_argument("storage", nargs="?", default=DEFAULT_STORAGE, help=_STORAGE_HELP)
    dashboard.add_argument("--port", type=int, default=None)
    dashboard.add_argument("--no-browser", action="store_true", help="only serve")
    dashboard.set_defaults(command=_dashboard)
    return parser


_STORAGE_HELP = f"storage URL or database file (default {DEFAULT_STORAGE})"


def _add_storage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--storage", default=DEFAULT_STORAGE, metavar="URL", help=_STORAGE_HELP)


def storage_url(text: str) -> str:
    """A storage URL; a plain file name becomes one."""
    return text if "://" in text else f"sqlite:///{text}"


def _list(options: argparse.Namespace) -> int:
    summaries = Reader(storage_url(options.storage)).summaries()
    if not summaries:
        print("no studies yet")
    for item in summaries:
        trained = sum(count for state, count in item.counts.items() if state.is_trained)
        best = (
            "" if item.best is None else f"best {item.best.value:.4f} {item.best.candidate.label}"
        )
        state = "running" if item.is_running else f"{item.verdicts} verdicts"
        print(f"{item.study.name:24} {trained:6} trials  {state:12} {best}")
    return 0


def _show(options: argparse.Namespace) -> int:
    reader = Reader(storage_url(options.storage))
    study = reader.study(options.study)
    summary = reader.summary(study)
    counts = ", ".join(
        f"{count} {state.value}" for state, count in summary.counts.items() if count
    )
    print(
        f"{study.name}: {study.strategy.get('name')}, seed {study.seed}, {counts or 'no trials yet'}"
    )
    for trial in leaderboard(reader.trials(study), study.direction)[: max(0, options.top)]:
        print(f"  trial {trial.number:5}  {trial.value:.4f}  {trial.candidate.label}")
    for _, verdict in reader.verdicts(study):
        print(f"\n{verdict}")
    if not summary.verdicts and summary.counts[TrialState.COMPLETE]:
        print("The best of many noisy values is optimistic: study.confirm(task) says what holds.")
    return 0


def _export(options: argparse.Namespace) -> int:
    reader = Reader(storage_url(options.storage))
    study = reader.study(options.study)
    if options.to_optuna:
        from actsearch.report.optuna_view import export_to_optuna  # loads Optuna

        count = export_to_optuna(
            study, reader.trials(study, epochs=True), storage_url(options.to_optuna)
        )
        print(f"{count} trained trials of {study.name} written to {options.to_optuna}")
        return 0
    trials = reader.trials(study)
    try:
        trials_frame(trials, disarm=True).to_csv(options.to_csv, index=False)
    except OSError as error:
        print(f"actsearch: cannot write {options.to_csv}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"{len(trials)} trials of {study.name} written to {options.to_csv}")
    return 0


def _dashboard(options: argparse.Namespace) -> int:
    if importlib.util.find_spec("streamlit") is None:
        print(
            "actsearch: the dashboard needs streamlit: pip install 'actsearch[dashboard]'",
            file=sys.stderr,
        )
        return 1
    url = storage_url(options.storage)
    Reader(url).close()  # says now what is wrong with the storage
    command = [sys.executable, "-m", "actsearch_dashboard", _absolute(url)]
    command += ["--port", str(options.port)] if options.port is not None else []
    command += ["--no-browser"] if options.no_browser else []
    process = subprocess.Popen(command)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the server has it too, and ends
            continue


def _absolute(url: str) -> str:
    """A SQLite URL with an absolute path, so that the server may start anywhere."""
    prefix = "sqlite:///"
    if not url.startswith(prefix):
        return url
    return prefix + str(Path(url.removeprefix(prefix)).resolve())


if __name__ == "__main__":
    sys.exit(main())
