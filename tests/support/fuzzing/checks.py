"""Checks of our own for schemathesis, which loads this file because SCHEMATHESIS_HOOKS names it."""

from urllib.parse import parse_qs, urlsplit

import schemathesis

PROBLEM = "application/problem+json"
RULES = {
    # cursors, digests, and parameters that exclude each other
    "unknown_digest", "bad_cursor", "beyond_the_end", "excludes_after", "needs_after",
    # what a reference leads to
    "missing", "outside_roots", "bad_path", "empty", "one_class", "bad_list", "unknown_dataset", "dataset_not_ready",
    "unknown_job", "job_not_succeeded", "unknown_model", "no_model", "other_data",
    # a string that no database can store, anywhere in a body
    "nul_character",
    # between the fields of a spec
    "not_divisible", "too_long", "after_normalize", "after_random_erasing", "after_gaussian_blur",
    "after_mixup", "after_cutmix", "other_size",
    "not_measured",
    # between an option of training and the rest
    "never_improves", "never_stops", "excludes_quantization", "duplicate", "needs_momentum",
    # between a way to distribute and the rest
    "not_with_fp64", "not_with_fp16", "not_with_gradual_pruning", "not_with_fsdp",
    # what only one of the two libraries has
    "needs_tensorflow", "not_in_tensorflow", "option_of_torch", "other_framework", "no_width",
    # between the methods of compression
    "twice", "after_quantization", "excludes_saved_activations", "excludes_checkpointing", "excludes_energy",
    "excludes_svd", "needs_trained_weights", "after_random_weights", "after_gradual_pruning", "too_few_epochs",
    "needs_energy_or_rank",
    "not_with_ptq",
    # between the jobs of a comparison
    "repeated", "too_many",
    "does_nothing", "larger_than_image", "too_many_pixels", "length", "range", "needs_scale", "excludes_scale",
    "incomplete",
}  # fmt: skip
"""Codes of the rules that the JSON Schema of the document does not say."""


@schemathesis.check
def accepted_or_refused_by_a_rule(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """What the document allows is accepted, or refused for a reason that no JSON Schema can say."""
    is_positive = case.meta is not None and case.meta.generation.mode.is_positive
    if not is_positive or response.status_code in (200, 201, 202, 204, 206, 304, 404, 409, 503):
        return
    sent = {name.lower() for name in case.headers or {}}
    if response.status_code == 412:
        assert "if-match" in sent
        return
    if response.status_code == 400 and response.json()["type"].endswith(":digest-mismatch"):
        assert sent & {"digest", "content-digest"}
        return
    assert response.status_code == 422, f"valid by the document, yet answered {response.status_code}"
    if response.json()["type"].endswith(":key-reused"):
        assert "idempotency-key" in sent
        return
    codes = {each["code"] for each in response.json().get("errors", [])}
    patched = case.operation.label == "POST /v1/jobs/{job}/clone"  # the merged spec is checked, not the patch
    assert patched or (codes and codes <= RULES), f"valid by the document, yet refused for {codes - RULES}"


@schemathesis.check
def only_what_waits_for_a_worker_is_503(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """The one answer above 499 that the document allows, and it says when to ask again."""
    if response.status_code < 500:
        return
    query = parse_qs(urlsplit(str(response.request.url)).query)
    assert response.status_code == 503, response.status_code
    is_preview = case.operation.label == "POST /v1/previews"
    assert is_preview or query.get("dry_run", ["false"])[0].lower() in ("true", "1", "t", "yes", "y", "on"), query
    assert int(response.headers["retry-after"][0]) >= 1


@schemathesis.check
def every_refusal_is_a_problem(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """Also where the document says nothing: a method that a path does not have."""
    if response.status_code >= 400 and case.method.upper() != "HEAD":
        assert response.headers["content-type"] == [PROBLEM], response.headers["content-type"]
        assert response.json()["status"] == response.status_code
