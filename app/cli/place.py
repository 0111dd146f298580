"""Where the service's home and address are: TRAINYARD_HOME and TRAINYARD_URL, or what runs on this machine."""

import json
import os
from pathlib import Path

DEFAULT_URL = "http://127.0.0.1:8000"


def home() -> Path:
    """TRAINYARD_HOME, absolute; default `~/.trainyard`. It need not exist."""
    return Path(os.environ.get("TRAINYARD_HOME") or "~/.trainyard").expanduser().absolute()


def api_file() -> Path:
    """Where a running API leaves its address: `{"url", "pid"}`."""
    return home() / "run" / "api.json"


def service_url() -> str:
    """TRAINYARD_URL, else the address that the API of this home left, else the default one."""
    return (os.environ.get("TRAINYARD_URL") or _running_here() or DEFAULT_URL).rstrip("/")


def _running_here() -> str | None:
    try:
        return str(json.loads(api_file().read_bytes())["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
