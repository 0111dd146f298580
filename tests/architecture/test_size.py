"""The bar for code, as a check: short functions, short files, honest names."""

import ast
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for top in ("app", "worker", "migrations", "benchmarks") for path in (ROOT / top).rglob("*.py"))
VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "base", "manager", "misc"}


def functions(path: Path) -> list[tuple[str, int]]:
    tree = ast.parse(path.read_text("utf-8"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1) for node in nodes if node.end_lineno]  # fmt: skip  # noqa: E501


def test_functions_are_small() -> None:
    lengths = [entry for path in SOURCES for entry in functions(path)]
    assert len(lengths) > 300, "the guard has gone blind"
    assert [entry for entry in lengths if entry[1] > 60] == []
    assert median(length for _, length in lengths) <= 12


def test_files_are_short() -> None:
    long = [str(path.relative_to(ROOT)) for path in SOURCES if len(path.read_text("utf-8").splitlines()) > 300]
    assert long == []


def test_names_say_what_is_inside() -> None:
    assert [path for path in SOURCES if path.stem in VAGUE_NAMES] == []
