"""`trainyard submit | watch | list | show | cancel | pause | resume | retry | clone | delete`."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer

from app.cli.exits import CommandFailed, Exit
from app.cli.output import JsonOption, age, number, plain, print_fields, print_json, print_table, say

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]
SUBMIT_PATIENCE_S = 20.0  # for an answer that got lost on its way: the same key makes the same job


def submit(
    spec: Annotated[str, typer.Argument(metavar="SPEC.json", help="The job spec: a file, or - for stdin.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show live progress; exit 0 only on success.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what the job would do; store nothing.")] = False,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Submitting again with the same key gives the same job. Default: a new one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Submit a training job."""
    from app.cli import following
    from app.cli.service import Service

    service, body = Service(), read_spec(spec)
    if dry_run:
        _dry_run(service, body, as_json)
        return
    job = post_spec(service, body, idempotency_key or str(uuid4()))
    if follow:
        say(f"submitted {job['id']} ({job['name']})")
        following.follow(service, job["id"], as_json)
    elif as_json:
        print_json(job)
    else:
        print(job["id"])
        warn_of_waiting(job)
        say(f"Watch it: trainyard watch {job['id']}")


def warn_of_waiting(job: dict[str, Any]) -> None:
    """Tell who submitted a job that no worker there is can run it."""
    if job["pending"] and job["pending"]["reason"] == "no_capable_worker":
        say(f"warning: {plain(job['pending']['detail'])}")


def read_spec(source: str) -> bytes:
    """The bytes of a spec file or, for `-`, of stdin. Raises `CommandFailed` when they are no JSON object."""
    try:
        body = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        document = json.loads(body)
    except OSError as error:
        raise CommandFailed(f"{source} cannot be read: {error.strerror}.", Exit.USAGE) from error
    except ValueError as error:
        raise CommandFailed(f"{source} is not JSON: {error}.", Exit.USAGE) from error
    if not isinstance(document, dict):
        raise CommandFailed(f"{source} is not a job spec: it must hold one JSON object.", Exit.USAGE)
    return body


def post_spec(service: Any, body: bytes, key: str) -> dict[str, Any]:
    """Submit, again if the answer is lost on its way: the key makes it one job. An absent service fails at once."""
    from app.cli.service import patiently

    def post() -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        answer: dict[str, Any] = service.request("POST", "/v1/jobs", content=body, headers=headers).json()
        return answer

    service.get("/healthz")
    return patiently(post, SUBMIT_PATIENCE_S, say)


def _dry_run(service: Any, body: bytes, as_json: bool) -> None:
    headers = {"Content-Type": "application/json"}
    answer = service.request("POST", "/v1/jobs", params={"dry_run": "true"}, content=body, headers=headers).json()
    if as_json:
        print_json(answer)
    else:
        _print_plan(answer["spec"], answer["plan"])


def _print_plan(spec: dict[str, Any], plan: dict[str, Any]) -> None:
    from app.cli.output import size

    rows = [(name, f"{plan['before'][name]:,}", f"{plan['after'][name]:,}") for name in plan["before"]]
    print_table(("", "before >", "after >"), rows)
    changed = [layer for layer in plan["layers"] if layer["status"] == "changed"]
    print_fields({
        "name": spec["name"],
        "layers changed": f"{len(changed)} of {len(plan['layers'])}",
        "images": f"{plan['train_images']:,} to train, {plan['validation_images']:,} to validate",
        "image size": "x".join(map(str, plan["image_size"])),
        "steps per epoch": plan["steps_per_epoch"],
        "a step": f"{plan['processes']} processes, {plan['passes_per_step']} passes, "
        f"at most {plan['images_per_pass']:,} images at once",
        "memory per process": size(plan["memory_bytes"]),
        **_computing(plan),
    })  # fmt: skip
    for warning in plan["warnings"]:
        say(f"warning: {plain(warning)}")


def _computing(plan: dict[str, Any]) -> dict[str, str]:
    """Left out by a worker of an earlier version."""
    found = plan.get("computing")
    return {"computes in": found["precision"] + (", compiled" if found["compiled"] else "")} if found else {}


def watch(job: JobArgument, as_json: JsonOption = False) -> None:
    """Show a job's progress to its end; exits 0 only when it succeeded."""
    from app.cli import following
    from app.cli.service import Service

    following.follow(Service(), job, as_json)


def list_jobs(
    state: Annotated[list[str] | None, typer.Option(help="Only jobs in this state; repeatable.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only jobs with this label.")] = None,
    name: Annotated[str | None, typer.Option(help="Only jobs of this name.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List jobs, newest first."""
    from app.cli.service import Service

    jobs = Service().pages("/v1/jobs", limit, state=state, name=name, **_label_filters(label or []))
    if as_json:
        print_json(jobs)
        return
    print_table(("id", "name", "state", "done >", "val/accuracy >", "created >"), map(_row, jobs))


def _label_filters(labels: list[str]) -> dict[str, str]:
    pairs = [label.partition("=") for label in labels]
    wrong = [key for key, sign, _ in pairs if not sign]
    if wrong:
        raise CommandFailed(f"--label takes KEY=VALUE, not {wrong[0]!r}.", Exit.USAGE)
    return {f"label.{key}": value for key, _, value in pairs}


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    done = f"{job['progress']['fraction']:.0%}" if job["progress"] else ""
    accuracy = job["latest_metrics"].get("val/accuracy")
    return (job["id"], job["name"], job["state"], done, number(accuracy), age(job["created_at"]))


def show(job: JobArgument, as_json: JsonOption = False) -> None:
    """Show one job."""
    from app.cli.service import Service

    shown = Service().get(f"/v1/jobs/{job}")
    if as_json:
        print_json(shown)
    else:
        _print_job(shown)


def _print_job(job: dict[str, Any]) -> None:
    from app.cli.display import figures, standing_line
    from app.cli.following import failure_block

    print_fields({
        "id": job["id"],
        "name": job["name"],
        "labels": " ".join(f"{key}={value}" for key, value in job["labels"].items()) or None,
        "state": standing_line(job),
        "phase": job["phase"],
        "progress": figures(job) or None,
        "created": job["created_at"],
        "started": job["started_at"],
        "finished": job["finished_at"],
        "cloned from": job["cloned_from"],
    })  # fmt: skip
    if job["failure"]:
        print(plain_block(failure_block(job)))


def plain_block(text: str) -> str:
    """Several lines without control characters."""
    return "\n".join(plain(line) for line in text.split("\n"))


def cancel(job: JobArgument, as_json: JsonOption = False) -> None:
    """Cancel a job. A running one stops within its grace time; its last checkpoint is kept."""
    _act(job, "cancel", as_json)


def pause(job: JobArgument, as_json: JsonOption = False) -> None:
    """Hold a job back. A running one saves a checkpoint first and gives its devices to others."""
    _act(job, "pause", as_json)


def resume(job: JobArgument, as_json: JsonOption = False) -> None:
    """Let a paused job go on from its last checkpoint."""
    _act(job, "resume", as_json)


def retry(job: JobArgument, as_json: JsonOption = False) -> None:
    """Start a new job that goes on from this one's last checkpoint."""
    _act(job, "retry", as_json)


def clone(
    job: JobArgument,
    changes: Annotated[
        str | None, typer.Option("--set", metavar="JSON", help='Merge patch on the spec: {"training": {"seed": 1}}.')
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Start a new job with this one's spec, changed where `--set` says so."""
    try:
        body = json.loads(changes) if changes else {}
    except ValueError as error:
        raise CommandFailed(f"--set is not JSON: {error}.", Exit.USAGE) from error
    if not isinstance(body, dict):
        raise CommandFailed("--set is not a merge patch: it must be one JSON object.", Exit.USAGE)
    _act(job, "clone", as_json, json=body)


def _act(job: str, verb: str, as_json: bool, **body: Any) -> None:
    from app.cli.service import Service

    answer = Service().request("POST", f"/v1/jobs/{job}/{verb}", **body).json()
    if as_json:
        print_json(answer)
    elif verb in ("cancel", "pause", "resume"):
        wish = answer["stop_requested"]
        print(f"{answer['id']} {answer['state']}" + (f", {wish} requested" if wish else ""))
    else:
        print(answer["id"])


def delete(job: JobArgument, as_json: JsonOption = False) -> None:
    """Delete a job that is over, with its metrics, logs and artifacts."""
    from app.cli.service import Service

    Service().request("DELETE", f"/v1/jobs/{job}")
    if as_json:
        print_json({"deleted": job})
    else:
        say(f"deleted {job}")
