"""The public HTTP surface: frozen by a snapshot, complete, and true of the real app.

Renew the snapshot with `python -m tests.architecture.renew` and read the diff: what it takes away, users lose.
"""

import importlib.util
import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from app.contract import datasets, views
from app.contract.comparison import Comparison
from app.contract.plan import Plan
from app.contract.previews import Preview, PreviewSpec
from app.contract.report import Report
from app.edge.keys import OPEN_PATHS
from app.routes import examples, report_examples

_spec = importlib.util.spec_from_file_location("renew", Path(__file__).parent / "renew.py")
renew = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(renew)

OPENAPI = renew.document()
OPERATIONS = {
    operation["operationId"]: (method, path, operation)
    for path, methods in OPENAPI["paths"].items()
    for method, operation in methods.items()
}
EXPECTED = """
submit_job list_jobs get_job patch_job delete_job cancel_job pause_job resume_job retry_job clone_job
get_metrics get_job_events get_events get_logs list_attempts list_checkpoints list_artifacts
download_artifact get_report compare_jobs add_dataset put_dataset_archive list_datasets get_dataset delete_dataset
list_samples download_files_csv make_preview
get_catalog search_models get_job_schema list_workers
get_health get_readiness get_prometheus_metrics
"""
every_operation = pytest.mark.parametrize("name", OPERATIONS)


def test_the_document_is_the_snapshot():
    text = renew.as_text(OPENAPI)
    assert text == renew.SNAPSHOT.read_text("utf-8"), "python -m tests.architecture.renew, then read the diff"


def test_the_operations_are_those_that_were_promised():
    assert set(OPERATIONS) == set(EXPECTED.split())


def test_it_is_openapi_3_1_and_shows_no_internal_route():
    assert OPENAPI["openapi"].startswith("3.1")
    assert not [path for path in OPENAPI["paths"] if "internal" in path]


@every_operation
def test_every_operation_says_what_it_does(name):
    _, _, operation = OPERATIONS[name]
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", name)
    assert operation["summary"]
    assert operation["description"] != operation["summary"]
    assert operation["tags"]
    for parameter in operation.get("parameters", []):
        assert parameter.get("description"), parameter["name"]


@every_operation
def test_every_operation_shows_what_it_takes_and_answers(name):
    _, _, operation = OPERATIONS[name]
    bodies = list(operation.get("requestBody", {}).get("content", {}).values())
    answers = [
        content
        for status, answer in operation["responses"].items()
        if status in ("200", "201", "202")
        for content in answer["content"].values()
    ]
    assert answers or "204" in operation["responses"]
    for content in (*bodies, *answers):
        assert "example" in content or "examples" in content or content["schema"].get("format") == "binary"


@every_operation
def test_every_error_is_a_problem_document_and_the_usual_ones_are_there(name):
    method, _, operation = OPERATIONS[name]
    errors = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
    usual = {"400", "422", "503"} | ({"403", "413"} if method != "get" else set())
    usual |= {"401", "403"} if operation.get("security") != [] else set()
    usual |= {"415"} if "requestBody" in operation else set()
    assert usual <= set(errors)
    if any(parameter["in"] == "path" for parameter in operation.get("parameters", [])):
        assert "404" in errors
    assert [status for status in errors if status >= "500"] == ["503"]
    assert errors["503"]["headers"]["Retry-After"]["required"]
    for answer in errors.values():
        assert answer["description"]
        assert list(answer["content"]) == ["application/problem+json"]
        assert answer["content"]["application/problem+json"]["schema"] == {
            "$ref": "#/components/schemas/ProblemDocument"
        }


def test_it_says_who_needs_a_key():
    assert OPENAPI["components"]["securitySchemes"]["api_key"]["scheme"] == "bearer"
    assert {"api_key": []} in OPENAPI["security"]
    assert {path for _, path, operation in OPERATIONS.values() if operation.get("security") == []} == OPEN_PATHS


def test_every_reference_leads_somewhere():
    text = renew.as_text(OPENAPI)
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert "ProblemDocument" in names
    assert names <= set(OPENAPI["components"]["schemas"])
    assert "HTTPValidationError" not in OPENAPI["components"]["schemas"]


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (views.Job, examples.QUEUED_JOB),
        (views.Job, examples.RUNNING_JOB),
        (views.Job, examples.PAUSED_JOB),
        (views.JobPage, examples.JOB_PAGE),
        (views.JobPatch, examples.PATCH),
        (views.DryRun, examples.DRY_RUN),
        (Plan, examples.PLAN),
        (views.MetricsPage, examples.METRICS),
        (views.EventPage, examples.EVENTS),
        (views.LogLine, examples.LOG_LINE),
        (views.Attempt, examples.ATTEMPT),
        (views.CheckpointView, examples.CHECKPOINT),
        (views.Artifact, examples.ARTIFACT),
        (Report, report_examples.REPORT),
        (Comparison, report_examples.COMPARISON),
        (datasets.DatasetSpec, examples.DATASET_SPEC),
        (datasets.Dataset, examples.DATASET),
        (datasets.Dataset, examples.DATASET_UPLOADED),
        (datasets.Sample, examples.SAMPLE),
        (Preview, examples.PREVIEW),
        (PreviewSpec, PreviewSpec.examples[0]),
        (views.Worker, examples.WORKER),
    ],
)
def test_an_example_is_what_its_model_writes(model, example):
    adapter = TypeAdapter(model)
    assert set(adapter.dump_python(adapter.validate_python(example), mode="json")) >= set(example)
