"""`python -m benchmarks` lists the benchmarks; `python -m benchmarks NAME [ARGS]` runs one."""

import ast
import runpy
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> dict[str, str]:
    """Each benchmark and its question: the first line of its docstring."""
    scripts = {path.stem: path for path in FOLDER.glob("*.py") if not path.stem.startswith("_")}
    packages = {path.parent.name: path for path in FOLDER.glob("*/__main__.py")}
    return {name: question(path) for name, path in sorted((scripts | packages).items()) if name != "record"}


def question(path: Path) -> str:
    """The first line of a script's docstring, without running it."""
    return (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")[0]


def main() -> None:
    """List, or run one."""
    if len(sys.argv) < 2:
        for name, asked in names().items():
            print(f"  {name:<12} {asked}")
        print("Run one: make bench ARGS=NAME")
        return
    name = sys.argv[1]
    if name not in names():
        sys.exit(f"benchmarks: there is no {name!r}; there are: {', '.join(names())}")
    sys.argv = [f"benchmarks.{name}", *sys.argv[2:]]
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")


if __name__ == "__main__":
    main()
