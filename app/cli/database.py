"""`trainyard db upgrade`."""

import typer

from app.cli.output import JsonOption, print_json, say

database = typer.Typer(help="Look after the database.", no_args_is_help=True)


@database.callback()
def _group() -> None:
    """Look after the database."""


@database.command()
def upgrade(as_json: JsonOption = False) -> None:
    """Bring the tables to what this version expects. Safe to repeat, and while others do the same."""
    from app.cli.http_server import loaded_settings
    from app.store import migrate

    migrate.upgrade(loaded_settings().database)
    if as_json:
        print_json({"upgraded": True})
    else:
        say("the database is up to date")
