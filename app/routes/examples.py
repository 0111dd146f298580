"""What OpenAPI shows of answers. A test reads each back with the model that it stands for, so none can go stale."""

from typing import Any

from app.contract.job import JobSpec
from app.contract.previews import PreviewSpec

SPEC: dict[str, Any] = JobSpec.model_validate(JobSpec.examples[0]).resolved().model_dump(mode="json")
NETWORK = {"parameters": 4_926_634, "macs": 31_854_592, "weights_bytes": 19_745_064}
SMALLER = {"parameters": 1_204_552, "macs": 8_112_640, "weights_bytes": 4_861_320}
PLAN = {
    "before": NETWORK,
    "after": SMALLER,
    "layers": [
        {
            "name": "layer1.0.conv1",
            "method": "depthwise_separable",
            "status": "changed",
            "reason": "",
            "parameters_before": 36_864,
            "parameters_after": 4_800,
            "macs_before": 2_359_296,
            "macs_after": 299_008,
        }
    ],
    "methods": [
        {
            "method": "depthwise_separable",
            "layers_changed": 10,
            "layers_kept": 6,
            "parameters_before": 4_926_634,
            "parameters_after": 1_204_552,
            "macs_before": 31_854_592,
            "macs_after": 8_112_640,
        }
    ],
    "classes": [str(digit) for digit in range(10)],
    "train_images": 1437,
    "validation_images": 360,
    "image_size": [32, 32],
    "steps_per_epoch": 22,
    "processes": 1,
    "passes_per_step": 1,
    "images_per_pass": 64,
    "memory_bytes": 412_000_000,
    "warnings": [],
}
DRY_RUN = {"spec": SPEC, "plan": PLAN}

QUEUED_JOB: dict[str, Any] = {
    "id": "job_01kab0c1d2e3f4g5h6j7k8m9np",
    "name": "resnet10t on digits",
    "labels": {"team": "vision"},
    "priority": 0,
    "version": 1,
    "state": "queued",
    "stop_requested": None,
    "phase": None,
    "spec": SPEC,
    "created_at": "2026-11-21T10:00:00.123456Z",
    "started_at": None,
    "finished_at": None,
    "attempt": 0,
    "cloned_from": None,
    "pending": {"reason": "waiting_for_gpus", "detail": "All devices are in use.", "position": 1},
    "progress": None,
    "latest_metrics": {},
    "failure": None,
    "report": None,
}
RUNNING_JOB: dict[str, Any] = QUEUED_JOB | {
    "version": 12,
    "state": "running",
    "phase": "training",
    "started_at": "2026-11-21T10:00:02.654321Z",
    "attempt": 1,
    "pending": None,
    "progress": {"epoch": 2, "epochs": 10, "step": 44, "steps": 220, "fraction": 0.2, "eta_s": 21.5},
    "latest_metrics": {"train/loss": 0.41, "val/accuracy": 0.93},
}
PAUSED_JOB: dict[str, Any] = RUNNING_JOB | {"version": 13, "state": "paused", "phase": None}
JOB_PAGE = {"items": [RUNNING_JOB], "next_cursor": None}
PATCH = {"name": "digits, second try", "labels": {"team": "vision", "draft": None}, "priority": 5}
CLONE_PATCH = {"name": "longer", "training": {"epochs": 30}}

METRICS = {
    "series": {
        "train/loss": {
            "step": [1, 2],
            "time": ["2026-11-21T10:00:03Z", "2026-11-21T10:00:03.1Z"],
            "value": [2.31, "NaN"],
            "min": [2.31, "NaN"],
            "max": [2.31, "NaN"],
        }
    },
    "cursor": "eyJhIjoyfQ",
}
EVENT = {"seq": 1, "type": "submitted", "time": "2026-11-21T10:00:00.123456Z", "data": {}}
EVENTS = {"items": [EVENT], "cursor": "1"}
LOG_LINE = {
    "time": "2026-11-21T10:00:03Z",
    "attempt": 1,
    "rank": 0,
    "level": "info",
    "message": "epoch 1 of 10: loss 1.92, accuracy 0.41",
}
ATTEMPT = {
    "attempt": 1,
    "worker": "gpu-host-1",
    "devices": [0, 1],
    "state": "open",
    "started_at": "2026-11-21T10:00:01Z",
    "finished_at": None,
    "failure": None,
}
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
CHECKPOINT = {
    "attempt": 1,
    "epoch": 1,
    "step": 22,
    "phase": "training",
    "created_at": "2026-11-21T10:00:05Z",
    "size_bytes": 59_300_000,
    "sha256": SHA256,
}
ARTIFACT = {
    "name": "model.safetensors",
    "size_bytes": 4_861_320,
    "sha256": SHA256,
    "media_type": "application/octet-stream",
    "url": "/v1/jobs/job_01kab0c1d2e3f4g5h6j7k8m9np/artifacts/model.safetensors",
}
DATASET_SPEC = {"name": "flowers", "source": {"kind": "folder", "path": "flowers"}}
UPLOAD_SPEC = {"name": "flowers", "source": {"kind": "upload"}}
DATASET = {
    "id": "ds_01kab0c1d2e3f4g5h6j7k8m9np",
    "name": "flowers",
    "revision": 1,
    "source": {"kind": "folder", "path": "flowers"},
    "state": "importing",
    "waiting_for": None,
    "created_at": "2026-11-21T10:00:00Z",
    "progress": {
        "stage": "checking",
        "files_seen": 2400,
        "files": 3670,
        "archive_bytes_seen": 0,
        "archive_bytes": 0,
    },
    "facts": None,
    "failure": None,
}
SAMPLE = {
    "path": "tulip/17.jpg",
    "label": "tulip",
    "part": None,
    "status": "used",
    "reason": None,
    "finding": "duplicate",
    "duplicate_of": "tulip/4.jpg",
    "format": "jpeg",
    "height": 375,
    "width": 500,
    "size_bytes": 48213,
    "sha256": "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
}
DATASET_UPLOADED = {
    **DATASET,
    "source": {"kind": "upload", "archive": {"size_bytes": 228_813_984, "sha256": "9f86d081" * 8}},
}
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
PREVIEW = {
    "spec": PreviewSpec.model_validate(PreviewSpec.examples[0]).resolved().model_dump(mode="json"),
    "images": [
        {
            "sample": 1093,
            "name": "1367",
            "label": "3",
            "epoch": 0,
            "png": _PIXEL,
            "drawn": [
                {
                    "position": 0,
                    "kind": "random_crop",
                    "values": {"top_left": [0.31, 0.52], "height_width": [7.2, 6.9]},
                },
                {"position": 1, "kind": "random_rotate", "values": {"degrees": -7.25}},
            ],
            "matrix": [[0.214, 0.027, -0.28], [-0.028, 0.223, 0.36]],
            "border": "reflect",
            "mixed": None,
        }
    ],
    "originals": [{"sample": 1093, "name": "1367", "label": "3", "height": 8, "width": 8, "png": _PIXEL}],
    "refused": [],
    "refused_count": 0,
}
WORKER = {
    "id": "gpu-host-1",
    "host": "gpu-host-1",
    "state": "alive",
    "last_seen_at": "2026-11-21T10:00:00Z",
    "devices": [{"index": 0, "kind": "cuda", "name": "NVIDIA H200", "memory_bytes": 150_000_000_000, "job": None}],
    "versions": {"torch": "2.13.0"},
    "extras": ["tensorflow"],
}

LABEL_PARAMETER = {
    "name": "labels",
    "in": "query",
    "required": False,
    "description": "`label.KEY=VALUE`: only jobs with that label; may be given for several keys.",
    "style": "form",
    "explode": True,
    "schema": {
        "type": "object",
        "patternProperties": {
            r"^label\.[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$": {
                "type": "string",
                "maxLength": 255,
                "pattern": r"^[^\x00-\x1f\x7f]*$",
            }
        },
        "additionalProperties": False,
    },
    "example": {"label.team": "vision"},
}


def named(values: list[dict[str, Any]]) -> dict[str, Any]:
    """OpenAPI's form of examples."""
    return {f"example_{number}": {"value": value} for number, value in enumerate(values, start=1)}
