"""What OpenAPI says is what the app does: schemathesis makes requests from the document and reads the answers by it.

Deterministic (fixed seed) and bounded. No stream is asked for, since a stream of an unfinished job does not end.
"""

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

EXAMPLES = 20
OPERATIONS = 30


def no_server_error(context, response, case):
    """There is no worker here, so a dry run is 503; nothing else may be."""
    assert response.status_code < 500 or (response.status_code == 503 and case.operation.label == "POST /v1/jobs")


CHECKS = [no_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def test_no_request_made_from_the_document_breaks_the_app_or_the_document(make_app, running, worker):
    job, work = running
    worker.metrics(work, 1, 30)
    schema = schemathesis.openapi.from_asgi("/openapi.json", make_app(dry_run_wait_s=0), headers={"Host": "localhost"})
    answered = {each.ok().label: _fuzz(each.ok(), job) for each in schema.get_all_operations()}
    assert len(answered) == OPERATIONS
    # The guard against fuzzing nothing but refusals.
    assert len([label for label, statuses in answered.items() if min(statuses) < 300]) >= 20


def _fuzz(operation, job):
    """The statuses that an operation answered. Every other id is that of the job that is there."""
    statuses = set()

    @given(case=operation.as_strategy())
    @seed(20261121)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def send(case):
        case.headers = {**(case.headers or {}), "Host": "localhost"}
        if "job" in (case.path_parameters or {}) and len(case.path_parameters["job"]) % 2 == 0:
            case.path_parameters["job"] = job
        statuses.add(case.call_and_validate(checks=CHECKS).status_code)

    send()
    return statuses
