"""Background tasks: plans and imports, claimed, held, lost, finished; and the data sets that imports make ready."""

import pytest

from app.contract.data import Folder
from app.contract.datasets import DatasetSource, DatasetSpec
from app.contract.failures import FailureCode, failure
from app.errors import Conflict, Fenced, InvalidQuery, InvalidSpec, NotFound, ServiceUnavailable
from app.services import asking, datasets, housekeeping, planning, tasks
from app.services.tasks import MAX_TRIES
from app.store import tasks as task_rows
from tests.support.service import FACTS, SHA256, spec, worker

COST = {"parameters": 1, "macs": 1, "weights_bytes": 4}
PLAN = {
    "before": COST, "after": COST, "train_images": 1, "validation_images": 1, "image_size": [32, 32],
    "steps_per_epoch": 1, "memory_bytes": 1,
}  # fmt: skip
HANDS = worker(task_slots=1)


@pytest.fixture
def folder(database):
    path = database.settings.roots[0] / "pets"
    for name in ("cats", "dogs"):
        (path / name).mkdir(parents=True)
        (path / name / "1.png").touch()
    return path


@pytest.fixture
def dataset(service, folder):
    with service.database.write() as session:
        return datasets.add(session, service.context, _named("pets"))


def _named(name):
    return DatasetSpec(name=name, source=DatasetSource(path="pets"))


def get(service, dataset):
    with service.database.read() as session:
        return datasets.get(session, dataset.id)


def begin(service, **more):
    with service.database.write() as session:
        return planning.begin_dry_run(session, service.context, spec(**more))


def why_not_yet(service, task):
    with service.database.read() as session:
        return asking.why_not_yet(session, task, "planning the job", 20)


def result(service, task):
    with service.database.read() as session:
        return planning.plan_result(session, task)


def reap(service, pass_time):
    pass_time(61)
    service.reap()


def test_a_plan_is_claimed_before_jobs_and_answers_the_dry_run(service):
    service.submit()
    task = begin(service)
    assert result(service, task) is None
    work = service.claim(HANDS)
    assert (work.type, work.task, work.order.kind) == ("task", task, "plan")
    service.finish_task(work, result=PLAN)
    found = result(service, task)
    assert found.plan.steps_per_epoch == 1
    assert found.spec == spec().resolved()


def test_a_worker_gets_no_more_tasks_than_it_has_slots(service):
    begin(service)
    begin(service, name="another")
    assert service.claim(HANDS) is not None
    assert service.claim(HANDS) is None
    assert service.claim(worker("w2", task_slots=0)) is None


@pytest.mark.parametrize(("code", "error"), [
    (FailureCode.BAD_SPEC, InvalidSpec), (FailureCode.BAD_DATASET, InvalidSpec),
    (FailureCode.CRASHED, ServiceUnavailable),
])  # fmt: skip
def test_a_plan_that_failed_says_so(service, code, error):
    task = begin(service)
    service.finish_task(service.claim(HANDS), failure=failure(code, "It does not fit."))
    with pytest.raises(error, match="It does not fit"):
        result(service, task)


def test_asking_again_finds_the_plan_that_is_being_made(service, pass_time):
    task = begin(service)
    assert begin(service) == task
    work = service.claim(HANDS)
    assert "No worker" not in why_not_yet(service, task)
    assert begin(service) == task
    assert service.claim(worker("w2", task_slots=1)) is None  # one task, however often it was asked for
    service.finish_task(work, result=PLAN)
    pass_time(60)
    assert begin(service) == task
    assert result(service, task).plan.steps_per_epoch == 1
    pass_time(asking.RESULT_KEPT_S)
    assert result(service, begin(service)) is None


def test_a_refusal_is_repeated_to_who_asks_again_at_once_and_looked_at_anew_later(service, pass_time):
    task = begin(service)
    service.finish_task(service.claim(HANDS), failure=failure(FailureCode.BAD_DATASET, "It is empty."))
    with pytest.raises(InvalidSpec):
        result(service, begin(service))
    pass_time(asking.REFUSAL_KEPT_S + 1)
    assert (begin(service), result(service, task)) == (task, None)


def test_planning_that_failed_by_itself_is_tried_again_at_once(service):
    task = begin(service)
    service.finish_task(service.claim(HANDS), failure=failure(FailureCode.CRASHED, "It died."))
    assert (begin(service), result(service, task)) == (task, None)
    assert service.claim(HANDS).task == task


def test_specs_that_differ_are_planned_apart(service):
    assert len({begin(service), begin(service, name="b"), begin(service, training={"epochs": 3})}) == 3


def test_a_repeated_finish_changes_nothing_and_another_token_is_fenced(service):
    begin(service)
    work = service.claim(HANDS)
    service.finish_task(work, result=PLAN)
    service.finish_task(work, result=PLAN)
    with pytest.raises(Fenced):
        service.finish_task(work.model_copy(update={"token": "forged"}), result=PLAN)


def test_heartbeats_keep_a_task(service, pass_time):
    begin(service)
    work = service.claim(HANDS)
    for _ in range(3):
        pass_time(40)
        with service.database.write() as session:
            tasks.heartbeat(session, work.task, work.token)
        service.reap()
    service.finish_task(work, result=PLAN)


def test_a_task_of_a_lost_worker_is_given_out_again_and_in_the_end_fails(service, pass_time, dataset):
    for _ in range(MAX_TRIES):
        work = service.claim(HANDS)
        assert work.task
        reap(service, pass_time)
        with pytest.raises(Fenced):
            service.finish_task(work, result=FACTS)
    assert service.claim(HANDS) is None
    found = get(service, dataset)
    assert (found.state, found.failure.code) == ("failed", FailureCode.LOST_WORKER)


def test_a_result_of_the_wrong_shape_is_refused(service):
    begin(service)
    work = service.claim(HANDS)
    for wrong in (None, {}, {"plan": 1}):
        with pytest.raises(InvalidSpec):
            service.finish_task(work, result=wrong)


def test_old_results_are_removed_and_waiting_imports_are_kept(service, pass_time, dataset):
    task = begin(service)
    pass_time(7200)
    housekeeping.purge(service.database)
    with service.database.read() as session:
        assert task_rows.find(session, task) is None
    assert service.claim(HANDS).order.kind == "import"


def test_a_data_set_becomes_ready_with_what_the_import_found(service, dataset, folder):
    assert dataset.state == "importing"
    work = service.claim(HANDS)
    assert (work.order.kind, work.order.path, work.order.source) == ("import", str(folder), Folder(path="pets"))
    service.finish_task(work, result=FACTS)
    found = get(service, dataset)
    assert (found.state, found.facts.classes) == ("ready", {"cats": 1, "dogs": 1})


def test_a_data_set_that_cannot_be_used_says_why(service, dataset):
    told = failure(FailureCode.BAD_DATASET, "Half of it is broken.")
    service.finish_task(service.claim(HANDS), failure=told)
    found = get(service, dataset)
    assert (found.state, found.failure.message) == ("failed", "Half of it is broken.")


def test_a_job_needs_a_data_set_that_is_ready_and_gets_its_folder_and_hash(service, dataset, folder):
    registered = {"kind": "registered", "id": dataset.id}
    for data, code in ((registered, "dataset_not_ready"), (registered | {"id": "ds_none"}, "unknown_dataset")):
        with pytest.raises(InvalidSpec) as refused:
            service.submit(dataset=data)
        assert [(each.pointer, each.code) for each in refused.value.errors] == [("/dataset/id", code)]
    service.finish_task(service.claim(HANDS), result=FACTS)
    service.submit(dataset=registered)
    paths = service.claim().order.paths
    assert (paths.dataset, paths.dataset_sha256) == (str(folder), SHA256)


def test_a_data_set_in_use_is_not_deleted(service, dataset):
    service.finish_task(service.claim(HANDS), result=FACTS)
    job = service.submit(dataset={"kind": "registered", "id": dataset.id})
    with pytest.raises(Conflict), service.database.write() as session:
        datasets.delete(session, dataset.id)
    service.cancel(job.id)
    with service.database.write() as session:
        datasets.delete(session, dataset.id)
    with pytest.raises(NotFound):
        get(service, dataset)


def test_deleting_a_data_set_fences_its_import(service, dataset):
    work = service.claim(HANDS)
    with service.database.write() as session:
        datasets.delete(session, dataset.id)
    with pytest.raises(Fenced):
        service.finish_task(work, result=FACTS)


def test_data_sets_are_listed_newest_first_page_by_page(service, folder):
    with service.database.write() as session:
        made = [datasets.add(session, service.context, _named(f"d{n}")).id for n in range(5)]
    seen, cursor = [], None
    while True:
        with service.database.read() as session:
            page = datasets.list_datasets(session, 2, cursor)
        seen += [each.id for each in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(seen) == sorted(made)
    with service.database.read() as session, pytest.raises(InvalidQuery):
        datasets.list_datasets(session, 2, "x")


def test_a_folder_that_a_listing_refuses_is_not_registered(service):
    with service.database.write() as session, pytest.raises(InvalidSpec) as refused:
        datasets.add(session, service.context, _named("none"))
    assert refused.value.errors[0].pointer == "/source/path"
