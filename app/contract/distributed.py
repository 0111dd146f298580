"""Over how many processes one training run is spread. Batch size, samples and result do not depend on the choice."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from app.contract.compression import Compression
from app.contract.compression.pruning import ChannelPruning
from app.contract.spec import Flag, Int, Problem, Spec, refuse
from app.contract.training import Training

MOST_PROCESSES = 64

Passes = Annotated[Int, Field(ge=1, le=1024)]
Processes = Annotated[Int, Field(ge=1, le=MOST_PROCESSES)] | Literal["auto"]
Least = Annotated[Int, Field(ge=1, le=MOST_PROCESSES)] | None


class Single(Spec):
    """One process on one device."""

    kind: Literal["single"] = "single"

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "single"}]

    @property
    def processes(self) -> int:
        """How many devices the job needs."""
        return 1


class Ddp(Spec):
    """PyTorch DistributedDataParallel: one process a device, gradients averaged.

    NCCL carries them between GPUs, shared memory or gloo between CPU processes.

    The batch, the rate and the order of the samples stay what they are for any number of processes. So does the result,
    up to rounding, with networks that have no batch statistics or with `sync_batchnorm`.
    """

    kind: Literal["ddp"] = "ddp"
    processes: Processes = Field(
        2,
        description="One device each, 1 to 64. The global batch is divided among them. `auto`: as many of the free "
        "devices of the worker that takes the job as divide the batch; one is enough to begin.",
    )
    min_processes: Least = Field(
        None,
        description="Elastic: each attempt has as many processes as the worker that takes it has free devices for, "
        "from this number to `processes`, so that what a lost device or worker has interrupted goes on where there are "
        "fewer. Only numbers that divide the batch are taken. Null: always `processes`.",
    )
    gradient_accumulation: Int = Field(
        1,
        ge=1,
        le=1024,
        description="Passes that make up one step: in each, every process computes 1/(processes x passes) of the batch "
        "and keeps its activations. Gradients are added up and exchanged once.",
    )
    sync_batchnorm: Flag = Field(
        False,
        description="Batch normalisation uses the mean and variance of all processes' images together, instead of "
        "each process those of its own. Worth it where a process has few images at a time.",
    )
    gradient_compression: Literal["none", "fp16", "powersgd"] = Field(
        "none",
        description="What processes send each other. `fp16`: half the bytes of fp32. `powersgd`: matrices of rank 2, "
        "with what they leave out added to the next step's (arXiv 1905.13727); begins after 10 steps.",
    )
    bucket_mb: Int = Field(
        25, ge=1, le=1024, description="Gradients are exchanged in parts of so many MiB, beside the backward pass."
    )
    static_graph: Flag = Field(
        False,
        description="Promise that every step uses the same weights the same number of times, which lets torch prepare "
        "the exchange once.",
    )
    zero_optimizer: Flag = Field(
        False,
        description="Each process keeps the optimizer's moments of its share of the weights and updates those (ZeRO "
        "stage 1, arXiv 1910.02054). Checkpoints hold them all, for any number of processes.",
    )
    timeout_s: Int = Field(
        1800,
        ge=5,
        le=86_400,
        description="Longest that a process waits for the others before the attempt ends as `stalled`.",
    )

    examples: ClassVar[list[dict[str, Any]]] = [
        {"kind": "ddp", "processes": 2},
        {"kind": "ddp", "processes": 2, "gradient_accumulation": 2, "sync_batchnorm": True, "zero_optimizer": True},
        {"kind": "ddp", "processes": 2, "gradient_compression": "fp16", "bucket_mb": 10, "static_graph": True},
        {"kind": "ddp", "processes": 4, "min_processes": 1},
    ]


class Fsdp(Spec):
    """PyTorch FSDP2: each process keeps a share of every weight, its gradient and its moments (arXiv 2304.11277).

    For networks that do not fit: a block's weights are gathered when it is computed, and let go behind it. Batch, rate,
    samples and result are those of one process, as with `ddp`.
    """

    kind: Literal["fsdp"] = "fsdp"
    processes: Processes = Field(
        2, description="One device each, 1 to 64; `auto` as with `ddp`. With one there is nothing to divide."
    )
    min_processes: Least = Field(
        None,
        description="Elastic, as with `ddp`: fewest processes that an attempt may have. Each then keeps more of the "
        "network, so a dry run with as few tells whether it fits.",
    )
    gradient_accumulation: Passes = Field(
        1,
        description="Passes that make up one step: fewer activations at a time. Gradients are exchanged in each, since "
        "no process has room for all of them.",
    )
    sync_batchnorm: Flag = Field(
        False, description="Batch normalisation uses the mean and variance of all processes' images together."
    )
    reshard_after_forward: Flag = Field(
        True,
        description="Let go of a block's weights behind its forward pass and gather them again for its backward pass. "
        "`false`: keep them in between, which is faster and takes the memory of all weights.",
    )
    timeout_s: Int = Field(
        1800, ge=5, le=86_400, description="Longest wait for the other processes before the attempt ends as `stalled`."
    )

    examples: ClassVar[list[dict[str, Any]]] = [
        {"kind": "fsdp", "processes": 2},
        {
            "kind": "fsdp",
            "processes": 2,
            "min_processes": 1,
            "gradient_accumulation": 2,
            "sync_batchnorm": True,
            "reshard_after_forward": False,
        },
    ]


class Mirrored(Spec):
    """TensorFlow MirroredStrategy: one process with a copy of the network on each device, gradients added up.

    For networks of Keras, on workers with the extra `tensorflow` (`extras` in `GET /v1/workers`).
    """

    kind: Literal["mirrored"] = "mirrored"
    processes: Int = Field(
        2,
        ge=1,
        le=MOST_PROCESSES,
        description="GPUs, or logical devices of the CPU. The global batch is divided among them.",
    )
    sync_batchnorm: Flag = Field(
        False,
        description="Batch normalisation over the whole batch instead of each device's part: then the number of "
        "devices changes nothing but the order of sums, and in networks with dropout what is dropped.",
    )

    needs_extra = "tensorflow"

    examples: ClassVar[list[dict[str, Any]]] = [{"kind": "mirrored", "processes": 2}]

    @model_validator(mode="before")
    @classmethod
    def _no_options_of_torch(cls, data: Any) -> Any:
        if isinstance(data, dict):
            own = ", ".join(name for name in cls.model_fields if name != "kind")
            detail = f"This is an option of torch's processes; mirrored has {own}: leave it out, or use ddp."
            torchs = Ddp.model_fields | Fsdp.model_fields
            others = [name for name in data if name in torchs and name not in cls.model_fields]
            refuse("Mirrored", (Problem((name,), "option_of_torch", detail) for name in others), data)
        return data


Distributed = Annotated[Single | Ddp | Fsdp | Mirrored, Field(discriminator="kind")]


def is_elastic(distributed: Distributed) -> bool:
    """Whether an attempt may have another number of processes than the one before."""
    if not isinstance(distributed, Ddp | Fsdp):
        return False
    return distributed.processes == "auto" or distributed.min_processes is not None


def fewest(distributed: Distributed) -> int:
    """Devices without which a job cannot begin."""
    if isinstance(distributed, Ddp | Fsdp) and distributed.min_processes is not None:
        return distributed.min_processes
    return 1 if distributed.processes == "auto" else distributed.processes


def fitting(distributed: Distributed, devices: int, batch_size: int) -> int:
    """How many processes a job has on a worker with so many free devices: as many as its spec says or, where it leaves
    that open, the most that divide the global batch.
    """
    least = fewest(distributed)
    if not is_elastic(distributed):
        return least
    most = MOST_PROCESSES if distributed.processes == "auto" else distributed.processes
    counts = range(min(devices, most), least, -1)
    return next((count for count in counts if batch_size % (count * passes(distributed)) == 0), least)


def passes(distributed: Distributed) -> int:
    """How many passes make up a step."""
    return distributed.gradient_accumulation if isinstance(distributed, Ddp | Fsdp) else 1


def synchronises(distributed: Distributed) -> bool:
    """Whether batch statistics are those of the images of all processes, or devices."""
    return not isinstance(distributed, Single) and distributed.sync_batchnorm


def distributed_problems(
    distributed: Distributed, training: Training, compression: tuple[Compression, ...]
) -> Iterator[Problem]:
    """What of the way to distribute does not go with the rest of a spec."""
    if is_elastic(distributed) and distributed.processes != "auto" and fewest(distributed) > distributed.processes:
        detail = f"That is more than processes: set it to {distributed.processes} at most."
        yield Problem(("distributed", "min_processes"), "too_many", detail)
    yield from _batch_problems(distributed, training.batch_size)
    gradual = [index for index, each in enumerate(compression) if isinstance(each, ChannelPruning) and each.is_gradual]
    if isinstance(distributed, Fsdp):
        yield from _sharding_problems(training, gradual)
    if isinstance(distributed, Ddp):
        yield from _ddp_problems(distributed, training, gradual)


def _ddp_problems(distributed: Ddp, training: Training, gradual: list[int]) -> Iterator[Problem]:
    if distributed.gradient_compression != "none" and training.precision == "fp64":
        detail = "fp64 is for proofs, and compressed gradients are rounded: set it to none, or use another precision."
        yield Problem(("distributed", "gradient_compression"), "not_with_fp64", detail)
    if distributed.gradient_compression == "powersgd" and training.precision == "fp16":
        detail = (
            "fp16 finds its scale by gradients that overflow now and then, and powersgd would remember those for ever: "
            "use bf16, or fp16 compression."
        )
        yield Problem(("distributed", "gradient_compression"), "not_with_fp16", detail)
    if distributed.zero_optimizer and gradual:
        detail = (
            f"Compression {gradual[0]} prunes during training, which cuts moments that no process has all of: "
            "use steps 1 there, or leave zero_optimizer out."
        )
        yield Problem(("distributed", "zero_optimizer"), "not_with_gradual_pruning", detail)


def _sharding_problems(training: Training, gradual: list[int]) -> Iterator[Problem]:
    if gradual:
        detail = (
            f"Compression {gradual[0]} prunes during training, and with fsdp no process has whole weights to choose "
            "from: use steps 1 there, or ddp."
        )
        yield Problem(("distributed", "kind"), "not_with_gradual_pruning", detail)
    if training.compile is True:
        detail = (
            "Compiled code does not wait for weights that fsdp gathers block by block: set compile to auto or false, "
            "or use ddp."
        )
        yield Problem(("training", "compile"), "not_with_fsdp", detail)


def _batch_problems(distributed: Distributed, batch_size: int) -> Iterator[Problem]:
    """Full batches are divided into equal parts; only the last two of an epoch may be uneven."""
    asked = fewest(distributed) if distributed.processes == "auto" else distributed.processes
    for processes in dict.fromkeys((asked, fewest(distributed))):
        parts = processes * passes(distributed)
        if batch_size % parts:
            near = max(batch_size // parts, 1) * parts
            among = f"{processes} processes"
            among += f" and {passes(distributed)} passes" if passes(distributed) > 1 else ""
            detail = f"The global batch is divided among {among}: use a multiple of {parts}, for example {near}."
            yield Problem(("training", "batch_size"), "not_divisible", detail)
