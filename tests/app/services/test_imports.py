"""Imports: revisions of a name, how far one is, what becomes of one that is killed, and whose files stay."""

import threading
from pathlib import Path

import pytest

from app.contract.datasets import DatasetSource, DatasetSpec, ImportProgress
from app.contract.failures import FailureCode, failure
from app.errors import Fenced
from app.services import datasets, tasks
from app.services.tasks import MAX_TRIES
from tests.support.service import FACTS, SHA256, worker

HANDS = worker(task_slots=4)
KILLED = failure(FailureCode.CRASHED, "It ended by SIGKILL.")


@pytest.fixture
def add(service, database):
    for name in ("cats", "dogs"):
        (database.settings.roots[0] / "pets" / name).mkdir(parents=True)
        (database.settings.roots[0] / "pets" / name / "1.png").touch()

    def register(name="pets"):
        spec = DatasetSpec(name=name, source=DatasetSource(path="pets"))
        with database.write() as session:
            return datasets.add(session, service.context, spec)

    return register


@pytest.fixture
def get(database):
    def read(dataset):
        with database.read() as session:
            return datasets.get(session, dataset.id)

    return read


@pytest.fixture
def delete(database):
    def forget(dataset):
        with database.write() as session:
            datasets.delete(session, dataset.id)

    return forget


def beat(service, work, progress=None):
    with service.database.write() as session:
        tasks.heartbeat(session, work.task, work.token, progress)


def left_behind(work, name="files.csv"):
    """What a try's program writes."""
    folder = Path(work.order.results)
    folder.mkdir(parents=True)
    (folder / name).write_text("path")
    return folder


def test_the_same_name_again_makes_the_next_revision_and_no_number_comes_twice(add, delete, get):
    first, other, second = add(), add("birds"), add()
    assert [each.revision for each in (first, other, second)] == [1, 1, 2]
    assert first.id != second.id
    delete(second)
    assert add().revision == 3
    assert get(first).revision == 1


def test_revisions_made_at_once_are_numbered_without_a_gap(add):
    made = []
    threads = [threading.Thread(target=lambda: made.append(add().revision)) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(made) == list(range(1, 9))


def test_the_list_shows_the_revisions_of_a_name(add, database):
    first, _, second = add(), add("pets2"), add()
    with database.read() as session:
        page = datasets.list_datasets(session, 1, None, "pets")
        rest = datasets.list_datasets(session, 5, page.next_cursor, "pets")
    assert {each.id for each in page.items + rest.items} == {first.id, second.id}
    assert rest.next_cursor is None


def test_an_import_tells_how_far_it_is_until_it_is_over(service, add, get):
    dataset = add()
    assert get(dataset).progress is None
    work = service.claim(HANDS)
    for seen in (0, 40, 80):
        beat(service, work, ImportProgress(files_seen=seen, files=100))
        assert get(dataset).progress.files_seen == seen
    beat(service, work)
    assert get(dataset).progress.files_seen == 80  # a heartbeat that knows nothing takes nothing back
    service.finish_task(work, result=FACTS)
    assert get(dataset).progress is None


def test_each_try_writes_to_a_folder_of_its_own_and_only_the_last_ones_stays(service, add, get, pass_time, database):
    dataset = add()
    first = service.claim(HANDS)
    lost = left_behind(first)
    pass_time(61)
    service.reap()
    second = service.claim(HANDS)
    kept = left_behind(second)
    assert lost != kept
    with pytest.raises(Fenced):
        service.finish_task(first, result=FACTS)
    service.finish_task(second, result=FACTS)
    assert get(dataset).state == "ready"
    assert [each.name for each in kept.parent.iterdir()] == [kept.name]
    assert kept == database.settings.check_dir(dataset.id, 2)


def test_an_import_that_is_killed_is_begun_anew_and_in_the_end_told(service, add, get):
    dataset = add()
    for _ in range(MAX_TRIES - 1):
        work = service.claim(HANDS)
        beat(service, work, ImportProgress(files_seen=9, files=10))
        service.finish_task(work, failure=KILLED)
        assert (get(dataset).state, get(dataset).progress) == ("importing", None)
        with pytest.raises(Fenced):
            beat(service, work)
    service.finish_task(service.claim(HANDS), failure=KILLED)
    assert (get(dataset).state, get(dataset).failure.code) == ("failed", FailureCode.CRASHED)
    assert service.claim(HANDS) is None


def test_a_killed_import_ends_right_when_it_is_done_again(service, add, get):
    dataset = add()
    service.finish_task(service.claim(HANDS), failure=KILLED)
    service.finish_task(service.claim(HANDS), result=FACTS)
    assert (get(dataset).state, get(dataset).failure) == ("ready", None)


def test_a_set_that_is_refused_is_not_tried_again(service, add, get):
    dataset = add()
    service.finish_task(service.claim(HANDS), failure=failure(FailureCode.BAD_DATASET, "It is broken."))
    assert get(dataset).state == "failed"


def test_deleting_ends_the_import_and_leaves_nothing(service, add, delete, database):
    dataset = add()
    work = service.claim(HANDS)
    left_behind(work)
    delete(dataset)
    assert not database.settings.checks_dir(dataset.id).exists()
    with pytest.raises(Fenced):
        beat(service, work)
    assert service.claim(HANDS) is None


def test_two_imports_of_one_folder_share_nothing(service, add, get):
    one, two = add(), add()
    works = [service.claim(HANDS), service.claim(HANDS)]
    assert len({work.order.results for work in works}) == 2
    for work in works:
        service.finish_task(work, result=FACTS)
    assert {get(one).state, get(two).state} == {"ready"}


def test_a_job_says_what_it_trains_on(service, add):
    dataset = add()
    service.finish_task(service.claim(HANDS), result=FACTS)
    job, work = service.running(dataset={"kind": "registered", "id": dataset.id})
    assert service.job(job).dataset_sha256 == SHA256
    assert work.order.paths.dataset_files.endswith(f"checks/{dataset.id}/1/files.csv")
    other, work = service.running()
    assert service.job(other).dataset_sha256 is None
    read = {"type": "data", "dataset_sha256": "b" * 64, "train_images": 8, "validation_images": 2}
    service.report(work, read)
    assert service.job(other).dataset_sha256 == "b" * 64
    about = {"attempt": 1, "dataset_sha256": "b" * 64, "train_images": 8, "validation_images": 2}
    assert ("data", about) in service.events(other)


def test_lists_carry_short_facts(service, add, get, database):
    dataset = add()
    many = {f"class {number}": 1 for number in range(10_000)}
    refused = [{"name": f"{number}", "reason": "is empty"} for number in range(50)]
    service.finish_task(
        service.claim(HANDS), result=FACTS | {"classes": many, "class_count": 10_000, "refused": refused}
    )
    assert len(get(dataset).facts.classes) == 10_000
    with database.read() as session:
        (listed,) = datasets.list_datasets(session, 10, None).items
    assert (len(listed.facts.classes), listed.facts.class_count, len(listed.facts.refused)) == (100, 10_000, 10)


def test_facts_of_an_older_version_are_still_shown(service, add, get):
    dataset = add()
    older = {name: value for name, value in FACTS.items() if name != "class_count"}
    service.finish_task(service.claim(HANDS), result=older)
    assert get(dataset).facts.class_count == 2
