"""How fast is the API? Every kind of request, beside a bare FastAPI route and MLflow's tracking server.

python -m benchmarks api [--jobs 1000000] [--points 1000000] [--requests 500] [--peers .venv-peers/bin/python]

The service runs as `trainyard serve` runs it, over SQLite with synchronous=FULL and a list of a million old jobs, with
its broker, without a worker. One process answers all questions, so its memory is the most that any of them took.
"""

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.api import fanout, peers, reading, seed, servers, writing
from benchmarks.api.hands import Hands
from benchmarks.api.table import markdown


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All questions, one after another, to the same servers."""
    home = folder / "home"
    home.mkdir()
    print(f"api: writing {given.jobs} old jobs", flush=True)
    seed.fill(home / "trainyard.db", given.jobs)
    with ExitStack() as stack:
        bare = stack.enter_context(servers.bare(folder))
        trainyard = stack.enter_context(servers.trainyard(home))
        hands = Hands(trainyard.port)
        questions = {
            "read": lambda: reading.job(trainyard, bare, hands, 4 * given.requests),
            "submit": lambda: writing.submits(trainyard, given.requests),
            "list": lambda: reading.pages(trainyard, max(given.requests // 10, 20)),
            "streams": lambda: fanout.streams(trainyard, hands, given.watchers, 50, 1000, 50.0),
            "long_polls": lambda: fanout.long_polls(trainyard, hands, 200, 5),
            "ingest": lambda: writing.ingest(trainyard, hands, 50_000),
            "chart": lambda: writing.charts(trainyard, hands, given.points, max(given.requests // 10, 20)),
            "peers": lambda: _compared(stack, given, folder, trainyard, hands),
        }
        found: dict[str, Any] = {}
        for name in given.only or questions:
            print(f"api: {name}", flush=True)
            found[name] = questions[name]()
        found["memory"] = {"service_peak_mb": round(trainyard.peak_rss_bytes / 1e6)}
    return found


def _compared(
    stack: ExitStack, given: argparse.Namespace, folder: Path, trainyard: servers.Server, hands: Hands
) -> dict[str, Any]:
    if not given.peers.exists():
        print(f"  {given.peers} is not there: `make bench-peers` installs MLflow")
        return {}
    mlflow = stack.enter_context(servers.mlflow(given.peers.absolute(), folder))
    return peers.compare(trainyard, mlflow, hands, given.requests)


def main() -> None:
    """Measure and write a result file and its table."""
    parser = argparse.ArgumentParser(prog="benchmarks api", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=1_000_000, help="old jobs in the database")
    parser.add_argument("--points", type=int, default=1_000_000, help="points of the metric that is charted")
    parser.add_argument("--requests", type=int, default=500, help="of a round; five rounds are counted")
    parser.add_argument("--watchers", type=int, default=500, help="event streams at once")
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers/bin/python"), help="a Python that has MLflow")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on a disk, where a commit costs a sync")
    parser.add_argument("--only", nargs="*", help="read, submit, list, streams, long_polls, ingest, chart, peers")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="trainyard-") as folder:
        result = {"question": "the API under load", "jobs": given.jobs, "points": given.points}
        result |= measure(given, Path(folder))
    path = record.write("api", result)
    path.with_suffix(".md").write_text(markdown(path))
    print(f"api: written to {path}")


if __name__ == "__main__":
    main()
