"""Writes `help.txt` anew after a wished change of the command line: `python tests/app/cli/renew_help.py`."""

from test_commands import SNAPSHOT, whole_help

SNAPSHOT.write_text(whole_help(), "utf-8")
