"""The devices of a run, and how computing on them is made repeatable."""

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from app.contract.failures import FailureCode
from app.contract.training import Precision
from app.contract.work import RunOrder
from worker.training import peaks
from worker.training.errors import RunFailure, bad_spec

Strategy: TypeAlias = Any
"""tf.distribute.MirroredStrategy, which has no types."""

_POLICIES: dict[Precision, str] = {"fp64": "float64", "fp32": "float32", "bf16": "mixed_bfloat16"}
_FIRST_GPU = "GPU:0"
_HAS_BF16 = (8, 0)
"""Compute capability from which on a GPU has bf16: those of 2020."""


def connect(order: RunOrder) -> Strategy:
    """Take the order's devices: GPUs, or as many logical devices of the CPU. Call it before any operation, once.

    Raises `missing_library` when TensorFlow does not see the GPUs that were reserved.
    """
    tf.config.experimental.enable_op_determinism()  # sums in a fixed order: a resumed run equals an unbroken one
    world = order.processes
    names = _gpus(world) if order.device_kind == "cuda" else _cpus(world)
    return mirrored(names)


def mirrored(names: list[str]) -> Strategy:
    """Over these devices. The first adds up for all: in one process that is one copy from each."""
    return tf.distribute.MirroredStrategy(names, cross_device_ops=tf.distribute.ReductionToOneDevice())


def set_precision(name: Precision, device_kind: str) -> None:
    """Of all layers that are made from now on. Weights are fp32, fp64 for proofs; bf16 is what layers compute in.

    Raises `bad_spec` for bf16 on a GPU without it.
    """
    policy = policy_of(name, _capabilities() if device_kind == "cuda" else None)
    keras.config.set_floatx("float64" if policy == "float64" else "float32")
    keras.config.set_dtype_policy(policy)


def policy_of(name: Precision, capabilities: Sequence[tuple[int, int]] | None) -> str:
    """Keras's name of a precision. `capabilities`: of the GPUs that are seen, where any are expected; null on a CPU.

    A dry run sees none, and expects what GPUs have.
    """
    has_bf16 = all(each >= _HAS_BF16 for each in capabilities or ())
    if name == "auto":
        return _POLICIES["fp32" if capabilities is None or not has_bf16 else "bf16"]
    if name == "bf16" and not has_bf16:
        raise bad_spec("/training/precision", "This GPU does not compute in bf16: use fp32.", "not_supported")
    return _POLICIES[name]


def weights_type() -> str:
    """Of weights and inputs: `float32` or `float64`."""
    return str(keras.config.floatx())


def use_threads(count: int) -> None:
    """Call it before any operation: later TensorFlow has its pools already."""
    tf.config.threading.set_intra_op_parallelism_threads(count)
    tf.config.threading.set_inter_op_parallelism_threads(count)


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def begin_peak(device_kind: str) -> None:
    """From now on a new peak of memory is measured."""
    if device_kind == "cuda":
        tf.config.experimental.reset_memory_stats(_FIRST_GPU)
    else:
        peaks.begin(None)


def peak_bytes(device_kind: str) -> int:
    """The peak since then: of the first GPU's memory, or of this process on a CPU."""
    if device_kind == "cuda":
        return int(tf.config.experimental.get_memory_info(_FIRST_GPU)["peak"])
    return peaks.of_process()


def _cpus(world: int) -> list[str]:
    use_threads(processors())
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * world)
    tf.config.set_visible_devices([], "GPU")
    return [f"CPU:{number}" for number in range(world)]


def _capabilities() -> list[tuple[int, int]]:
    gpus = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(each).get("compute_capability", _HAS_BF16) for each in gpus]


def _gpus(world: int) -> list[str]:
    found = tf.config.list_physical_devices("GPU")
    if len(found) < world:
        message = f"TensorFlow sees {len(found)} of the {world} GPUs of this job: tensorflow-cpu sees none."
        raise RunFailure(FailureCode.MISSING_LIBRARY, message)
    for each in found:
        tf.config.experimental.set_memory_growth(each, enable=True)
    return [f"GPU:{number}" for number in range(world)]
