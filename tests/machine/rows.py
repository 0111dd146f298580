"""All that the database holds, at one moment."""

from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import select

from app.store.metric_tables import metric_points, metric_series, metric_sets
from app.store.session import Database
from app.store.summaries import shown
from app.store.tables import metadata
from app.store.types import now

Row = dict[str, Any]
KINDS = (0.0, float("nan"), float("inf"), float("-inf"))

PARSED = {"events": "data", "jobs": "failure"}
STATEMENTS = {
    table.name: f"SELECT * FROM {table.name} ORDER BY {', '.join(column.name for column in table.primary_key)}"
    for table in metadata.sorted_tables
}


@dataclass(frozen=True)
class Rows:
    """Every row of every table, and the database's clock (seconds since 1970) when they were read."""

    clock: float = 0.0
    tables: dict[str, list[Row]] = field(default_factory=dict)

    def of(self, table: str, **values: Any) -> list[Row]:
        """The rows with these values."""
        return [row for row in self.tables.get(table, ()) if all(row[name] == each for name, each in values.items())]

    @property
    def jobs(self) -> dict[str, Row]:
        """By id."""
        return {row["id"]: row for row in self.tables.get("jobs", ())}

    def points(self, job: str) -> dict[tuple[str, int], float | str]:
        """The last value of each (metric, step), as JSON shows it. A doubled one fails here."""
        sets = {row["id"] for row in self.of(metric_sets.name, job_id=job)}
        names = {row["id"]: row["name"] for row in self.tables[metric_series.name] if row["set_id"] in sets}
        rows = [row for row in self.tables[metric_points.name] if row["series_id"] in names]
        found = {(names[row["series_id"]], row["step"]): _value(row) for row in rows}
        assert len(found) == len(rows), "a metric has two values at one step"
        return found


def read(database: Database) -> Rows:
    """In one transaction. Documents stay text but for those of `PARSED`; plain SQL, since every step reads it all."""
    with database.read() as session:
        connection = session.connection()
        found = {name: connection.exec_driver_sql(statement).mappings() for name, statement in STATEMENTS.items()}
        tables = {name: [_parsed(name, dict(row)) for row in result] for name, result in found.items()}
        return Rows(session.execute(select(now())).scalar_one(), tables)


def clear(database: Database) -> None:
    """Remove every row."""
    with database.write() as session:
        for table in reversed(metadata.sorted_tables):
            session.execute(table.delete())


def difference(before: Rows, after: Rows) -> str:
    """Which rows came, went or changed: nothing when they are equal."""
    lines = []
    for name in after.tables:
        old, new = before.tables.get(name, []), after.tables[name]
        lines += [f"- {name} {row}" for row in old if row not in new]
        lines += [f"+ {name} {row}" for row in new if row not in old]
    return "\n".join(lines)


def _value(row: Row) -> float | str:
    return shown(row["value"] if row["kind"] == 0 else KINDS[row["kind"]])


def _parsed(table: str, row: Row) -> Row:
    column = PARSED.get(table)
    return row | {column: orjson.loads(row[column])} if column and row[column] is not None else row
