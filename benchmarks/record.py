"""Result files: a figure without its date, machine and commit is worth nothing."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def write(benchmark: str, result: dict[str, Any]) -> Path:
    """Write `results/<date>-<benchmark>.json`; returns its path."""
    now = datetime.now(UTC)
    record = {
        "benchmark": benchmark,
        "date": now.isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine(),
    }
    path = RESULTS / f"{now:%Y-%m-%d}-{benchmark}.json"
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(record | result, indent=2) + "\n")
    return path


def machine() -> dict[str, Any]:
    """What the figures depend on; no host name, which tells a reader nothing."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 1),  # far above the benchmark's own: the machine was busy
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def commit() -> str:
    """The commit that was measured; `-dirty` when files differ from it."""
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or "unknown"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
