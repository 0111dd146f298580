"""An interrupt reaches whoever waits, also one that no system call of the main thread notices."""

import subprocess
import sys

import pytest

from app.cli.interruptible import interruptibly

# The signal is given to another thread, so that the main one is not woken by it: what the unlucky moment amounts to.
UNNOTICED = """
import signal, threading, time
from app.cli.interruptible import interruptibly

def interrupt():
    time.sleep(0.5)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
try:
    interruptibly(lambda: time.sleep(600))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_that_wakes_no_system_call_ends_the_wait() -> None:
    done = subprocess.run([sys.executable, "-c", UNNOTICED], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "interrupted\n", done.stderr


def test_the_answer_is_the_calls() -> None:
    assert interruptibly(lambda: 7) == 7


def test_what_the_call_raises_is_raised() -> None:
    def fail() -> None:
        raise TimeoutError("late")

    with pytest.raises(TimeoutError, match="late"):
        interruptibly(fail)
