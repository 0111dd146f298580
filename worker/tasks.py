"""What Celery runs here: one task, and what happens when its process begins and ends."""

import logging
from typing import Any

from celery import signals

from worker import drain, logs
from worker.celery_app import WAKE, app
from worker.claiming import Claiming
from worker.settings import WorkerSettings
from worker.warm.keeper import Keeper

log = logging.getLogger(__name__)

_claiming: list[Claiming] = []  # the one of this process, once it has begun
_keeper: list[Keeper] = []  # the same


@app.task(name=WAKE, ignore_result=True)
def wake() -> None:
    """There may be work: let the claiming thread ask. Returns at once, so that nudges never pile up."""
    if not _claiming:
        raise RuntimeError("this process claims nothing: run the worker with --pool solo or --pool threads")
    _claiming[0].nudge()


@signals.setup_logging.connect
def _set_up_logs(**_: Any) -> None:
    settings = WorkerSettings()
    logs.set_up(settings.log_format, worker=settings.worker_id)


@signals.celeryd_after_setup.connect
def _begin(**_: Any) -> None:
    """Before the first connection to the broker, not at `worker_ready` behind it: the broker may be down."""
    settings = WorkerSettings()
    _claiming.append(Claiming(settings))
    _claiming[0].start()
    if settings.warms:
        _keeper.append(Keeper(settings))
        _keeper[0].start()


@signals.worker_shutting_down.connect
def _end(**_: Any) -> None:
    """Sent by the signal handler, once per signal: only the first counts."""
    if _claiming and not _claiming[0].stopping:
        _claiming[0].stop()
        for keeper in _keeper:
            keeper.stop()
        drain.begin(WorkerSettings(), _claiming[0])
