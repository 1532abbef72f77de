"""Label sets as rows of Postgres: the frozen row, and the SQL that writes, finds and lists them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg2.extensions import cursor as Cursor  # noqa: N812

from gateway import metrics
from gateway.labels.definitions import Definition


@dataclass(frozen=True)
class LabelSet:
    """A named definition; `is_default` for the set that came with the model."""

    name: str
    definition: Definition
    created_at: datetime
    is_default: bool = False

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> "LabelSet":
        name, labels, templates, created_at = row
        definition = Definition(tuple(labels), None if templates is None else tuple(templates))
        return cls(name, definition, created_at)


@dataclass(frozen=True)
class Summary:
    """A label set in a list, less its labels, which may be thousands."""

    name: str
    label_count: int
    templates: tuple[str, ...] | None
    created_at: datetime
    is_default: bool = False

    @classmethod
    def of(cls, label_set: LabelSet) -> "Summary":
        definition = label_set.definition
        return cls(label_set.name, len(definition.labels), definition.templates,
                   label_set.created_at, label_set.is_default)  # fmt: skip

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> "Summary":
        name, label_count, templates, created_at = row
        return cls(name, label_count, None if templates is None else tuple(templates), created_at)


COLUMNS = "name, labels, templates, created_at"

# Another's row of this name is returned unchanged; a repeat after a lost answer finds its own.
INSERT = f"""
INSERT INTO label_sets (name, labels, templates) VALUES (%s, %s, %s)
ON CONFLICT (name) DO UPDATE SET name = EXCLUDED.name
RETURNING {COLUMNS}, xmax = 0"""  # noqa: S608 (column names of ours)

SELECT = f"SELECT {COLUMNS} FROM label_sets WHERE name = %s"  # noqa: S608
LIST = """
SELECT name, cardinality(labels), templates, created_at FROM label_sets
WHERE name > %s AND name <> %s ORDER BY name LIMIT %s"""
SELECT_NAMES = "SELECT name FROM label_sets ORDER BY name"
DELETE = "DELETE FROM label_sets WHERE name = %s RETURNING name"
SELECT_REGISTERED_AT = """
SELECT registered_at FROM models WHERE manifest_key = %s AND label_set_key = %s"""


def insert(cursor: Cursor, name: str, definition: Definition) -> tuple[LabelSet, bool]:
    """The row of this name, and whether it is a new one: else its definition may be another."""
    metrics.DB_QUERIES.labels("label_set_insert").inc()
    templates = None if definition.templates is None else list(definition.templates)
    cursor.execute(INSERT, (name, list(definition.labels), templates))
    row = cursor.fetchone()
    if row is None:
        raise RuntimeError("the statement returned no row")
    return LabelSet.from_row(row[:-1]), bool(row[-1])


def find(cursor: Cursor, name: str) -> LabelSet | None:
    metrics.DB_QUERIES.labels("label_set").inc()
    cursor.execute(SELECT, (name,))
    row = cursor.fetchone()
    return LabelSet.from_row(row) if row else None


def select(cursor: Cursor, after: str, without: str, limit: int) -> list[Summary]:
    """By name, from the first behind `after`, and none named `without`."""
    metrics.DB_QUERIES.labels("label_sets").inc()
    cursor.execute(LIST, (after, without, limit))
    return [Summary.from_row(row) for row in cursor.fetchall()]


def names(cursor: Cursor) -> list[str]:
    metrics.DB_QUERIES.labels("label_sets").inc()
    cursor.execute(SELECT_NAMES)
    return [name for (name,) in cursor.fetchall()]


def delete(cursor: Cursor, name: str) -> bool:
    """Whether there was one."""
    metrics.DB_QUERIES.labels("label_set_delete").inc()
    cursor.execute(DELETE, (name,))
    return cursor.fetchone() is not None


def registered_at(cursor: Cursor, manifest_key: str, label_set_key: str) -> datetime | None:
    """Since when a model, and with it its default label set, is known."""
    metrics.DB_QUERIES.labels("registered_at").inc()
    cursor.execute(SELECT_REGISTERED_AT, (manifest_key, label_set_key))
    row = cursor.fetchone()
    return row[0] if row else None
