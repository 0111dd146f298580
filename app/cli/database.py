"""`trainyard db upgrade` and `trainyard db backup`."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.exits import CommandFailed, Exit
from app.cli.output import JsonOption, print_json, say, size

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


@database.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The copy to make; it must not exist.")], as_json: JsonOption = False
) -> None:
    """Copy the SQLite database of this home while the service runs. (PostgreSQL: pg_dump.)"""
    from app.store.backup import BackupFailed, back_up

    try:
        size_bytes = back_up(sqlite_file(), file.absolute())
    except BackupFailed as error:
        raise CommandFailed(str(error)) from error
    if as_json:
        print_json({"file": str(file.absolute()), "size_bytes": size_bytes})
    else:
        say(f"{file} holds the database ({size(size_bytes)}); now copy the storage folder")


def sqlite_file() -> Path:
    """Where the database of these settings lies. Raises `CommandFailed` when it is no file."""
    from sqlalchemy.engine import make_url

    from app.cli.http_server import loaded_settings
    from app.store.session import driver_url

    address = make_url(driver_url(loaded_settings().database))
    if address.get_backend_name() != "sqlite" or not address.database:
        raise CommandFailed(
            "this database is a PostgreSQL server's: `pg_dump --format=custom --file=FILE URL` backs it up.", Exit.USAGE
        )
    return Path(address.database)
