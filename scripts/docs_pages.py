"""mkdocs hook: the pages nobody writes. The front page is README.md, the reference is OpenAPI."""

import json
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from app.main import create_app

WRITTEN = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
METHODS = ("get", "post", "put", "patch", "delete")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    openapi = create_app().openapi()
    for source, page in WRITTEN.items():
        if Path(source).exists():
            text = Path(source).read_text(encoding="utf-8").replace("](docs/", "](")
            files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "reference.md", content=reference(openapi)))
    files.append(File.generated(config, "openapi.json", content=json.dumps(openapi, indent=2)))
    return files


def reference(openapi: dict[str, Any]) -> str:
    rows = [
        f"| `{method.upper()} {path}` | {one_line(operation)} |"
        for path, operations in sorted(openapi["paths"].items())
        for method, operation in operations.items()
        if method in METHODS
    ]
    head = ["# API reference", "", "In full: [openapi.json](openapi.json).", ""]
    return "\n".join([*head, "| request | what it does |", "|---|---|", *rows, ""])


def one_line(operation: dict[str, Any]) -> str:
    text = operation.get("description") or operation.get("summary") or ""
    return " ".join(text.split()).replace("|", "\\|")
