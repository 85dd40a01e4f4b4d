"""The command line: look at studies, take results out, see what is wrong, and find an answer for a Task in a script."""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from actsearch.errors import ActsearchError
from actsearch.records import StudyRecord, TrialRecord, TrialState
from actsearch.report import Reader, leaderboard, objective_names, pareto_front, trials_frame
from actsearch.report.backup import back_up
from actsearch.report.doctor import examine
from actsearch.report.json_view import study_json
from actsearch.report.writing import write_file
from actsearch.storage import DEFAULT_STORAGE, Storage, may_hold_password, redact, storage_url
from actsearch.storage.redaction import escape_unprintable
from actsearch.text_table import align_columns

__all__ = [
    "STORAGE_VARIABLE",
    "Parser",
    "become_dashboard",
    "main",
]

STORAGE_VARIABLE = "ACTSEARCH_STORAGE"
"""Environment variable with the storage where none is named: a password need not be typed, nor stand in ``ps``."""


Command = Callable[[argparse.Namespace], int]
"""Runs one command; returns the exit code."""


class Parser(argparse.ArgumentParser):
    """Whose messages show no password of a URL among the arguments."""

    given: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments, and end."""
        super().error(redact_passwords(message, Parser.given))


def redact_passwords(message: str, arguments: Sequence[str]) -> str:
    """A message that repeats an argument which is a URL, or should have been one, without its password."""
    for argument in arguments:
        value = argument.partition("=")[2] if argument.startswith("--") else argument
        if may_hold_password(value) and "***" in (redacted := redact(value)):
            for form in (value, repr(value)[1:-1], escape_unprintable(value)):
                message = message.replace(form, redacted)
    return message


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 an error that was explained, 2 wrong usage."""
    given = Parser.given = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    # after an option argparse leaves a last word out that may be missing
    if rest and (len(rest) > 1 or rest[0].startswith("-") or options.last is not None):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.storage = _resolve_storage(options, rest[0] if rest else options.last)
    try:
        code: int = options.command(options)
    except ActsearchError as error:
        text = redact_passwords(escape_unprintable(error, keep_lines=True), given)
        print(f"actsearch: {text}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        return 0
    return code


_TO = {
    "csv": ("FILE", "a table of the trials"),
    "json": ("FILE", "everything: settings, trials with their epochs, verdicts"),
    "optuna": ("URL", "an Optuna storage, sqlite:///FILE"),
}
_STORAGE_HELP = (
    f"storage URL or database file (default ${STORAGE_VARIABLE}, else {DEFAULT_STORAGE})"
)
_INTERRUPTED = 130  # as a shell says it of what Ctrl-C has ended


@functools.cache
def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="actsearch",
        description="Find the activation that suits a model, and look at searches. See the README for the Python API.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str,
        command: Command,
        summary: str,
        *,
        of_study: bool = False,
        file: str = "",
        task: bool = False,
    ) -> Parser:
        """A command whose last word may be the storage."""
        added = commands.add_parser(name, help=summary)
        if task:
            added.add_argument("task", metavar="SCRIPT.py:NAME", help="an acs.Task in a script")
        if of_study:
            added.add_argument("study")
        if file:
            added.add_argument("file", help=file)
        added.add_argument("last", nargs="?", metavar="STORAGE", help=_STORAGE_HELP)
        added.add_argument("--storage", metavar="URL", help="the same")
        added.set_defaults(command=command, usage_error=added.error)
        return added

    find = add(
        "find", _find, "search and confirm within a budget, for a Task in a script", task=True
    )
    find.add_argument("--budget", required=True, metavar="3h|60", help="time, or trainings")
    find.add_argument("--study", metavar="NAME", help="name of the study (the task's name)")
    find.add_argument("--seed", type=int, metavar="N", help="of everything random (0)")
    find.add_argument(
        "--covers", choices=("seeds+rows", "seeds"), default="seeds+rows",
        help="new training runs and new test rows (the default), or new training runs on these test rows",
    )  # fmt: skip
    find.add_argument(
        "--splits", type=int, metavar="N",
        help="small data: train on most of the test rows as well and test the others, in N folds",
    )  # fmt: skip
    find.add_argument(
        "--min-effect", type=float, metavar="X", help="smallest difference that matters"
    )
    find.add_argument(
        "--direction", choices=("maximize", "minimize"),
        help="of a metric that does not tell which way is better",
    )  # fmt: skip
    add("list", _list, "the studies of a storage")
    show = add("show", _show, "one study: best trials and verdicts", of_study=True)
    show.add_argument("--top", type=int, default=10, metavar="N", help="trials to print (10)")
    export = add("export", _export, "take a study's trials out", of_study=True)
    target = export.add_mutually_exclusive_group(required=True)
    for kind, (metavar, content) in _TO.items():
        target.add_argument(f"--to-{kind}", metavar=metavar, help=content)
    target.add_argument(
        "--to", nargs=2, metavar=("|".join(_TO), "TARGET"), help="the same, in two words"
    )
    add(
        "report", _report, "everything a study found, on one page to send to somebody", of_study=True,
        file="where to, as report.html",
    )  # fmt: skip
    add(
        "backup", _backup, "copy a storage into one whole file, also during a search",
        file="where to, as backup.db",
    )  # fmt: skip
    add("doctor", _doctor, "is a storage whole, what could each study resume")
    unlock = add("unlock", _unlock, "take the lease of a study from a process", of_study=True)
    unlock.add_argument("--yes", action="store_true", help="do not ask")
    dashboard = add("dashboard", _dashboard, "open the dashboard on 127.0.0.1")
    dashboard.add_argument("--port", type=int, default=None)
    dashboard.add_argument("--no-browser", action="store_true", help="only serve")
    dashboard.add_argument("--base-path", default="", help="serve below a path, as behind a proxy")
    return parser


def _resolve_storage(options: argparse.Namespace, last: str | None) -> str:
    """The storage that is named by the last word of a command or by ``--storage``; where it is not, the default."""
    named = [item for item in (last, options.storage) if item is not None]
    if len(named) > 1 and storage_url(named[0]) != storage_url(named[1]):
        options.usage_error("two different storages are named, by --storage and by the last word")
    return named[0] if named else os.environ.get(STORAGE_VARIABLE) or DEFAULT_STORAGE


def _find(options: argparse.Namespace) -> int:
    from actsearch.study import find  # loads torch
    from actsearch.study.answer import load_task

    url = storage_url(options.storage)
    task = load_task(options.task)
    result = find(
        task, budget=options.budget, study_name=options.study, storage=url, seed=options.seed,
        min_effect=options.min_effect, covers=options.covers, splits=options.splits,
        direction=options.direction,
    )  # fmt: skip
    print(escape_unprintable(result, keep_lines=True))
    if result.verdict is not None and result.verdict.winner is not result.verdict.baseline:
        print(f"\n{result.to_python()}")
    return _INTERRUPTED if result.is_interrupted else 0


def _list(options: argparse.Namespace) -> int:
    rows = []
    for item in Reader(storage_url(options.storage)).summaries():
        trained = sum(count for state, count in item.counts.items() if state.is_trained)
        best = ""
        if item.best is not None:
            best = f"best {item.best.value:.4f} {escape_unprintable(item.best.candidate.label)}"
            if item.study.directions:
                first = escape_unprintable(objective_names(item.study)[0])
                best += f" in {first}, {len(item.study.directions)} objectives"
        state = "running" if item.is_running else f"{item.verdicts} verdicts"
        rows.append((escape_unprintable(item.study.name), f"{trained} trials", state, best))
    for line in align_columns(rows, right=[1]) or ["no studies yet"]:
        print(line)
    return 0


def _show(options: argparse.Namespace) -> int:
    reader = Reader(storage_url(options.storage))
    study = reader.study(options.study)
    summary = reader.summary(study)
    counts = ", ".join(
        f"{count} {state.value}" for state, count in summary.counts.items() if count
    )
    print(
        f"{escape_unprintable(study.name)}: {escape_unprintable(study.strategy.get('name'))}, seed {study.seed}, "
        f"{counts or 'no trials yet'}"
    )
    for line in _best_lines(study, reader.trials(study), max(0, options.top)):
        print(line)
    for _, verdict in reader.verdicts(study):
        print(f"\n{escape_unprintable(verdict, keep_lines=True)}")
    if not summary.verdicts and summary.counts[TrialState.COMPLETE]:
        print("The best of many noisy values is optimistic: study.confirm(task) says what holds.")
    return 0


def _best_lines(study: StudyRecord, trials: list[TrialRecord], top: int) -> list[str]:
    """The best trials; with several objectives those of the Pareto front, best in the first one on top."""
    names, ranked = objective_names(study), leaderboard(trials, study.direction)
    head = []
    if names:
        on_front = {trial.number for trial in pareto_front(trials, study.directions)}
        ranked = [trial for trial in ranked if trial.number in on_front]
        head = [f"  Pareto front ({len(ranked)}): {escape_unprintable(', '.join(names))}"]
    return head + [
        f"  trial {trial.number:5}  "
        + "  ".join(f"{value:.4f}" for value in trial.values or (trial.value,))
        + f"  {escape_unprintable(trial.candidate.label)}"
        for trial in ranked[:top]
    ]


def _export(options: argparse.Namespace) -> int:
    kind, target = options.to or next(
        (kind, target) for kind in _TO if (target := getattr(options, f"to_{kind}")) is not None
    )
    if kind not in _TO:
        options.usage_error(f"--to: write one of {', '.join(_TO)}, and where to, not {kind!r}")
    url = storage_url(options.storage)
    reader = Reader(url)
    study = reader.study(options.study)
    trials = reader.trials(study, epochs=kind != "csv", diagnostics=kind == "json")
    count = f"{len(trials)} trials"
    if kind == "optuna":
        from actsearch.report.optuna_view import export_to_optuna  # loads Optuna

        written = export_to_optuna(study, trials, storage_url(target), url)
        count = f"{written} trials"
    elif kind == "json":
        text = study_json(study, trials, reader.verdicts(study))
        write_file(target, lambda file: file.write(text), url)
    else:
        table = trials_frame(trials, escape=True, objectives=objective_names(study))
        # with these ends of line a text with a lone \r is quoted; else the rest of it would begin a row
        write_file(
            target, lambda file: table.to_csv(file, index=False, lineterminator="\r\n"), url
        )
    where = redact_passwords(target, [target])
    print(f"{count} of {escape_unprintable(study.name)} written to {escape_unprintable(where)}")
    return 0


def _report(options: argparse.Namespace) -> int:
    from actsearch.export.page import make_page  # loads torch

    url = storage_url(options.storage)
    reader = Reader(url)
    study = reader.study(options.study)
    cut = sum(len(trainings) for trainings in reader.stored_trainings(study))
    text = make_page(study, reader.trials(study, epochs=True), reader.verdicts(study), cut)
    write_file(options.file, lambda file: file.write(text), url)
    where = redact_passwords(options.file, [options.file])
    print(f"report of {escape_unprintable(study.name)} written to {escape_unprintable(where)}")
    return 0


def _backup(options: argparse.Namespace) -> int:
    studies = back_up(storage_url(options.storage), options.file)
    where = redact_passwords(options.file, [options.file])
    print(
        f"{studies} {'study' if studies == 1 else 'studies'} copied to {escape_unprintable(where)}"
    )
    return 0


def _doctor(options: argparse.Namespace) -> int:
    lines = examine(storage_url(options.storage))
    for line in lines:
        mark = "!" if line.is_finding else " "
        print(
            f"{mark} {escape_unprintable(line.what)}: {escape_unprintable(line.text, keep_lines=True)}"
        )
    findings = sum(line.is_finding for line in lines)
    print("healthy" if not findings else f"{findings} finding{'s' * (findings > 1)}")
    return 1 if findings else 0


def _unlock(options: argparse.Namespace) -> int:
    storage = Storage(storage_url(options.storage))
    study = storage.study(options.study)
    lease = storage.lease(study)
    holder = lease.holder()
    if holder is None:
        print(f"{escape_unprintable(study.name)} is not locked")
        return 0
    print(f"{escape_unprintable(study.name)} is locked by {escape_unprintable(holder)}")
    if holder.alive:
        print(
            "That process lives, as far as can be seen from here. Unlocked, it can write nothing more, "
            "and the trials it is training are lost to it."
        )
    else:
        print("That process is gone: the next optimize would take the lease over by itself.")
    if not options.yes and not _ask("Take the lease away? [y/N] "):
        print("nothing changed")
        return 1
    if not lease.force_release(holder):
        print("the lease has changed hands meanwhile: nothing changed")
        return 1
    print("unlocked")
    return 0


def _ask(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:  # nobody is there to answer
        print()
        return False


def _dashboard(options: argparse.Namespace) -> int:
    if importlib.util.find_spec("streamlit") is None:
        print(
            "actsearch: the dashboard needs streamlit: install actsearch with its extra, actsearch[dashboard]",
            file=sys.stderr,
        )
        return 1
    url = storage_url(options.storage)
    Reader(url).close()  # says now what is wrong with the storage
    return become_dashboard(url, options.port, not options.no_browser, options.base_path)


def become_dashboard(url: str, port: int | None, open_browser: bool, base_path: str = "") -> int:
    """Serve the dashboard in place of this process: what ends one of two processes would leave the other behind.

    The URL goes into the environment, not among the arguments, which every user of the machine sees.
    """
    flags = ["--port", str(port)] if port is not None else []
    flags += [] if open_browser else ["--no-browser"]
    flags += ["--base-path", base_path] if base_path else []
    environment = os.environ | {STORAGE_VARIABLE: url}
    if os.name == "posix":
        sys.stdout.flush()
        os.execve(
            sys.executable,
            [sys.executable, "-P", "-m", "actsearch_dashboard", *flags],
            environment,
        )
    os.environ[STORAGE_VARIABLE] = url  # on Windows a new program would be a second process
    code: int = importlib.import_module("actsearch_dashboard.__main__").main(flags)
    return code


if __name__ == "__main__":
    sys.exit(main())
