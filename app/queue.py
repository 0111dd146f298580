"""nudge(): the only place of the service that knows Celery, and of the worker only a task's name.

A message says "there may be work" and nothing else. It is sent by a thread of its own, so that a broker that is down or
slow costs no request anything; several nudges that wait become one. Lost messages are sent again by upkeep.
"""

import logging
import threading
from dataclasses import dataclass, field
from typing import Any

from celery import Celery

TASK = "trainyard.wake"
QUEUE = "trainyard"
CONNECT_TIMEOUT_S = 2
REST_S = 0.05
"""Between two messages: a message takes 3 ms of CPU, and a burst of submits needs one, not one each."""

EXPIRES_S = 60
"""A worker that was away for a minute asks by itself: old messages must not pile up for it."""

log = logging.getLogger(__name__)


@dataclass
class Nudger:
    """Sends nudges to one broker. Made once a process; thread-safe."""

    broker_url: str
    sent: int = 0
    failed: int = 0
    broken: bool = False
    _wanted: threading.Event = field(default_factory=threading.Event, repr=False)
    _ended: threading.Event = field(default_factory=threading.Event, repr=False)
    _thread: threading.Thread | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def nudge(self) -> None:
        """Tell a worker that there may be work. Returns at once and never raises."""
        with self._lock:
            if self._thread is None and not self._ended.is_set():
                self._thread = threading.Thread(target=self._run, name="nudge", daemon=True)
                self._thread.start()
        self._wanted.set()

    def close(self) -> None:
        """Stop the thread; a message that is being sent is waited for."""
        with self._lock:
            self._ended.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(2 * CONNECT_TIMEOUT_S)

    def _run(self) -> None:
        app = make_celery(self.broker_url)
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._ended.is_set():
                app.close()
                return
            self._send(app)
            self._ended.wait(REST_S)

    def _send(self, app: Any) -> None:
        try:
            app.send_task(TASK, queue=QUEUE, expires=EXPIRES_S, ignore_result=True, retry=False)
        except Exception as error:  # noqa: BLE001  (whatever a broker library raises: the row is the truth)
            self.failed += 1
            if not self.broken:
                log.warning("the broker does not answer: %s", error)
            self.broken = True
        else:
            if self.broken:
                log.info("the broker answers again")
            self.broken = False
            self.sent += 1


def make_celery(broker_url: str) -> Celery:
    """A client that only sends. The settings and their reasons stand in docs/architecture.md."""
    app = Celery("trainyard", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_default_queue=QUEUE,
        broker_connection_timeout=CONNECT_TIMEOUT_S,
        broker_transport_options={
            "socket_timeout": CONNECT_TIMEOUT_S,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "socket_keepalive": True,
            "max_retries": 0,
        },
    )
    return app


class _Current:
    """The nudger of this process, or none: tools that only read need no broker."""

    nudger: Nudger | None = None


def connect(broker_url: str) -> Nudger:
    """Use this broker from now on. Opens no connection yet."""
    disconnect()
    _Current.nudger = Nudger(broker_url)
    return _Current.nudger


def disconnect() -> None:
    """Forget the broker."""
    if _Current.nudger is not None:
        _Current.nudger.close()
    _Current.nudger = None


def nudge() -> None:
    """Tell a worker that there may be work, through the broker of `connect`. Returns at once and never raises."""
    if _Current.nudger is not None:
        _Current.nudger.nudge()


def is_broken() -> bool:
    """Whether the last message could not be sent: readiness is then `degraded`."""
    return _Current.nudger is not None and _Current.nudger.broken
