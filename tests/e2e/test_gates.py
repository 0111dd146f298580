"""Gates end to end: a job that misses one fails and keeps everything; the next is compared with it; both are shown."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from app.cli.exits import Exit
from tests.e2e.place import Api, Place

pytestmark = pytest.mark.timeout(400)

SPEC: dict[str, Any] = {
    "dataset": {"kind": "builtin", "name": "digits"},
    "model": {"kind": "timm", "name": "test_resnet"},
    "augment": [{"kind": "resize", "size": [16, 16]}],
    "training": {"epochs": 1, "batch_size": 256},
}


def check_files(api: Api, job: str) -> None:
    """Each file that is listed can be fetched, and is what the list says."""
    artifacts = {each["name"]: each for each in api.get(f"/v1/jobs/{job}/artifacts")["items"]}
    assert {"model.safetensors", "model.json", "report.json"} <= set(artifacts)
    for artifact in artifacts.values():
        content = api.call("GET", artifact["url"]).content
        assert hashlib.sha256(content).hexdigest() == artifact["sha256"]
    assert json.loads(api.call("GET", artifacts["report.json"]["url"]).content)["gates"]


def test_a_missed_gate_fails_the_job_and_keeps_its_model_for_the_next(api: Api, place: Place, tmp_path: Path) -> None:
    missed = api.submit(SPEC | {"gates": {"max_parameters": 1}})
    done = api.final(missed)
    assert (done["state"], done["failure"]["code"], done["attempt"]) == ("failed", "gate_missed", 1)
    assert "max_parameters" in done["failure"]["message"]
    assert [each["state"] for each in api.get(f"/v1/jobs/{missed}/attempts")["items"]] == ["failed"]
    check_files(api, missed)
    watched = place.command("watch", missed)
    assert watched.returncode == Exit.FAILED
    assert "MISSED" in watched.stdout

    gates = {"max_accuracy_drop": 1, "min_parameter_ratio": 1.5, "max_p95_latency_ratio": 1000}
    compared = {"baseline": {"kind": "job", "job": missed}, "compression": [{"kind": "depthwise_separable"}]}
    passed = api.submit(SPEC | compared | {"gates": gates})
    done = api.final(passed)
    assert done["state"] == "succeeded", done["failure"]
    first, second = done["report"], api.get(f"/v1/jobs/{missed}/report")
    assert first["before"]["parameters"] == second["after"]["parameters"]
    assert first["before"]["accuracy"] == second["after"]["accuracy"], "measured again on the same images"
    assert [each["passed"] for each in first["gates"]] == [True] * 3

    side_by_side = api.get("/v1/compare", params={"jobs": f"{missed},{passed}"})
    assert side_by_side["warnings"] == []
    assert [each["gates_missed"] for each in side_by_side["jobs"]] == [["max_parameters"], []]
    page = tmp_path / "report.html"
    place.command("report", passed, "-o", str(page), check=True)
    assert page.read_text().startswith("<!doctype html>")
    assert "Succeeded. 3 of 3 gates passed." in page.read_text()
    assert passed in place.command("compare", missed, passed, check=True).stdout
