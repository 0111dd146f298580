"""Write the public surface's snapshot anew: `python -m tests.architecture.renew`. Then read the diff before you commit.

tests/architecture/openapi.json is the API that users have; test_openapi.py compares the app with it.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

SNAPSHOT = Path(__file__).parent / "openapi.json"


def document() -> dict[str, Any]:
    """The OpenAPI document of this code, as JSON gives it back."""
    from app.main import create_app
    from app.settings import Settings

    with tempfile.TemporaryDirectory() as home:
        app = create_app(Settings(home=Path(home)))
        found = json.loads(json.dumps(app.openapi()))
        app.state.database.close()
    return found


def as_text(openapi: dict[str, Any]) -> str:
    """Sorted, so that a diff shows what changed and nothing else."""
    return json.dumps(openapi, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SNAPSHOT.write_text(as_text(document()), "utf-8")
