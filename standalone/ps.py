"""The process table goes in; lines for a person or a JSON array for a program come out."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from standalone.processes.process_table import Row

COLUMNS = ("NAME", "PID", "STATE", "RESTARTS", "ADDRESS")
DOWN = "-"


def as_json(rows: Sequence[Row]) -> str:
    return json.dumps([{**asdict(row), "state": row.state.value} for row in rows], indent=2)


def as_lines(rows: Sequence[Row]) -> str:
    cells = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    padded = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
    return "\n".join(padded)


def _cells(row: Row) -> tuple[str, ...]:
    pid = DOWN if row.pid is None else str(row.pid)
    return row.name, pid, row.state.value, str(row.restarts), row.address
