"""Log lines of the worker's own processes."""

import json
import logging
import sys

from worker.log_merge import OWN_LINE
from worker.logs import JsonFormatter, TextFormatter


def _record(error=None):
    return logging.LogRecord("worker.x", logging.WARNING, "f", 1, "a %s", ("message",), error)


def test_a_text_line_is_one_that_the_log_of_an_attempt_understands():
    match = OWN_LINE.fullmatch(TextFormatter().format(_record()))

    assert (match["level"], match["message"]) == ("WARNING", "a message")


def test_a_json_line_says_what_the_process_is():
    line = json.loads(JsonFormatter(worker="w").format(_record()))

    assert line.pop("time").endswith("Z")
    assert line == {"level": "warning", "logger": "worker.x", "message": "a message", "worker": "w"}


def test_a_traceback_is_part_of_its_json_line():
    try:
        raise KeyError("cause")
    except KeyError:
        line = json.loads(JsonFormatter().format(_record(sys.exc_info())))

    assert "KeyError: 'cause'" in line["traceback"]
