"""What OpenAPI says is what the service does: schemathesis with all its checks against a real server, stateful too.

Seeded. Every case that the document allows must be accepted or refused for a rule that no schema can say, every other
one refused; no answer may be undocumented, none above 499 but the 503 of dry runs and previews (tests/support/fuzzing).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.routes import examples, report_examples
from tests.support.service import SHA256

ROOT = Path(__file__).parents[3]
FUZZING = ROOT / "tests" / "support" / "fuzzing"
OPERATIONS = 35
SEED = 20261121


def fuzz(client, folder, *options):
    """Runs schemathesis; answers its report once nothing was found."""
    report, config = folder / "report.json", folder / "schemathesis.toml"
    config.write_text((FUZZING / "schemathesis.toml").read_text() + _known(client))
    command = [sys.executable, "-m", "schemathesis.cli", "--no-color", "--config-file", config]
    command += ["run", f"{client.base_url}/openapi.json", "--report", "json", "--report-json-path", report]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.support.fuzzing.checks", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, *options], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(report.read_text())


def _known(client):
    """What is there, as dictionaries from which schemathesis takes a part of its values."""
    jobs = [job["id"] for job in client.get("/v1/jobs").json()["items"]]
    sets = [each["id"] for each in client.get("/v1/datasets").json()["items"]]
    known = {"job": jobs, "name": [ARTIFACT["name"]], "dataset": sets}
    pairs = [",".join(jobs[start : start + 3]) for start in range(len(jobs) - 1)]
    dictionaries = {**known, "pairs": pairs}
    lines = [f"[dictionaries.{name}]\nvalues = {json.dumps(values)}\n" for name, values in dictionaries.items()]
    lines += [
        "[parameters]\n",
        '"query.jobs" = { dictionary = "pairs", probability = 0.6 }\n',
        *(f'"path.{name}" = {{ dictionary = "{name}", probability = 0.6 }}\n' for name in known),
    ]
    return "\n" + "".join(lines)


def furnish(client, hands, settings):
    """One job in each state that a client can look at, and a data set, so that more than refusals is read."""
    worker = hands(client)
    for outcome in (*["succeeded"] * 4, "failed", None):
        job = client.post("/v1/jobs", json=examples.SPEC).json()["id"]
        work = worker.claim()
        worker.start(work)
        worker.metrics(work, 1, 30)
        worker.report(work, CHECKPOINT)
        folder = settings.attempt_dir(job, 1)
        folder.mkdir(parents=True)
        (folder / "log.ndjson").write_text(json.dumps(examples.LOG_LINE) + "\n")
        (folder / "model.json").write_text("{}")
        left = {"report": report_examples.REPORT, "artifacts": [ARTIFACT]} if outcome == "succeeded" else {}
        if outcome:
            worker.finish(work, outcome, **left)
    pets = settings.roots[0] / "pets"
    for name in ("cats", "dogs"):
        (pets / name).mkdir(parents=True)
        (pets / name / "1.png").touch()
    for source in ({"path": "pets"}, {"kind": "upload"}):
        assert client.post("/v1/datasets", json={"name": "pets", "source": source}).status_code == 201


ARTIFACT = {"name": "model.json", "path": "model.json", "size_bytes": 2, "sha256": SHA256}
CHECKPOINT = {
    "type": "checkpoint", "phase": "training", "epoch": 1, "step": 30, "path": "checkpoints/1", "size_bytes": 9,
    "sha256": SHA256,
}  # fmt: skip


@pytest.fixture
def server(serve, hands, settings, tmp_path):
    """A real server with something to look at, whose dry runs wait for nobody."""
    with serve(TRAINYARD_DRY_RUN_WAIT_S="0") as (client, process):
        furnish(client, hands, settings)
        yield client
        assert process.poll() is None
        assert client.get("/readyz").status_code == 200
        assert "Traceback" not in (tmp_path / "server.log").read_text()


def check(report, at_least):
    assert report["operations"]["tested"] == OPERATIONS
    assert report["test_cases"]["generated"] >= at_least, report["test_cases"]
    assert report["errors"] == []
    # the guard against sending nothing but what is refused
    accepted = [
        name for name, phases in report["valid_rates"].items() if sum(each["accepted"] for each in phases.values())
    ]
    assert len(accepted) >= OPERATIONS - 7, accepted


@pytest.mark.timeout(600)
@pytest.mark.parametrize("database_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True)
def test_a_sample_of_requests_breaks_neither_the_service_nor_the_document(server, tmp_path):
    phases = ("--phases", "examples,fuzzing,stateful")
    check(fuzz(server, tmp_path, *phases, "--max-examples", "4", "--seed", str(SEED)), 200)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_five_thousand_requests_break_neither_the_service_nor_the_document(server, tmp_path):
    check(fuzz(server, tmp_path, "--max-examples", "130", "--seed", str(SEED)), 5000)
