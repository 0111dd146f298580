"""The devices of a run, and how computing on them is made repeatable."""

import os
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from app.contract.failures import FailureCode
from app.contract.training import Precision
from app.contract.work import RunOrder
from worker.training.errors import RunFailure

Strategy: TypeAlias = Any
"""tf.distribute.MirroredStrategy, which has no types."""

_POLICIES: dict[Precision, str] = {"fp64": "float64", "fp32": "float32", "bf16": "mixed_bfloat16"}


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
    """Of all layers that are made from now on. Weights are fp32, fp64 for proofs; bf16 is what layers compute in."""
    policy = _POLICIES.get(name) or ("mixed_bfloat16" if device_kind == "cuda" else "float32")
    keras.config.set_floatx("float64" if policy == "float64" else "float32")
    keras.config.set_dtype_policy(policy)


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


def _cpus(world: int) -> list[str]:
    use_threads(processors())
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * world)
    tf.config.set_visible_devices([], "GPU")
    return [f"CPU:{number}" for number in range(world)]


def _gpus(world: int) -> list[str]:
    found = tf.config.list_physical_devices("GPU")
    if len(found) < world:
        message = f"TensorFlow sees {len(found)} of the {world} GPUs of this job: tensorflow-cpu sees none."
        raise RunFailure(FailureCode.MISSING_LIBRARY, message)
    for each in found:
        tf.config.experimental.set_memory_growth(each, enable=True)
    return [f"GPU:{number}" for number in range(world)]
