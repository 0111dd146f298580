"""The commands put together. Nothing heavy is imported here: each command imports what it needs when it runs."""

from collections.abc import Callable

import typer

from app.cli import api, catalog, jobs, previews, reports, results, serve
from app.cli.database import database
from app.cli.datasets import datasets
from app.cli.exits import MEANING
from app.cli.keys import keys

EXIT_CODES = "Exit codes:  " + ";  ".join(f"{code.value}: {meaning}" for code, meaning in MEANING.items()) + "."

cli = typer.Typer(
    help="Train, compress and compare image models on your own machines.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@cli.callback()
def _trainyard() -> None:
    """Train, compress and compare image models on your own machines.

    Commands speak to the service at TRAINYARD_URL, else to the one that runs on TRAINYARD_HOME (default ~/.trainyard),
    and show it the API key of TRAINYARD_API_KEY.
    """


COMMANDS: dict[str, Callable[..., None]] = {
    "serve": serve.serve,
    "api": api.api,
    "worker": api.worker,
    "submit": jobs.submit,
    "watch": jobs.watch,
    "list": jobs.list_jobs,
    "show": jobs.show,
    "cancel": jobs.cancel,
    "pause": jobs.pause,
    "resume": jobs.resume,
    "retry": jobs.retry,
    "clone": jobs.clone,
    "delete": jobs.delete,
    "logs": results.logs,
    "metrics": results.metrics,
    "artifacts": results.artifacts,
    "report": reports.report,
    "compare": reports.compare,
    "preview": previews.preview,
    "catalog": catalog.catalog,
    "workers": catalog.workers,
}
for name, command in COMMANDS.items():
    cli.command(name)(command)
cli.add_typer(datasets, name="dataset")
cli.add_typer(keys, name="keys")
cli.add_typer(database, name="db")
