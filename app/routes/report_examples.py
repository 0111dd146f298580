"""What OpenAPI shows of reports and comparisons; see `examples`."""

_LATENCY = {"latency": [{"batch_size": 1, "p50_s": 0.0041, "p95_s": 0.0049, "runs": 100, "runtime": "torch"}]}
_TRAINED = {"epochs": 20, "planned_epochs": 20, "stopped_early": False, "exported_epoch": 20, "averaged": False}
REPORT = {
    "before": _LATENCY | {"parameters": 4_926_634, "macs": 31_854_592, "file_bytes": 19_760_000, "accuracy": 0.983},
    "after": _LATENCY | {"parameters": 1_204_552, "macs": 8_112_640, "file_bytes": 4_870_000, "accuracy": 0.978},
    "ratios": {"parameters": 4.09, "macs": 3.93, "file_bytes": 4.06, "latency_p50": 1.0},
    "accuracy_drop": 0.005,
    "machine": {
        "host": "gpu-host-1",
        "device": "cpu",
        "processor": "x86_64",
        "threads": 2,
        "torch": "2.13.0",
        "tensorflow": None,
        "onnxruntime": None,
    },
    "verified": True,
    "dataset_sha256": "8d74a7a8f4bd38ae08cd5d8bd9ce6e2e5ca0ad5dbd3a2c4f0a1ae7ba30ad7f08",
    "stages": [
        _LATENCY
        | {
            "name": "uncompressed",
            "method": None,
            "parameters": 4_926_634,
            "macs": 31_854_592,
            "file_bytes": 19_760_000,
            "gzip_bytes": 18_310_000,
            "training_memory_bytes": 391_000_000,
            "peak_memory_bytes": 702_000_000,
            "accuracy": 0.983,
            "accuracy_interval": [0.964, 0.992],
            "trained": _TRAINED,
        },
        _LATENCY
        | {
            "name": "depthwise_separable",
            "method": "depthwise_separable",
            "parameters": 1_204_552,
            "macs": 8_112_640,
            "file_bytes": 4_870_000,
            "gzip_bytes": 4_490_000,
            "training_memory_bytes": 402_000_000,
            "peak_memory_bytes": 711_000_000,
            "accuracy": 0.978,
            "accuracy_interval": [0.957, 0.989],
            "trained": _TRAINED,
        },
    ],
    "classes": [{"name": "0", "images": 36, "before": 1.0, "after": 0.972}],
    "exports": [
        {
            "format": "safetensors",
            "file": "model.safetensors",
            "size_bytes": 4_870_000,
            "max_abs_difference": 0.0,
            "top1_agreement": 1.0,
            "images": 360,
            "runtime": "torch",
        }
    ],
    "gates": [
        {"gate": "max_accuracy_drop", "limit": 0.02, "found": 0.005, "passed": True, "missed_by": None},
        {"gate": "min_parameter_ratio", "limit": 5, "found": 4.09, "passed": False, "missed_by": 0.91},
    ],
}
COMPARISON = {
    "jobs": [
        {
            "job": "job_01kab0c1d2e3f4g5h6j7k8m9np",
            "name": "resnet10t on digits",
            "state": "succeeded",
            "created_at": "2026-11-21T10:00:00.123456Z",
            "dataset_sha256": "8d74a7a8f4bd38ae08cd5d8bd9ce6e2e5ca0ad5dbd3a2c4f0a1ae7ba30ad7f08",
            "parameters": 1_204_552,
            "macs": 8_112_640,
            "file_bytes": 4_870_000,
            "p95_s": 0.0049,
            "runtime": "torch",
            "accuracy": 0.978,
            "accuracy_interval": [0.957, 0.989],
            "machine": {
                "host": "gpu-host-1",
                "device": "cpu",
                "processor": "x86_64",
                "threads": 2,
                "torch": "2.13.0",
            },
            "gates_missed": [],
            "optimal": ["file_bytes", "p95_s", "macs"],
        }
    ],
    "without_report": ["job_01kab0c1d2e3f4g5h6j7k8m9nq"],
    "warnings": [],
}
