"""The storage of a command: its last word, ``--storage``, or the default."""

from __future__ import annotations

from pathlib import Path

import pytest

import actsearch as acs
from actsearch.cli import main


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACTSEARCH_STORAGE", raising=False)
    study = acs.create_study(study_name="s", storage="sqlite:///e.db", strategy="random")
    study._storage.database.close()
    return tmp_path


COMMANDS = [
    "list", "show s", "show s --top 3", "export s --to csv x.csv", "export s --to-json x.json", "unlock s",
    "backup x.db", "unlock s --yes", "doctor",
]  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize(
    "named",
    [
        "e.db",
        "sqlite:///e.db",
        "--storage e.db",
        "--storage=e.db",
        "--storage sqlite:///e.db e.db",
    ],
)
def test_it_may_be_the_last_word(stored: Path, words: str, named: str) -> None:
    assert main([*words.split(), *named.split()]) == 0


@pytest.mark.parametrize("words", COMMANDS)
def test_a_missing_one_is_said_and_two_are_wrong_usage(
    stored: Path, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words.split(), "nosuch.db"]) == 1
    written = capsys.readouterr()
    assert "there is no database at nosuch.db" in written.out + written.err
    for named, says in [
        (["--storage", "e.db", "f.db"], "two different storages"),
        (["e.db", "f.db"], "unrecognized arguments: "),
        (["e.db", "--nope"], "--nope"),
    ]:
        with pytest.raises(SystemExit) as ended:
            main([*words.split(), *named])
        assert ended.value.code == 2
        assert says in capsys.readouterr().err


@pytest.mark.parametrize("command", ["list", "show", "export", "unlock", "doctor", "dashboard"])
def test_help_names_it(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = capsys.readouterr().out
    assert "[STORAGE]" in said
    assert "--storage URL" in said
