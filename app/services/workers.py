"""The hosts that take jobs: what they have, what runs on it, whether they are there."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.contract.views import Worker, WorkerDevice, WorkerList
from app.contract.work import Device
from app.store import attempts, workers
from app.store.queue import Room
from app.store.types import moment

FORGET_AFTER_S = 7 * 86_400


@dataclass(frozen=True)
class Capacity:
    """The devices of a host that is alive, and the indices of those in use."""

    devices: tuple[Device, ...]
    used: frozenset[int]
    extras: tuple[str, ...] = ()

    def total(self, needs_gpu: bool) -> int:
        """Devices of the kind that a job would get here."""
        return len(self._of_kind(needs_gpu))

    def free(self, needs_gpu: bool) -> int:
        """How many of those nobody holds."""
        return sum(device.index not in self.used for device in self._of_kind(needs_gpu))

    def rooms(self) -> list[Room]:
        """What may be claimed here: GPUs where there are any, else CPU slots. One job runs on one kind."""
        is_gpu = self._has_gpus
        return [Room(self.free(is_gpu), self.total(is_gpu), is_gpu, self.extras)] if self.devices else []

    def take(self, count: int) -> tuple[Device, ...]:
        """The first free devices."""
        free = [device for device in self._of_kind(self._has_gpus) if device.index not in self.used]
        return tuple(free[:count])

    @property
    def _has_gpus(self) -> bool:
        return any(device.kind == "cuda" for device in self.devices)

    def _of_kind(self, needs_gpu: bool) -> list[Device]:
        wanted = "cuda" if needs_gpu or self._has_gpus else "cpu"
        return [device for device in self.devices if device.kind == wanted]


def capacities(session: Session) -> list[Capacity]:
    """Of all hosts that are alive."""
    used: dict[str, set[int]] = {}
    for worker, index in attempts.reservations_of_all(session):
        used.setdefault(worker, set()).add(index)
    alive = [row for row in workers.everyone(session) if row.alive]
    return [Capacity(_devices(row), frozenset(used.get(row.id, ())), tuple(row.extras or ())) for row in alive]


def having(session: Session, extra: str) -> list[str]:
    """The ids of all hosts that are alive and have this optional library."""
    return [row.id for row in workers.everyone(session) if row.alive and extra in (row.extras or ())]


def _devices(row: Row[Any]) -> tuple[Device, ...]:
    """Checked when they were stored."""
    return tuple(Device.model_construct(**device) for device in row.devices)


def list_workers(session: Session) -> WorkerList:
    """All known hosts, by id."""
    held = attempts.reservations_of_all(session)
    items = []
    for row in workers.everyone(session):
        devices = [WorkerDevice(**device, job=held.get((row.id, device["index"]))) for device in row.devices]
        items.append(
            Worker(
                id=row.id,
                host=row.host,
                state="alive" if row.alive else "lost",
                last_seen_at=moment(row.last_seen_at),
                devices=devices,
                versions=row.versions,
                extras=row.extras or [],
            )
        )
    return WorkerList(items=items)


def forget_lost(session: Session) -> None:
    """Drop hosts that were not seen for a week and hold nothing."""
    workers.forget(session, FORGET_AFTER_S)
