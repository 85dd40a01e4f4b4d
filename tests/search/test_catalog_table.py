"""The README's table of the catalog is the catalog."""

from __future__ import annotations

import pytest
from catalog_table import BEGIN, END, README, replaced, table

import actsearch as acs


def test_the_readme_shows_the_catalog_as_it_is() -> None:
    text = README.read_text(encoding="utf-8")
    assert replaced(text) == text, "run: python tests/search/catalog_table.py"


def test_every_row_has_a_line_of_eight_cells() -> None:
    _, _, *lines = table().splitlines()
    assert len(lines) == len(acs.catalog)
    for line, (name, row) in zip(lines, acs.catalog.items(), strict=True):
        cells = line.replace("\\|", "").strip("| ").split(" | ")
        assert len(line.replace("\\|", "").split("|")) == 8 + 2
        assert cells[0].split(", ") == [name, *row.aliases]
        assert cells[-2:] == [str(row.year), row.source]
        for setting in row.hyperparameters:
            assert f"{setting.name} = " in line


def test_a_changed_or_missing_table_is_noticed() -> None:
    text = README.read_text(encoding="utf-8")
    assert replaced(text.replace("| gelu |", "| glue |")) == text
    with pytest.raises(ValueError, match="once each"):
        replaced(text.replace(END, ""))
    with pytest.raises(ValueError, match="once each"):
        replaced(text + BEGIN)
