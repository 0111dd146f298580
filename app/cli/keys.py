"""`trainyard keys create | list | revoke`: on the service's host, straight on its database: the first needs none."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from app.cli.exits import CommandFailed, Exit
from app.cli.exposure import OTHER_TABLES
from app.cli.output import JsonOption, age, print_json, print_table, say

keys = typer.Typer(help="Make and revoke API keys, on the service's host.", no_args_is_help=True)
ScopeOption = Annotated[
    list[str] | None,
    typer.Option("--scope", metavar="read|write", help="What it is good for; repeatable. Default: both."),
]


@keys.callback()
def _group() -> None:
    """Make and revoke API keys, on the service's host: these commands work on its database."""


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is, or what for; need not be unique.")],
    expires_days: Annotated[int | None, typer.Option(min=1, help="Days until it expires. Default: never.")] = None,
    scope: ScopeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it: this once, since only its hash is kept."""
    from app.contract.keys import Scope
    from app.services import keys as services

    if not 1 <= len(name) <= 200 or not name.isprintable():
        raise CommandFailed("a name is 1 to 200 printable characters.", Exit.USAGE)
    if set(scope or []) - set(Scope):
        raise CommandFailed(f"--scope is one of {', '.join(Scope)}.", Exit.USAGE)
    with _opened(make=True) as database, database.write() as session:
        made = services.create(session, name, frozenset(map(Scope, scope or Scope)), expires_days)
    if as_json:
        print_json(made.model_dump(mode="json"))
        return
    print(made.key)
    say(f"{made.id}: keep the key, it is not shown again. Clients read it from TRAINYARD_API_KEY.")


@keys.command("list")
def list_keys(as_json: JsonOption = False) -> None:
    """List all keys: whose they are, what for, and when each was last used."""
    from app.services import keys as services

    with _opened() as database, database.read() as session:
        found = [key.model_dump(mode="json") for key in services.list_keys(session)]
    if as_json:
        print_json(found)
    else:
        print_table(("id", "name", "state", "scopes", "expires", "created >", "last used >"), map(_row, found))


def _row(key: dict[str, Any]) -> tuple[str, ...]:
    used = age(key["last_used_at"]) if key["last_used_at"] else "never"
    scopes, expires = " ".join(key["scopes"]), key["expires_at"] or "never"
    return (key["id"], key["name"], key["state"], scopes, expires, age(key["created_at"]), used)


@keys.command()
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as listed; not the key itself.")],
    as_json: JsonOption = False,
) -> None:
    """End a key. From the next request on it opens nothing."""
    from app.services import keys as services

    with _opened() as database, database.write() as session:
        ended = services.revoke(session, key)
    if as_json:
        print_json(ended.model_dump(mode="json"))
    else:
        say(f"revoked {ended.id} ({ended.name})")


@contextmanager
def _opened(make: bool = False) -> Iterator[Any]:
    """The service's database. A new one gets its tables when something is to be written there."""
    from app.cli.http_server import loaded_settings
    from app.errors import TrainyardError
    from app.store import migrate
    from app.store.session import Database

    settings = loaded_settings()
    database = Database(settings.database, settings)
    try:
        if migrate.is_new(database):
            if not make:
                raise CommandFailed("there are no keys yet: `trainyard keys create NAME` makes one.")
            settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            migrate.upgrade(settings.database)
        if not migrate.is_current(database):
            raise CommandFailed(OTHER_TABLES)
        yield database
    except TrainyardError as error:
        raise CommandFailed(error.detail) from error
    finally:
        database.close()
