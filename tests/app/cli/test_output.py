"""Tables on a terminal: whatever its width, an id can be copied from it."""

import os
import pty
import subprocess
import sys

import pytest

ID = "job_01m7z89072c84027rc1bhcmscg"
PROGRAM = f"""
from app.cli.output import print_table
row = ("{ID}", "resnet18 on digits with a long name", "succeeded", "100%", "0.9731", "3 min 05 s ago")
print_table(("id", "name", "state", "done >", "val/accuracy >", "created >"), [row])
"""


@pytest.mark.parametrize("columns", [200, 80, 60, 40, 20])
def test_an_id_is_never_cut_or_folded(columns):
    ours, its = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm"}
    program = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=its, env=environment)
    os.close(its)
    assert program.wait() == 0
    assert ID in _read(ours)


def _read(terminal):
    found = b""
    try:
        while piece := os.read(terminal, 4096):
            found += piece
    except OSError:  # what Linux says of a terminal whose other side is closed
        pass
    finally:
        os.close(terminal)
    return found.decode()
