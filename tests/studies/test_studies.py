"""Every script in studies/ runs, and running it again adds nothing. A new script is found by itself."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from actsearch.report import Reader

STUDIES = Path(__file__).parents[2] / "studies"
SCRIPTS = sorted(STUDIES.glob("*.py"))


def load(script: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"study_{script.stem}", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def contents(url: str) -> list[tuple[str, list[object], int]]:
    reader = Reader(url)
    return [
        (
            study.name,
            [(trial.number, trial.state, trial.value) for trial in reader.trials(study)],
            len(reader.verdicts(study)),
        )
        for study in reader.studies()
    ]


def test_there_is_a_study() -> None:
    assert SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_study_runs_and_running_it_again_adds_nothing(
    script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'actsearch.db'}"
    study = load(script)
    study.main(storage=url, small=True)
    first = contents(url)
    assert first
    assert all(trials and verdicts for _, trials, verdicts in first)
    said = capsys.readouterr().out
    assert "verdict" in said
    assert f"dashboard {url}" in said
    study.main(storage=url, small=True)
    assert contents(url) == first
    assert capsys.readouterr().out.splitlines()[-12:] == said.splitlines()[-12:]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_study_is_in_the_table_of_studies(script: Path) -> None:
    assert f"`{script.name}`" in (STUDIES / "README.md").read_text()
