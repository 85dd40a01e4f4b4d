"""Types of columns that every kind of database stores and gives back alike."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Integer, Text, TypeDecorator
from sqlalchemy.engine import Dialect

__all__ = ["Int64", "StorableText", "UtcDateTime"]


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes, stored naive in UTC so that every database keeps the same text."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC, without the zone."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """With the zone."""
        return None if value is None else value.replace(tzinfo=UTC)

    def result_processor(
        self, dialect: Dialect, coltype: object
    ) -> Callable[[Any], datetime | None] | None:
        """SQLite keeps times as texts: one that is not valid is read as None, so that its row can be read."""
        process = super().result_processor(dialect, coltype)

        def read(value: Any) -> datetime | None:
            try:
                moment: datetime | None = value if process is None else process(value)
            except (ValueError, TypeError):
                return None
            return moment

        return read


class StorableText(TypeDecorator[str]):
    """Text that every database takes: NUL and halves of surrogate pairs are written as their escapes."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """With escapes where they are needed."""
        if value is None or (value.isascii() and "\0" not in value):
            return value
        return value.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


Int64 = BigInteger().with_variant(Integer, "sqlite")  # where every INTEGER has 64 bits
