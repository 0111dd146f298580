"""Previews beside other work: they leave a slot to it, and their files go when nobody asks for them any more."""

import os
import time

from sqlalchemy import select

from app.contract.previews import PreviewSpec
from app.services import housekeeping, planning, previews
from app.services.tasks import KEPT_S
from app.store import migrate
from app.store.tables import tasks as table
from tests.support.service import spec, worker

FILES = {name: {"sha256": "a" * 64, "size_bytes": 1} for name in ("grid", "document")}


def ask(service, seed=0):
    with service.database.write() as session:
        body = PreviewSpec.model_validate(PreviewSpec.examples[0] | {"seed": seed})
        return previews.begin_preview(session, service.context, body)


def plan(service):
    with service.database.write() as session:
        return planning.begin_dry_run(session, service.context, spec())


def kept(service):
    with service.database.read() as session:
        return set(session.execute(select(table.c.id)).scalars())


def test_one_slot_of_a_worker_is_not_for_previews(service):
    for seed in range(4):
        ask(service, seed)
    task = plan(service)
    hands = worker(task_slots=3)
    claimed = [service.claim(hands) for _ in range(3)]
    assert [each.order.kind for each in claimed] == ["preview", "preview", "plan"]
    assert claimed[-1].task == task
    assert service.claim(hands) is None
    service.finish_task(claimed[0], result=FILES)
    assert service.claim(hands).order.kind == "preview"


def test_a_long_task_in_one_slot_leaves_the_other_to_previews(service):
    plan(service)
    hands = worker(task_slots=2)
    assert service.claim(hands).order.kind == "plan"
    ask(service)
    assert service.claim(hands).order.kind == "preview"


def test_that_slot_stays_free_while_nothing_else_waits(service):
    for seed in range(3):
        ask(service, seed)
    hands = worker(task_slots=2)
    assert service.claim(hands).order.kind == "preview"
    assert service.claim(hands) is None


def test_the_only_slot_of_a_worker_is_for_everything(service):
    ask(service)
    assert service.claim(worker(task_slots=1)).order.kind == "preview"


def test_folders_of_tasks_that_are_no_more_are_removed(service, pass_time):
    task = ask(service)
    service.finish_task(service.claim(worker(task_slots=1)), result=FILES)
    root = service.database.settings.storage_dir / "tasks"
    for name in (task, "task_forgotten", "task_young"):
        (root / name).mkdir(parents=True)
        (root / name / "file").touch()
    old = time.time() - KEPT_S - 60
    for name in (task, "task_forgotten"):
        os.utime(root / name, (old, old))

    housekeeping.purge(service.database)
    assert {each.name for each in root.iterdir()} == {task, "task_young"}

    pass_time(2 * KEPT_S)
    housekeeping.purge(service.database)
    assert kept(service) == set()
    assert {each.name for each in root.iterdir()} == {"task_young"}


def test_a_preview_that_nobody_began_is_forgotten(service, pass_time):
    ask(service)
    pass_time(2 * KEPT_S)
    housekeeping.purge(service.database)
    assert kept(service) == set()


def test_a_version_without_previews_keeps_the_other_tasks(service, database, database_url):
    ask(service)
    task = plan(service)
    migrate.downgrade(database_url, "0004")
    assert kept(service) == {task}
    migrate.upgrade(database_url)
    assert service.claim(worker(task_slots=1)).task == task
    assert ask(service) in kept(service)
