"""Submit, change, delete, retry, clone."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from app.contract.states import JobState
from app.errors import Conflict, InvalidSpec, KeyReused, NotFound, PreconditionFailed
from app.services.again import merged_patch
from app.store.tables import job_labels, jobs, metadata
from tests.support.service import SHA256, checkpoint, metrics

MODEL = {"name": "model.safetensors", "path": "artifacts/model.safetensors", "size_bytes": 3, "sha256": SHA256}


def count(database, table=jobs):
    with database.read() as session:
        return session.execute(select(func.count()).select_from(table)).scalar_one()


def test_a_hundred_equal_posts_at_once_make_one_job(service, database):
    start = threading.Barrier(10)

    def post(_):
        start.wait()
        return {service.submit(key="k").id for _ in range(10)}

    with ThreadPoolExecutor(10) as pool:
        ids = set().union(*pool.map(post, range(10)))
    assert len(ids) == count(database) == 1


def test_the_same_key_with_another_body_is_refused_and_stores_nothing(service, database):
    service.submit(key="k", body="one")
    with pytest.raises(KeyReused):
        service.submit(key="k", body="two")
    assert count(database) == 1


def test_a_refused_spec_leaves_its_key_free(service):
    with pytest.raises(InvalidSpec):
        service.submit(key="k", dataset={"kind": "folder", "path": "none"})
    assert service.submit(key="k").state == JobState.QUEUED


def test_the_stored_spec_has_its_defaults_written_out(service):
    job = service.submit()
    assert job.name == "resnet10t on digits"
    assert [each.kind for each in job.spec.augment] == ["resize", "normalize"]


def test_reading_a_job_that_runs_is_one_statement(service, database, statements_of):
    job, _ = service.running()
    with statements_of(database) as statements:
        service.job(job)
    assert len([each for each in statements if not each.startswith("BEGIN")]) == 1


def test_a_patch_changes_what_it_names_and_moves_the_version(service, database):
    job = service.submit(name="a", labels={"x": "1", "y": "2"})
    changed = service.patch(job.id, {"labels": {"x": None, "z": "3"}, "priority": 7})
    assert (changed.name, changed.labels, changed.priority) == ("a", {"y": "2", "z": "3"}, 7)
    assert changed.version == job.version + 1
    assert count(database, job_labels) == 2
    assert service.events(job.id)[-1] == ("updated", {"fields": ["labels", "priority"]})


def test_null_puts_the_default_back(service):
    job = service.submit(name="a", labels={"x": "1"}, priority=3)
    changed = service.patch(job.id, {"name": None, "labels": None, "priority": None})
    assert (changed.name, changed.labels, changed.priority) == ("resnet10t on digits", {}, 0)


def test_a_patch_for_an_old_version_is_refused(service):
    job = service.submit()
    service.patch(job.id, {"name": "b"}, if_match=job.version)
    with pytest.raises(PreconditionFailed):
        service.patch(job.id, {"name": "c"}, if_match=job.version)
    assert service.job(job.id).name == "b"


@pytest.mark.parametrize("patch", [{"state": "running"}, {"labels": {"a b": "x"}}, {"priority": "high"}])
def test_a_patch_that_cannot_be_meant_is_refused(service, patch):
    with pytest.raises(InvalidSpec):
        service.patch(service.submit().id, patch)


def test_priority_of_a_queued_job_moves_it_in_the_queue(service):
    _, second = service.submit(), service.submit()
    assert service.patch(second.id, {"priority": 1}).pending.position == 1
    assert service.claim().job == second.id


def test_a_deleted_job_leaves_no_row_and_no_file(service, database):
    job, work = service.running(labels={"a": "b"})
    service.report(work, checkpoint(), metrics(1, 1.0))
    folder = database.settings.attempt_dir(job, 1)
    folder.mkdir(parents=True)
    service.finish(work, artifacts=[MODEL])
    service.delete(job)
    assert not database.settings.job_dir(job).exists()
    with pytest.raises(NotFound):
        service.job(job)
    kept = {"workers", "metric_sets", "metric_series", "metric_points", "metric_buckets"}
    assert {table.name for table in metadata.sorted_tables if count(database, table)} <= kept


def test_a_job_that_is_not_over_is_not_deleted(service):
    with pytest.raises(Conflict) as refused:
        service.delete(service.submit().id)
    assert refused.value.state == "queued"


def heir_of(job):
    return {"model": {"kind": "checkpoint", "job": job}}


def pupil_of(job):
    return {"compression": [{"kind": "saved_activations"}, {"kind": "distillation", "job": job}]}


BUILDS_ON = pytest.mark.parametrize(
    ("builds_on", "pointer"), [(heir_of, "/model/job"), (pupil_of, "/compression/1/job")], ids=["heir", "pupil"]
)


@BUILDS_ON
def test_a_job_is_kept_while_another_one_builds_on_it(service, builds_on, pointer):
    job, work = service.running()
    service.finish(work, artifacts=[MODEL])
    heir = service.submit(**builds_on(job))
    with pytest.raises(Conflict):
        service.delete(job)
    service.cancel(heir.id)
    service.delete(job)


def test_a_model_of_an_earlier_job_is_found_by_the_claim(service, database):
    job, work = service.running()
    service.finish(work, artifacts=[MODEL])
    service.submit(model={"kind": "checkpoint", "job": job})
    order = service.claim().order
    assert order.paths.model == str(database.settings.attempt_dir(job, 1) / "artifacts")


def test_a_teacher_is_found_by_the_claim(service, database):
    job, work = service.running()
    service.finish(work, artifacts=[MODEL])
    service.submit(**pupil_of(job))
    paths = service.claim().order.paths
    assert paths.teacher == str(database.settings.attempt_dir(job, 1) / "artifacts")
    assert paths.model is None


@BUILDS_ON
def test_only_a_succeeded_job_leaves_a_model(service, builds_on, pointer):
    gone, work = service.running()
    service.finish(work, artifacts=[MODEL])
    service.delete(gone)
    unfinished = service.submit().id
    for job, code in (("job_none", "unknown_job"), (gone, "unknown_job"), (unfinished, "job_not_succeeded")):
        with pytest.raises(InvalidSpec) as refused:
            service.submit(**builds_on(job))
        assert [(each.pointer, each.code) for each in refused.value.errors] == [(pointer, code)]


def test_a_retry_is_a_new_job_that_goes_on_from_the_last_checkpoint(service, database):
    job, work = service.running(name="mine", labels={"a": "b"})
    service.save(work, step=7)
    service.finish(work, "failed", "timeout")
    again = service.retry(job)
    assert (again.state, again.cloned_from, again.name, again.labels) == (JobState.QUEUED, job, "mine", {"a": "b"})
    assert service.claim().order.paths.resume.endswith(f"{job}/attempts/1/checkpoints/training-00000007")
    assert service.job(job).state == JobState.FAILED


def test_a_retry_of_a_retry_without_checkpoints_goes_on_from_the_first(service):
    job, work = service.running()
    service.save(work)
    service.finish(work, "failed", "timeout")
    second = service.retry(job)
    service.finish(service.claim(), "failed", "timeout")
    service.retry(second.id)
    assert f"{job}/attempts/1/" in service.claim().order.paths.resume


def test_a_job_that_is_not_over_is_not_retried(service):
    with pytest.raises(Conflict):
        service.retry(service.submit().id)


def test_a_clone_takes_a_merge_patch_and_begins_anew(service):
    job, work = service.running()
    service.save(work)
    twin = service.clone(job, {"training": {"epochs": 3}, "name": "twin"})
    assert (twin.spec.training.epochs, twin.spec.training.batch_size, twin.name) == (3, 64, "twin")
    assert twin.cloned_from == job
    assert service.claim().order.paths.resume is None


def test_a_clone_whose_result_is_no_spec_is_refused_with_pointers(service):
    job = service.submit().id
    for patch, pointer in (
        ({"training": {"epochs": 0}}, "/training/epochs"),
        ({"dataset": None}, "/dataset"),
        ({"augment": [{"kind": "random_flip", "probability": 3}]}, "/augment/0/probability"),
        ({"extra": 1}, "/extra"),
        ({"extra": None}, "/extra"),
    ):
        with pytest.raises(InvalidSpec) as refused:
            service.clone(job, patch)
        assert [each.pointer for each in refused.value.errors] == [pointer]


@pytest.mark.parametrize(("target", "patch", "expected"), [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}), ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}), ({"a": ["b"]}, {"a": "c"}, {"a": "c"}), ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}), ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}), ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
])  # fmt: skip
def test_merge_patches_do_what_rfc_7396_shows(target, patch, expected):
    assert merged_patch(target, patch) == expected
