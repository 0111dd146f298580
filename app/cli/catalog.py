"""`trainyard catalog | workers`: what the service can do, and on what."""

from typing import Annotated, Any, NoReturn

import typer

from app.cli.exits import CommandFailed, Exit
from app.cli.output import JsonOption, age, print_json, print_table, size


def catalog(
    family: Annotated[str | None, typer.Argument(help="Only this family, e.g. augment.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show every kind of every family that a spec can name."""
    from app.cli.service import Service

    families = Service().get("/v1/catalog")["families"]
    if family is not None:
        families = [each for each in families if each["name"] == family] or _no_family(family, families)
    if as_json:
        print_json(families)
        return
    print_table(("family", "kind", "what it is"), (row for each in families for row in _kinds(each)))


def _no_family(name: str, families: list[dict[str, Any]]) -> NoReturn:
    there = ", ".join(each["name"] for each in families)
    raise CommandFailed(f"there is no family {name!r}; there are {there}.", Exit.USAGE)


def _kinds(family: dict[str, Any]) -> list[tuple[str, ...]]:
    """The first sentence of each description says what the kind is; `--json` has the rest, field by field."""
    return [(family["name"], kind["kind"], kind["description"].partition(". ")[0]) for kind in family["kinds"]]


def workers(as_json: JsonOption = False) -> None:
    """Show the workers, their devices, and what runs on each."""
    from app.cli.service import Service

    listed = Service().get("/v1/workers")
    if as_json:
        print_json(listed)
        return
    headings = ("worker", "state", "device", "memory >", "job", "seen >")
    print_table(headings, (row for worker in listed["items"] for row in _rows(worker)))


def _rows(worker: dict[str, Any]) -> list[tuple[str, ...]]:
    seen = age(worker["last_seen_at"])
    return [
        (
            *(worker["id"], worker["state"], f"{device['kind']}:{device['index']} {device['name']}"),
            *(size(device["memory_bytes"]), device["job"] or "-", seen),
        )
        for device in worker["devices"]
    ] or [(worker["id"], worker["state"], "none", "", "-", seen)]
