"""Jobs for TensorFlow, over real HTTP: trained where it is installed, and waiting with a reason where it is not."""

import hashlib
import json
import zipfile
from importlib.util import find_spec
from io import BytesIO
from typing import Any

import onnxruntime
import pytest

from tests.e2e.place import FINAL, Api, Place
from tests.support.beside import needs_tensorflow
from tests.support.mirrored_runs import SPEC

JOB: dict[str, Any] = SPEC | {
    "training": SPEC["training"] | {"epochs": 1},
    "compression": [{"kind": "depthwise_separable", "include_stem": True}],
    "export": ["saved_model", "tflite", "onnx"],
}
FILES = {"saved_model.zip", "model.tflite", "model.onnx", "model.safetensors", "model.json", "report.json"}


def who_can(api: Api) -> dict[tuple[str, str], list[str]]:
    """By kind that not every worker has: the workers that have it, as the catalog says."""
    families = api.get("/v1/catalog")["families"]
    kinds = ((family["name"], kind) for family in families for kind in family["kinds"])
    return {(family, kind["kind"]): kind["workers"] for family, kind in kinds if kind["needs_extra"]}


def fetched(api: Api, job: str) -> dict[str, bytes]:
    """Every artifact, each of which is what the list says."""
    found = {}
    for each in api.get(f"/v1/jobs/{job}/artifacts")["items"]:
        found[each["name"]] = api.call("GET", each["url"]).content
        assert hashlib.sha256(found[each["name"]]).hexdigest() == each["sha256"]
    return found


@needs_tensorflow
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_job_is_planned_trained_and_leaves_files_of_each_format(api: Api, place: Place) -> None:
    planned = api.call("POST", "/v1/jobs", params={"dry_run": "true"}, json=JOB)
    assert planned.status_code in (200, 503), planned.text  # a busy machine may take longer than a request waits
    job = api.submit(JOB)
    done = api.job_when(job, lambda shown: shown["state"] in FINAL, timeout_s=1500)  # TensorFlow is loaded six times
    assert done["state"] == "succeeded", done["failure"]
    files = fetched(api, job)
    assert set(files) == FILES
    with zipfile.ZipFile(BytesIO(files["saved_model.zip"])) as archive:
        assert "saved_model/saved_model.pb" in archive.namelist()
    assert files["model.tflite"][4:8] == b"TFL3"
    assert onnxruntime.InferenceSession(files["model.onnx"]).get_outputs()[0].shape[-1] == 10
    report = api.get(f"/v1/jobs/{job}/report")
    assert report == json.loads(files["report.json"])
    assert (report["verified"], report["machine"]["torch"]) == (True, None)
    assert [each["format"] for each in report["exports"]] == ["safetensors", "onnx", "saved_model", "tflite"]
    assert report["after"]["parameters"] < report["before"]["parameters"]
    page = api.call("GET", f"/v1/jobs/{job}/report", headers={"Accept": "text/html"}).text
    assert "TensorFlow" in page
    (worker,) = api.get("/v1/workers")["items"]
    assert worker["extras"] == ["tensorflow"]
    assert who_can(api) == {("model", "keras_application"): [worker["id"]], ("distributed", "mirrored"): [worker["id"]]}


@pytest.mark.skipif(find_spec("tensorflow") is not None, reason="a worker has it")
@pytest.mark.timeout(300)
def test_without_tensorflow_a_job_waits_and_says_what_for(api: Api) -> None:
    """Accepted, since a worker with it may come; and it holds back no other."""
    job = api.submit(JOB)
    shown = api.job_when(job, lambda shown: (shown["pending"] or {}).get("reason") == "no_capable_worker")
    assert "tensorflow (make setup EXTRAS=tensorflow)" in shown["pending"]["detail"]
    assert [worker["extras"] for worker in api.get("/v1/workers")["items"]] == [[]]
    assert who_can(api) == {("model", "keras_application"): [], ("distributed", "mirrored"): []}
    assert api.call("POST", f"/v1/jobs/{job}/cancel").json()["state"] == "cancelled"
