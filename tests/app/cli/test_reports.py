"""`trainyard report` and `compare` against a real server: on the screen, as files, and what cannot be shown."""

import json
import os
import subprocess
import sys

import pytest

from app.cli.exits import Exit
from app.routes import report_examples

SPEC = {"dataset": {"kind": "builtin", "name": "digits"}, "model": {"kind": "timm", "name": "resnet10t"}}


@pytest.fixture
def command(serve, hands, tmp_path):
    """Runs commands before a service with two jobs that have a report, and one that waits: (run, their ids)."""
    with serve() as (client, _):
        jobs, worker = [], hands(client)
        for outcome in ("succeeded", "failed"):
            jobs.append(client.post("/v1/jobs", json=SPEC).json()["id"])
            work = worker.claim()
            worker.start(work)
            failed = {"failure": {"code": "gate_missed", "message": "1 of 2 gates missed."}}
            worker.finish(work, outcome, report=report_examples.REPORT, **(failed if outcome == "failed" else {}))
        jobs.append(client.post("/v1/jobs", json=SPEC).json()["id"])
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TRAINYARD_")}
        environment["TRAINYARD_URL"] = str(client.base_url)

        def run(*arguments):
            line = [sys.executable, "-m", "app.cli", *arguments]
            return subprocess.run(line, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)

        yield run, jobs


def test_reports_on_the_screen_and_as_files(command, tmp_path):
    run, (done, missed, waiting) = command
    shown = run("report", done).stdout
    assert "parameters" in shown
    assert "min_parameter_ratio" in shown
    assert "MISSED" in shown
    assert json.loads(run("report", done, "--json").stdout) == report_examples.REPORT
    assert run("report", done, "--format", "markdown").stdout.startswith("# resnet10t on digits\n")
    for name, beginning in (("r.html", "<!doctype html>"), ("r.md", "# "), ("r.json", "{")):
        written = run("report", done, "-o", name)
        assert (written.returncode, written.stderr) == (0, f"wrote {name}\n")
        assert (tmp_path / name).read_text().startswith(beginning)
    assert run("report", missed, "-o", "r.html").returncode != 0, "another file is not replaced"
    assert run("report", missed, "-o", "r.html", "--force").returncode == 0
    assert run("report", done, "-o", "r.txt").returncode == Exit.USAGE
    assert run("report", waiting).returncode == Exit.REFUSED
    watched = run("watch", missed)
    assert watched.returncode == Exit.FAILED
    assert "MISSED" in watched.stdout

    table = run("compare", done, missed, waiting)
    assert (table.returncode, table.stderr) == (0, f"{waiting} has no report\n")
    assert [line.split()[0] for line in table.stdout.splitlines()[1:]] == [done, missed]
    assert "missed min_parameter_ratio" in table.stdout
    assert [each["job"] for each in json.loads(run("compare", done, missed, "--json").stdout)["jobs"]] == [done, missed]
    refused = run("compare", done, done)
    assert (refused.returncode, "named twice" in refused.stderr) == (Exit.REFUSED, True)
