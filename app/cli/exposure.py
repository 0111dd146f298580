"""What must be there before other machines may speak to the service."""

from app.cli import listening
from app.cli.exits import CommandFailed, Exit

SHORTEST_TOKEN = 32
"""Characters: those of 24 random bytes in base64. A token that was thought up is shorter."""

OTHER_TABLES = "the database has other tables than this version needs: run `trainyard db upgrade`."


def require_guards(host: str, upgrade: bool) -> None:
    """Raises `CommandFailed` for an address that others can reach, unless keys and a token guard it."""
    if listening.is_loopback(host):
        return
    from app.cli.http_server import loaded_settings
    from app.settings import worker_token

    if len(worker_token(loaded_settings())) < SHORTEST_TOKEN:
        raise CommandFailed(
            f"--host {host} is refused: TRAINYARD_WORKER_TOKEN is shorter than {SHORTEST_TOKEN} characters, and others"
            " could guess it. Leave it out, or give a random one.",
            Exit.USAGE,
        )
    if not is_any_key_live(upgrade):
        raise CommandFailed(
            f"--host {host} is refused: others could reach the service, and nobody has an API key for it."
            " Make one: trainyard keys create NAME",
            Exit.USAGE,
        )


def is_any_key_live(upgrade: bool) -> bool:
    """Whether the database of these settings has a key that is good, after an upgrade if that is wished.

    Raises `CommandFailed` when it does not answer, or has the tables of another version.
    """
    from app.cli.http_server import loaded_settings
    from app.errors import TrainyardError
    from app.services import keys
    from app.store import migrate
    from app.store.session import Database

    settings = loaded_settings()
    database = Database(settings.database, settings)
    try:
        if migrate.is_new(database):
            return False
        if upgrade:
            migrate.upgrade(settings.database)
        elif not migrate.is_current(database):
            raise CommandFailed(OTHER_TABLES)
        with database.read() as session:
            return keys.is_any_live(session)
    except TrainyardError as error:
        raise CommandFailed(error.detail) from error
    finally:
        database.close()
