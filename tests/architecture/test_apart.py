"""What the programs with TensorFlow load: seen in the sources, so also where TensorFlow is not installed."""

import ast
from collections import deque
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
OF_TORCH = {"torch", "torchvision", "timm", "torch_pruning"}


def loaded(begin: list[str]) -> dict[str, list[str]]:
    """Every module that is imported when these are, and the chain of modules that leads there."""
    found = {name: [name] for name in begin}
    waiting = deque(begin)
    while waiting:
        name = waiting.popleft()
        for other in imported(name):
            if other not in found:
                found[other] = [*found[name], other]
                waiting.append(other)
    return found


def imported(name: str) -> Iterator[str]:
    """By a module as it is loaded: imports inside of functions are none yet. Its packages are loaded before it."""
    source = file_of(name)
    if source is None:
        return
    yield from (name.rsplit(".", count)[0] for count in range(1, name.count(".") + 1))
    for node in at_once(ast.parse(source.read_text("utf-8")).body):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            names = (f"{node.module}.{each.name}" for each in node.names)
            yield from (each for each in names if file_of(each))


def at_once(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, less those for type checkers alone."""
    for node in body:
        yield node
        if isinstance(node, ast.Try) or (isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.dump(node.test)):
            yield from at_once([*node.body, *node.orelse])


def file_of(name: str) -> Path | None:
    place = ROOT / name.replace(".", "/")
    return next((each for each in (place.with_suffix(".py"), place / "__init__.py") if each.exists()), None)


def programs(package: str) -> list[str]:
    files = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / package).rglob("*.py")]
    return [".".join(each.parts).removesuffix(".__init__") for each in files if not each.name.startswith("_run_")]


def chains(found: dict[str, list[str]], libraries: set[str]) -> list[str]:
    return [" -> ".join(chain) for name, chain in found.items() if name.partition(".")[0] in libraries]


def test_nothing_that_trains_with_tensorflow_loads_torch() -> None:
    found = loaded(programs("worker/tensorflow"))
    assert {"worker.training.loader", "worker.training.saver", "worker.training.verdicts", "tensorflow"} <= set(found)
    assert chains(found, OF_TORCH) == []


def test_such_a_chain_would_be_seen() -> None:
    assert chains(loaded(["worker.training.phase"]), OF_TORCH)
