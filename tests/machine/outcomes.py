"""What a worker says at the end of an attempt, and where the job may stand then."""

from typing import Any

from tests.machine.book import Work
from tests.support.service import REPORT, SHA256

AFTER_WISH = {None: "queued", "cancel": "cancelled", "pause": "paused"}


def after(outcome: str, code: str | None, wished: str | None) -> set[str]:
    """The states that may follow an attempt's end. `failed` beside the others: its time or its attempts are used up."""
    if outcome == "succeeded":
        return {"succeeded"}
    if code in ("diverged", "gate_missed"):
        return {"failed"}
    return {"failed", AFTER_WISH[wished]}


def leaves_files(outcome: str, code: str | None) -> bool:
    """Whether its job keeps what the attempt brought."""
    return outcome == "succeeded" or code == "gate_missed"


def finish(outcome: str, code: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {"outcome": outcome}
    if leaves_files(outcome, code):
        file = {"name": "model.safetensors", "path": "artifacts/model.safetensors", "size_bytes": 3, "sha256": SHA256}
        body |= {"report": REPORT.model_dump(mode="json"), "artifacts": [file]}
    return body | ({"failure": {"code": code, "message": f"It was {code}."}} if code else {})


def work(body: Any, name: str) -> Work:
    return Work(body["job"], body["attempt"], body["token"], name, tuple(body["order"]["devices"]))


def pairs(series: dict[str, list[Any]]) -> list[tuple[int, Any]]:
    return list(zip(series["step"], series["value"], strict=True))
