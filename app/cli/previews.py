"""`trainyard preview`: what a spec's augmentations do, as a picture or as JSON."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.exits import CommandFailed, Exit
from app.cli.jobs import read_spec
from app.cli.output import print_json, say

PATH = "/v1/previews"


def preview(
    spec: Annotated[
        str, typer.Argument(metavar="SPEC.json", help="A job spec, or a preview request: a file, or - for stdin.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="GRID.png", help="Where the grid goes.")
    ] = None,
    count: Annotated[int | None, typer.Option(help="How many training images; default 16.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Each as in so many epochs; default 1.")] = None,
    seed: Annotated[int | None, typer.Option(help="Default: the spec's.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is another one.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the images, in base64, and what was drawn for each as JSON.")
    ] = False,
) -> None:
    """Show what a spec's augmentations do to images of its data set, before anything is trained."""
    from app.cli.service import Service

    if output is None and not as_json:
        raise CommandFailed("Say where the picture goes, -o grid.png, or ask for --json.", Exit.USAGE)
    body = request(json.loads(read_spec(spec)), count=count, epochs=epochs, seed=seed)
    service = Service()
    if output is not None:
        picture = service.request("POST", PATH, json=body, headers={"Accept": "image/png"}).content
        _write(output, picture, force)
        say(f"wrote {output}")
    if as_json:
        print_json(service.request("POST", PATH, json=body, headers={"Accept": "application/json"}).json())


def request(document: dict[str, Any], **given: int | None) -> dict[str, Any]:
    """The body for a spec: of a job spec, which has a `model`, the fields that a preview has too. What was given on
    the command line counts more. Nothing is checked here: the service names what is wrong.
    """
    body = _from_job(document) if "model" in document else dict(document)
    return body | {name: value for name, value in given.items() if value is not None}


def _from_job(job: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {name: job[name] for name in ("dataset", "augment", "evaluation") if name in job}
    for group, name in (("model", "channels"), ("training", "seed")):
        if isinstance(job.get(group), dict) and name in job[group]:
            body[name] = job[group][name]
    return body


def _write(path: Path, picture: bytes, force: bool) -> None:
    try:
        if path.exists() and not force and path.read_bytes() != picture:
            raise CommandFailed(f"{path} is there already and is another file.\n  Remove it, or add --force.")
        path.write_bytes(picture)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror}.") from error
