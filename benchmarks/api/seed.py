"""A database of a million old jobs, written past the service: through it, that would take hours."""

import json
import sqlite3
from pathlib import Path
from typing import Any

from app.contract.failures import FailureCode, failure
from app.contract.job import JobSpec
from app.routes.examples import REPORT
from app.store import migrate
from benchmarks.api.hands import SPEC

NAMES = 10
"""The name of job n is that of n % 10, its label `team` that of n % 10 too, its label `run` that of n % 1000."""

_ROWS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
INSERT INTO jobs (id, name, labels, rank, version, state, spec, created_at, available_at, started_at, finished_at,
    attempt, latest_metrics, failure, report, processes, needs_gpu, event_seq, failures, barren_attempts, spent_s)
SELECT printf('job_%026d', i), 'name-' || (i % 10), printf('{"team":"t%d","run":"r%d"}', i % 10, i % 1000), 0, 5, state,
    :spec, at, at, at, CASE state WHEN 'queued' THEN NULL ELSE at + 60 END, 1, '{"train/loss":0.5}',
    CASE state WHEN 'failed' THEN :failure END, CASE state WHEN 'succeeded' THEN :report END, 1, 0, 0, 0, 0, 60.0
FROM (SELECT i, 1.7e9 + i AS at, CASE WHEN i % 1000 = 0 THEN 'queued' WHEN i % 7 = 0 THEN 'failed'
    WHEN i % 5 = 0 THEN 'cancelled' ELSE 'succeeded' END AS state FROM n)
"""
_LABELS = """
INSERT INTO job_labels (job_id, key, value, state, created_at)
SELECT id, key, value, state, created_at FROM
    (SELECT id, 'team' AS key, 't' || substr(name, 6) AS value, state, created_at FROM jobs
     UNION ALL SELECT id, 'run', 'r' || CAST(created_at - 1.7e9 AS INTEGER) % 1000, state, created_at FROM jobs)
ORDER BY id, key
"""


def fill(path: Path, count: int) -> None:
    """Make the database with so many jobs. Takes a minute or two for a million."""
    migrate.upgrade(f"sqlite:///{path}")
    with sqlite3.connect(path) as connection:
        for pragma in ("journal_mode=WAL", "synchronous=OFF", "cache_size=-500000", "foreign_keys=OFF"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(_ROWS, {"count": count, **_documents()})
        connection.execute(_LABELS)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _documents() -> dict[str, Any]:
    return {
        "spec": JobSpec.model_validate(SPEC).resolved().model_dump_json(),
        "failure": failure(FailureCode.DIVERGED, "The loss is not finite.", attempt=1).model_dump_json(),
        "report": json.dumps(REPORT),
    }
