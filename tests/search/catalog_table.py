"""Writes the table of the catalog into search/CATALOG.md: ``python tests/search/catalog_table.py``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import actsearch as acs
from actsearch.activation_catalog import Hyperparameter, Row

__all__ = ["PAGE", "page", "table"]

PAGE = Path(__file__).parents[2] / "search" / "CATALOG.md"


def page() -> str:
    """The page as it should be: its text up to the table as it stands there, and the table written anew."""
    introduction, _, _ = PAGE.read_text(encoding="utf-8").partition("\n| name |")
    return f"{introduction}\n{table()}\n"


def table() -> str:
    """One line for each row, in table order."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield "| name | formula | hyperparameters | learned | role | tier | year | source |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in acs.catalog.values():
        settings = "; ".join(_setting(setting) for setting in row.hyperparameters)
        name = row.name + "".join(f", {alias}" for alias in row.aliases)
        cells = [
            name,
            _formula(row),
            settings,
            _learned(row),
            row.role,
            row.tier,
            str(row.year),
            row.source,
        ]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _formula(row: Row) -> str:
    """As in the catalog."""
    return f"`{row.formula}`"


def _learned(row: Row) -> str:
    if row.widens is not None:
        return "by the layer before"
    return "yes" if row.learned else ""


def _setting(setting: Hyperparameter) -> str:
    default = f"{setting.name} = {setting.default}"
    if isinstance(setting.default, float):
        default = f"{setting.name} = {setting.default:g}"
    if setting.choices:
        return f"{default} of {', '.join(map(str, setting.choices))}"
    if math.isinf(setting.low) or isinstance(setting.default, str):
        return default
    return f"{default} in [{setting.low:g}, {setting.high:g}]{' log' if setting.log else ''}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
