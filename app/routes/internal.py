"""The worker's door. Not in the public OpenAPI; its own credentials. Every rule stands in the services.

410 means fenced: the attempt belongs to somebody else by now. Everything else but 401 is worth another try.
"""

import json
import secrets
from time import monotonic
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query
from fastapi.concurrency import run_in_threadpool
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app.contract.faults import Point, reach
from app.contract.states import JobState, StopWish
from app.contract.views import WorkerList
from app.contract.work import (
    AttemptToken,
    Finish,
    Heartbeat,
    HeartbeatReply,
    Message,
    ReportBatch,
    ReportReply,
    TaskHeartbeat,
    TaskResult,
    Work,
    WorkerInfo,
)
from app.errors import InvalidSpec, Unauthorized
from app.routes.inputs import ChangesDep, DatabaseDep, SettingsDep
from app.services import attempts, claiming, reports, tasks, workers
from app.settings import worker_token
from app.store.leases import Lease
from app.store.session import Database

MAX_WAIT_S = 60


async def worker_only(settings: SettingsDep, authorization: Annotated[str, Header()] = "") -> None:
    """Refuse whoever does not know the worker token."""
    scheme, _, given = authorization.partition(" ")
    expected = worker_token(settings)
    if scheme.lower() != "bearer" or not secrets.compare_digest(given.strip().encode(), expected.encode()):
        raise Unauthorized("Workers show the token of TRAINYARD_WORKER_TOKEN, or of the home. No API key opens this.")


router = APIRouter(prefix="/internal/v1", dependencies=[Depends(worker_only)], include_in_schema=False)
ATTEMPT = "/jobs/{job}/attempts/{attempt}"
AttemptNumber = Annotated[int, Path(ge=1, lt=2**31)]


class Finished(Message):
    """What became of the job."""

    state: JobState


@router.post("/claims", response_model=None)
def claim(info: WorkerInfo, database: DatabaseDep) -> Response:
    """Something to do, or 204, with `Retry-After` when a job is due soon."""
    with database.write() as session:
        work: Work | None = claiming.claim(session, info)
        again_s = None if work else claiming.ask_again_s(session)
    if work is None:
        return Response(status_code=204, headers={"Retry-After": str(again_s)} if again_s else None)
    reach(Point.CLAIM_BEFORE_ANSWER)
    return _answer(work)


@router.get("/workers")
def list_workers(database: DatabaseDep) -> WorkerList:
    """Who is there: what `serve` waits for, without an API key."""
    with database.read() as session:
        return workers.list_workers(session)


@router.post(ATTEMPT + "/start", status_code=204)
def start(job: str, attempt: AttemptNumber, body: AttemptToken, database: DatabaseDep) -> None:
    """The run begins."""
    with database.write() as session:
        attempts.start(session, Lease.of(job, attempt, body.token))
        reach(Point.START_BEFORE_COMMIT)
    reach(Point.START_BEFORE_ANSWER)


@router.post(ATTEMPT + "/heartbeat")
def heartbeat(job: str, attempt: AttemptNumber, body: Heartbeat, database: DatabaseDep) -> HeartbeatReply:
    """The lease begins anew."""
    with database.write() as session:
        reply = HeartbeatReply(stop=attempts.heartbeat(session, Lease.of(job, attempt, body.token)))
        reach(Point.HEARTBEAT_BEFORE_COMMIT)
    reach(Point.HEARTBEAT_BEFORE_ANSWER)
    return reply


@router.post(ATTEMPT + "/wish")
async def wish(
    request: Request,
    job: str,
    attempt: AttemptNumber,
    body: AttemptToken,
    database: DatabaseDep,
    changes: ChangesDep,
    wait_s: Annotated[float, Query(ge=0, le=MAX_WAIT_S)] = 25,
) -> HeartbeatReply:
    """Answers as soon as a stop is wished, else after `wait_s`. Holds no thread and no connection meanwhile."""
    request.state.waited = True
    lease = Lease.of(job, attempt, body.token)
    deadline = monotonic() + wait_s
    with changes.watch(job) as watch:
        while True:
            stop = await run_in_threadpool(_wish, database, lease)
            left_s = deadline - monotonic()
            if stop or left_s <= 0 or changes.closed:
                return HeartbeatReply(stop=stop)
            await watch.wait(left_s)


@router.post(ATTEMPT + "/reports", response_model=None)
async def report(request: Request, job: str, attempt: AttemptNumber, database: DatabaseDep) -> Response:
    """Store a batch of events. The body is a `ReportBatch`."""
    return _answer(await run_in_threadpool(_report, database, job, attempt, await request.body()))


@router.post(ATTEMPT + "/finish")
def finish(job: str, attempt: AttemptNumber, body: Finish, database: DatabaseDep) -> Finished:
    """The attempt is over."""
    with database.write() as session:
        finished = Finished(state=attempts.finish(session, Lease.of(job, attempt, body.token), body))
        reach(Point.FINISH_BEFORE_COMMIT)
    reach(Point.FINISH_BEFORE_ANSWER)
    return finished


@router.post("/tasks/{task}/heartbeat", status_code=204)
def task_heartbeat(task: str, body: TaskHeartbeat, database: DatabaseDep) -> None:
    """The task's lease begins anew."""
    with database.write() as session:
        tasks.heartbeat(session, task, body.token, body.progress)


@router.post("/tasks/{task}/finish", status_code=204)
def task_finish(task: str, body: TaskResult, database: DatabaseDep) -> None:
    """The task is over."""
    with database.write() as session:
        tasks.finish(session, task, body)
        reach(Point.TASK_FINISH_BEFORE_COMMIT)
    reach(Point.TASK_FINISH_BEFORE_ANSWER)


def _report(database: Database, job: str, attempt: int, body: bytes) -> ReportReply:
    batch = _batch(body)
    with database.write() as session:
        reply = reports.report(session, Lease.of(job, attempt, batch.token), batch.events)
        reach(Point.REPORT_BEFORE_COMMIT)
    reach(Point.REPORT_BEFORE_ANSWER)
    return reply


def _batch(body: bytes) -> ReportBatch:
    """Read in one pass, a quarter of the time of two. Two know of surrogates, and say what is wrong in our words."""
    try:
        return ReportBatch.model_validate_json(body)
    except ValidationError:
        pass
    parsed: Any = None
    try:
        parsed = json.loads(body)
        return ReportBatch.model_validate(parsed)
    except ValidationError as error:
        raise InvalidSpec.of(error, parsed, ReportBatch) from error
    except (ValueError, RecursionError) as error:
        raise InvalidSpec.at("", "json_invalid", "The body is not JSON.") from error


def _wish(database: Database, lease: Lease) -> StopWish | None:
    with database.read() as session:
        return attempts.wish(session, lease)


def _answer(message: Message) -> Response:
    return Response(message.model_dump_json(), media_type="application/json")
