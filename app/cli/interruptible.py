"""Waiting that Ctrl-C ends, whenever it comes."""

from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Thread
from typing import TypeVar

T = TypeVar("T")

LOOK_UP_S = 0.5


def interruptibly(call: Callable[[], T]) -> T:
    """What `call` returns or raises; a Ctrl-C raises `KeyboardInterrupt` here within half a second.

    A signal that comes between Python's last look and the system call that waits is noticed only when that call
    returns: for a long poll, up to 25 s later. So the call waits in a thread of its own, and this one looks up now and
    then. A call that is left behind ends with the process.
    """
    answer: Future[T] = Future()
    Thread(target=_settle, args=(answer, call), daemon=True).start()
    while not wait([answer], LOOK_UP_S).done:
        pass
    return answer.result()


def _settle(answer: "Future[T]", call: Callable[[], T]) -> None:
    try:
        answer.set_result(call())
    except Exception as error:  # noqa: BLE001 - raised again where the answer is awaited
        answer.set_exception(error)
