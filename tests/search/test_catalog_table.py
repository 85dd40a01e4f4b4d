"""The page of the catalog shows the catalog as it is."""

from __future__ import annotations

from catalog_table import PAGE, page, table

import actsearch as acs


def test_the_page_shows_the_catalog_as_it_is() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python tests/search/catalog_table.py"
    assert page().startswith("# Catalog\n")


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
