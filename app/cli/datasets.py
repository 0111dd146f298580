"""`trainyard dataset add | list | show | delete`."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.exits import CommandFailed
from app.cli.output import JsonOption, age, print_fields, print_json, print_table, say, size

datasets = typer.Typer(help="Register and check data sets.", no_args_is_help=True)
DatasetArgument = Annotated[str, typer.Argument(metavar="DATASET", help="The data set's id.")]
ASK_EVERY_S = 0.5
SAY_EVERY_S = 5.0
FINDINGS = {
    "leak": "validates, and is trained on as",
    "other_class": "is in another class too, as",
    "duplicate": "is the same as",
}


@datasets.command()
def add(
    name: Annotated[str, typer.Argument(help="For people; the same name again makes its next revision.")],
    path: Annotated[str, typer.Argument(help="A folder under one of the service's data set roots, or an archive.")],
    upload: Annotated[bool, typer.Option("--upload", help="Send the folder: the service need not see it.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait until every file is checked.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Register a folder of images: one sub-folder per class, train/ and val/ with those inside, or a labels.csv.

    An archive of such a folder (zip, tar, tar.gz, tar.bz2, tar.xz) that lies here is sent to the service.
    """
    from app.cli.service import Service
    from app.cli.upload import send

    service = Service()
    if upload or Path(path).is_file():
        dataset = send(service, name, Path(path))
    else:
        body = {"name": name, "source": {"kind": "folder", "path": path}}
        dataset = service.request("POST", "/v1/datasets", json=body).json()
    if wait:
        say(f"{dataset['id']}: checking its files ...")
        dataset = _checked(service, dataset)
    _print(dataset, as_json)
    if dataset["state"] == "failed":
        raise CommandFailed(f"{dataset['id']} cannot be used: {dataset['failure']['message']}")


def _checked(service: Any, dataset: dict[str, Any]) -> dict[str, Any]:
    said_s = time.monotonic()
    while dataset["state"] == "importing":
        time.sleep(ASK_EVERY_S)
        dataset = service.get(f"/v1/datasets/{dataset['id']}")
        progress = dataset["progress"]
        if progress and time.monotonic() - said_s >= SAY_EVERY_S:
            say(progress_text(progress))
            said_s = time.monotonic()
    return dataset


@datasets.command("list")
def list_datasets(
    name: Annotated[str | None, typer.Option(help="Only the revisions of this name.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List data sets."""
    from app.cli.service import Service

    found = Service().pages("/v1/datasets", limit, name=name)
    if as_json:
        print_json(found)
    else:
        print_table(("id", "name", "revision >", "state", "classes >", "images >", "created >"), map(_row, found))


def _row(dataset: dict[str, Any]) -> tuple[str, ...]:
    facts = dataset["facts"]
    counts = (str(facts["class_count"]), f"{facts['images']:,}") if facts else ("", "")
    return (
        dataset["id"],
        dataset["name"],
        str(dataset["revision"]),
        dataset["state"],
        *counts,
        age(dataset["created_at"]),
    )


@datasets.command()
def show(dataset: DatasetArgument, as_json: JsonOption = False) -> None:
    """Show one data set: its classes and sizes, the files that were refused and why, and what is there twice."""
    from app.cli.service import Service

    _print(Service().get(f"/v1/datasets/{dataset}"), as_json)


@datasets.command()
def delete(dataset: DatasetArgument, as_json: JsonOption = False) -> None:
    """Forget a data set. Its files stay where they are, unless they were uploaded."""
    from app.cli.service import Service

    Service().request("DELETE", f"/v1/datasets/{dataset}")
    if as_json:
        print_json({"deleted": dataset})
    else:
        say(f"deleted {dataset}")


def _print(dataset: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(dataset)
        return
    source, progress = dataset["source"], dataset["progress"]
    archive = f"{size(source['archive']['size_bytes'])} uploaded" if source.get("archive") else None
    print_fields(
        {key: dataset[key] for key in ("id", "name", "revision", "state", "waiting_for")}
        | {"progress": progress_text(progress) if progress else None, "path": source.get("path"), "archive": archive}
    )
    facts = dataset["facts"]
    if facts:
        _print_facts(facts)


def progress_text(progress: dict[str, Any]) -> str:
    """How far an import is, for people."""
    if progress["stage"] == "receiving":
        return f"{size(progress['archive_bytes_seen'])} received"
    if progress["stage"] == "unpacking":
        read = f"{size(progress['archive_bytes_seen'])} of {size(progress['archive_bytes'])}"
        return f"{progress['files_seen']:,} files unpacked, {read}"
    return f"{progress['files_seen']:,} of {progress['files']:,} files checked"


def _print_facts(facts: dict[str, Any]) -> None:
    sizes, own = facts["image_sizes"], facts["validation_images"]
    print_fields({
        "images": f"{facts['images']:,} in {facts['class_count']} classes, {size(facts['size_bytes'])}",
        "formats": ", ".join(f"{count:,} {name}" for name, count in facts["formats"].items()) or None,
        "validation": f"{own:,} of its own" if own else "a share is held out",
        "height": f"{sizes['min_height']} to {sizes['max_height']} pixels",
        "width": f"{sizes['min_width']} to {sizes['max_width']} pixels",
        "refused": f"{facts['refused_count']:,} files",
        "sha256": facts["sha256"],
    })  # fmt: skip
    for warning in facts["warnings"]:
        print_fields({"warning": warning})
    for file in facts["refused"]:
        print_fields({f"  {file['name']}": file["reason"]})
    print_fields({name: f"{facts['finding_counts'][name]:,} files" for name in facts["finding_counts"]})
    for file in facts["findings"]:
        print_fields({f"  {file['name']}": f"{FINDINGS[file['finding']]} {file['duplicate_of']}"})
