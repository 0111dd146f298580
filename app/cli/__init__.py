"""The command line: `trainyard`. It talks to the service over HTTP and starts everything else as processes."""

import sys


def main() -> None:
    """The console script. Errors that a user can act on are one block on stderr; exit codes stand in `exits`."""
    from app.cli.commands import cli
    from app.cli.exits import CommandFailed

    try:
        cli(prog_name="trainyard")
    except CommandFailed as failed:
        print(f"trainyard: {failed}", file=sys.stderr)
        sys.exit(failed.exit_code)
