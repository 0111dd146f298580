"""A job that a lost worker has interrupted goes on with fewer processes, at the same batch and in the same order."""

from collections.abc import Callable

import pytest

from tests.e2e.place import Api, Place, spec

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]
ELASTIC = {"processes": 2, "min_processes": 1}


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_what_two_processes_began_one_finishes_where_there_is_no_second_device(
    new_place: Callable[..., Place], kind: str
) -> None:
    own = new_place()
    own.start()
    api = Api(own)
    job = api.submit(spec(12, distributed={"kind": kind, **ELASTIC}))
    api.job_with_checkpoint(job)
    own.clean()  # everything dies at once, as when a host does

    own.settings["TRAINYARD_WORKER_SLOTS"] = "1"
    own.start()
    done = api.final(job)

    assert done["state"] == "succeeded", done["failure"]
    attempts = api.get(f"/v1/jobs/{job}/attempts")["items"]
    assert [len(each["devices"]) for each in attempts] == [2, 1]
    shown = api.get(f"/v1/jobs/{job}/metrics", params={"names": "train/loss"})
    assert shown["series"]["train/loss"]["step"] == list(range(1, done["progress"]["steps"] + 1))
    assert done["report"]["verified"]
    own.clean()
