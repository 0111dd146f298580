"""Whatever touches the store is tested on SQLite and on PostgreSQL; the few exceptions stand here, with reasons."""

import ast
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
BOTH = {"sqlite", "postgresql"}

ONE_SIDED = {
    "app/store/test_glances.py": "glances are SQLite's: on PostgreSQL each look is a round trip",
    "app/store/test_troubles.py": "a limit on SQLite's pages leaves room for the one row of readiness",
    "app/store/test_events.py": "SQLite has one writer: its transactions commit in the order in which they begin",
    "app/store/test_lending.py": "one that is lent and given back, apart from those of other tests",
    "app/store/test_limits.py": "limits of a server; an SQLite file has none, its locks end with their process",
    "app/store/test_migrate.py": "PostgreSQL checks foreign keys itself, in the midst of a migration too",
    "app/store/test_session.py": "the lock of the one writer, and the pragmas, are SQLite's own",
}
"""Files with a test that skips one database."""

NO_STORE = ("tests/app/edge/test_protocol.py",)
"""Bytes before they are HTTP: no database takes part, and one is enough."""

OWN_DATABASE = {
    "app/cli/test_database.py": "the commands that make and copy one",
    "app/routes/test_health.py": "an address where no database is",
    "app/store/test_glances.py": "a file that is missing, and one that another process locks",
    "app/services/test_gates.py": "the fixture's own, migrated down and up again",
    "app/services/test_previews.py": "the fixture's own, migrated down and up again",
    "app/services/test_stopping.py": "the fixture's own, opened again to hear its nudges",
    "deploy/test_operations.py": "the measures of a service, which are the same on both",
    "faults/places.py": "yards on either database, chosen by the crossing",
    "app/store/test_lending.py": "one that is lent and given back, apart from those of other tests",
    "app/store/test_limits.py": "databases with limits of their own, beside the fixture's",
    "app/store/test_migrate.py": "folders and empty files: where SQLite differs",
    "app/store/test_schema.py": "a second, empty one beside the fixture's",
    "app/store/test_session.py": "addresses where no database is, and the busy SQLite",
    "deploy/test_slim.py": "both, in an environment of their own",
    "app/test_settings.py": "reads addresses, opens none",
    "conftest.py": "the fixture itself",
    "app/store/test_metrics.py": "counts statements, which are the same on both",
    "support/databases.py": "the fixture itself",
}
"""Files that open a database without the fixture that comes in two. Beside them `tests/e2e`, `tests/worker` and the
command line's tests start whole services with their defaults, so on SQLite: they speak HTTP and cannot tell."""

COLLECT = """
import json, pytest, sys

class Noted:
    def pytest_collection_finish(self, session):
        found = [
            (item.nodeid.partition("[")[0], item.callspec.params.get("database_url"))
            for item in session.items if "database_url" in item.fixturenames
        ]
        json.dump(found, sys.stderr)

sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *sys.argv[1:]], plugins=[Noted()]))
"""


@pytest.mark.timeout(600)
def test_every_test_of_the_store_runs_on_both():
    folders = [str(TESTS / each) for each in ("app", "machine")]
    command = [sys.executable, "-c", COLLECT, *folders]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    found = defaultdict(set)
    for name, database in json.loads(done.stderr[done.stderr.index("[[") :]):
        found[name].add(database)
    assert len(found) > 250, "the guard has gone blind"
    one_sided = {name for name, kinds in found.items() if kinds != BOTH}
    assert {name for name in one_sided if not name.startswith(NO_STORE)} == set()


def test_a_test_that_skips_a_database_says_why():
    assert {name for name, tree in sources() if _skips_one(tree)} <= set(ONE_SIDED)


def test_a_database_beside_the_fixture_is_named_with_its_reason():
    found = {name for name, tree in sources() if _opens_one(tree)}
    assert len(found) >= 5, "the guard has gone blind"
    assert found - set(OWN_DATABASE) == set()


def test_a_fixture_of_two_is_not_made_one_again():
    overridden = [
        name
        for name, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and node.name in ("database_url", "database")
        and "fixture" in str(list(map(ast.unparse, node.decorator_list)))
    ]
    assert overridden == ["conftest.py", "conftest.py"]


def sources():
    files = [path for path in sorted(TESTS.rglob("*.py")) if path != Path(__file__)]
    assert len(files) > 100
    return [(path.relative_to(TESTS).as_posix(), ast.parse(path.read_text("utf-8"))) for path in files]


def _skips_one(tree):
    """Whether a function asks which database it has, and skips."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    texts = [ast.unparse(node) for node in functions]
    return any("skip(" in text and ("is_sqlite" in text or "sqlite" in text) for text in texts)


def _opens_one(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value.startswith(("sqlite://", "postgresql://")):
                return True
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("Database", "migrate.upgrade", "make_engine"):
            return True
    return False
