"""A kept answer is the answer that would be made now, and goes to nobody whom a dependency refuses."""

import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.testclient import TestClient

from app import problems
from app.errors import Unauthorized
from app.routes import rendered
from app.routes.rendered import RenderedJobs
from app.routes.strict import StrictRoute, answered_at_once
from app.services import jobs


def views(monkeypatch):
    """Counts how often a job is read as a whole."""
    made, get = [], jobs.get
    monkeypatch.setattr(jobs, "get", lambda session, job: made.append(job) or get(session, job))
    return made


def test_a_job_that_did_not_change_is_rendered_once(client, running, worker, monkeypatch):
    made = views(monkeypatch)
    path = f"/v1/jobs/{running[0]}"
    first, second = client.get(path), client.get(path)
    assert (second.json(), second.headers["etag"]) == (first.json(), first.headers["etag"])
    assert second.headers["retry-after"] == first.headers["retry-after"]
    assert len(made) <= 1 or client.app.state.database.is_sqlite is False
    worker.metrics(running[1], 1, 1, 0.25)
    third = client.get(path)
    assert third.json()["latest_metrics"] == {"train/loss": 0.25}
    assert third.json()["version"] > first.json()["version"]


def test_why_a_job_waits_is_never_a_kept_answer(client, submit):
    job = submit()["id"]
    before = client.get(f"/v1/jobs/{job}").json()["pending"]["position"]
    submit(priority=5)
    assert client.get(f"/v1/jobs/{job}").json()["pending"]["position"] == before + 1


def test_a_page_of_kept_answers_is_the_page(client, running, worker, submit):
    queued = submit()["id"]
    pages = [client.get("/v1/jobs", params={"limit": 2}).json() for _ in range(2)]
    single = [client.get(f"/v1/jobs/{job}").json() for job in (queued, running[0])]
    assert pages == [{"items": single, "next_cursor": None}] * 2
    worker.metrics(running[1], 1, 1, 0.25)
    assert client.get("/v1/jobs").json()["items"][1]["latest_metrics"] == {"train/loss": 0.25}
    first = client.get("/v1/jobs", params={"limit": 1}).json()
    assert first["items"] == [single[0]]
    assert client.get("/v1/jobs", params={"cursor": first["next_cursor"]}).json()["items"][0]["id"] == running[0]


def test_a_deleted_job_is_gone_although_its_answer_was_kept(client, running, worker):
    job, work = running
    worker.finish(work)
    assert client.get(f"/v1/jobs/{job}").status_code == 200
    assert client.delete(f"/v1/jobs/{job}").status_code == 204
    assert client.get(f"/v1/jobs/{job}").status_code == 404


def test_an_unknown_parameter_is_refused_although_the_answer_is_kept(client, running):
    path = f"/v1/jobs/{running[0]}"
    assert [client.get(path).status_code, client.get(f"{path}?x=1").status_code] == [200, 422]


def test_the_oldest_answers_are_forgotten(client, running, monkeypatch):
    monkeypatch.setattr(rendered, "MOST_JOBS", 1)
    with client.app.state.database.read() as session:
        job = jobs.get(session, running[0])
    kept = RenderedJobs()
    for job_id in ("job_a", "job_b"):
        kept.render(job.model_copy(update={"id": job_id}), {})
    assert kept.find("job_a", job.version) is None
    assert kept.find("job_b", job.version) is not None


async def _refuses() -> None:
    raise Unauthorized


@pytest.mark.parametrize("where", ["router", "route", "parameter"])
def test_a_dependency_that_refuses_comes_before_an_answer_at_once(where):
    on_router = [Depends(_refuses)] if where == "router" else []
    on_route = [Depends(_refuses)] if where == "route" else []
    router = APIRouter(route_class=StrictRoute, dependencies=on_router)
    default = Depends(_refuses) if where == "parameter" else None

    @router.get("/{job}", dependencies=on_route)
    @answered_at_once(lambda _: pytest.fail("answered at once"))
    async def ask(job: str, key: None = default) -> None:
        """Never reached."""

    app = FastAPI()
    problems.install(app)
    app.router.routes.extend(router.routes)
    assert TestClient(app).get("/job_1").status_code == 401
