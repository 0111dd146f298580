"""What befalls a process that waits at a fault point. Each trouble lets it go again, and mends what it broke."""

import os
import signal
import time
from collections.abc import Callable

from app.contract.faults import Point
from tests.faults.yard import LEASE_S, Yard

AWAY_S = 2.0
PAUSE_S = 1.5 * LEASE_S


def killed(yard: Yard, point: Point, pid: int) -> None:
    """SIGKILL, as the kernel does it when memory is short."""
    os.kill(pid, signal.SIGKILL)
    yard.let_go(point)


def paused(yard: Yard, point: Point, pid: int) -> None:
    """All of the process stands still for longer than a lease, as a host does that swaps or is migrated."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(PAUSE_S)
    yard.let_go(point)
    os.kill(pid, signal.SIGCONT)


def database_lost(yard: Yard, point: Point, pid: int) -> None:
    """The database is away when the process goes on, and comes back."""
    yard.store.lose()
    try:
        yard.let_go(point)
        time.sleep(AWAY_S)
    finally:
        yard.store.restore()


def broker_lost(yard: Yard, point: Point, pid: int) -> None:
    """The broker is killed and has lost every message when it comes back."""
    yard.held.add("broker")
    yard.wipe_broker()
    yard.let_go(point)
    time.sleep(AWAY_S)
    yard.held.discard("broker")


def disk_full(yard: Yard, point: Point, pid: int) -> None:
    """No byte is left under the home, the data and the temporary files when the process goes on."""
    for disk in yard.disks:
        disk.fill()
    try:
        yard.let_go(point)
        time.sleep(AWAY_S)
    finally:
        for disk in yard.disks:
            disk.free()


TROUBLES: dict[str, Callable[[Yard, Point, int], None]] = {
    "killed": killed,
    "paused": paused,
    "database_lost": database_lost,
    "broker_lost": broker_lost,
    "disk_full": disk_full,
}
