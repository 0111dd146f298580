"""Jobs that need an optional library: given to workers that have it, and to no other."""

import pytest

from app.contract.work import PlanTask, RunOrder
from app.errors import InvalidSpec
from app.services import asking, tasks, workers
from app.services.catalog import catalog_now
from app.services.planning import begin_dry_run
from tests.support.service import processes, spec, worker

MIRRORED = {
    "model": {"kind": "keras_application", "name": "mobilenet"},
    "distributed": {"kind": "mirrored", "processes": 2},
}


def equipped(name="w2", slots=4, **more):
    return worker(name, slots, **more).model_copy(update={"extras": ["tensorflow"]})


def test_a_job_waits_for_a_worker_that_has_its_library(service):
    service.claim(worker("w1"))
    job = service.submit(**MIRRORED)
    waits = service.job(job.id).pending
    assert waits.reason == "no_capable_worker"
    assert "make setup EXTRAS=tensorflow" in waits.detail
    assert service.claim(worker("w1")) is None
    assert service.claim(equipped()).job == job.id


def test_a_worker_with_the_library_but_too_few_devices_is_not_capable(service):
    service.claim(equipped(slots=1))
    service.claim(worker("w1", slots=4))
    job = service.submit(**MIRRORED)
    assert service.job(job.id).pending.reason == "no_capable_worker"


def test_a_job_that_nobody_can_run_holds_back_no_other(service, pass_time):
    service.claim(worker("w1"))
    service.submit(**MIRRORED)
    pass_time(4000)
    other = service.submit(**processes(4))
    assert service.claim(worker("w1")).job == other.id


def test_plans_go_where_the_library_is(service):
    with service.database.write() as session:
        task_id = begin_dry_run(session, service.context, spec(**MIRRORED))
    assert service.claim(worker("w1", task_slots=1)) is None
    assert service.claim(equipped(task_slots=1)).task == task_id


def test_plans_that_need_none_go_anywhere(service):
    order = RunOrder(spec=spec(), paths={"run_dir": "/tmp"})
    with service.database.write() as session:
        asking.ask(session, "task_1", "plan", PlanTask(order=order))
    with service.database.write() as session:
        assert tasks.claim(session, worker("w1", task_slots=1)).task == "task_1"


def test_the_catalog_and_the_list_of_workers_say_who_has_it(service, pass_time):
    def shown():
        with service.database.read() as session:
            families = catalog_now(session).families
            listed = {each.id: each.extras for each in workers.list_workers(session).items}
        kinds = {(family.name, kind.kind): kind for family in families for kind in family.kinds}
        return {name: kind.workers for name, kind in kinds.items() if kind.needs_extra}, listed

    needing = [("model", "keras_application"), ("distributed", "mirrored")]
    assert shown() == ({kind: [] for kind in needing}, {})
    service.claim(worker("w1"))
    service.claim(equipped())
    assert shown() == ({kind: ["w2"] for kind in needing}, {"w1": [], "w2": ["tensorflow"]})
    pass_time(61)
    assert shown()[0] == {kind: [] for kind in needing}


@pytest.mark.parametrize("of_torch", [True, False])
def test_a_network_of_the_other_library_is_refused_at_once(service, of_torch):
    earlier, work = service.running(equipped(), **({} if of_torch else MIRRORED))
    service.finish(work)
    model = {"model": {"kind": "checkpoint", "job": earlier}}
    other = {**MIRRORED, **model} if of_torch else model
    with pytest.raises(InvalidSpec) as refused:
        service.submit(**other)
    assert [(each.pointer, each.code) for each in refused.value.errors] == [("/model/job", "other_framework")]
    same = model if of_torch else {**MIRRORED, **model}
    assert service.submit(**same).state == "queued"
