"""What training will take of memory, known before it begins: the network with all that hangs on it, and its teacher."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from app.contract.compression import Distillation
from app.contract.distributed import Ddp, Fsdp
from app.contract.plan import TeacherCost
from app.contract.work import RunOrder
from worker.training import architecture, cost
from worker.training.attached import Course
from worker.training.card import Scaling
from worker.training.compressing import attach
from worker.training.compression.distillation import teacher_cost
from worker.training.distributed.ddp import copies_kept
from worker.training.precision import Precision

NO_SCALING = Scaling(mean=(0.0,), std=(1.0,))
"""Stands for what is fitted to the images, where nothing is computed."""


def of_training(network: nn.Module, order: RunOrder, classes: Sequence[str], largest_share: int) -> int:
    """Estimated peak of one process, in bytes, with the spec's methods of the loop; the teacher is not in it."""
    spec, channels = order.spec, architecture.of(network).channels
    course = Course(order, classes, NO_SCALING, Precision("cpu"), torch.device("meta"), lambda values: values)
    methods = attach(network, spec.compression, spec.image_size, channels, course)
    share = _share(order, largest_share)
    return cost.training_memory_bytes(network, spec.training, channels, spec.image_size, share, methods)


def without_methods(network: nn.Module, order: RunOrder, largest_share: int) -> int:
    """The same for a network that is trained without them, as a baseline is."""
    spec, channels = order.spec, architecture.of(network).channels
    return cost.training_memory_bytes(network, spec.training, channels, spec.image_size, _share(order, largest_share))


def of_teacher(order: RunOrder, classes: Sequence[str], channels: int, largest_share: int) -> TeacherCost | None:
    """What the network to learn from takes beside that; null where there is none. Raises `bad_spec`."""
    for index, method in enumerate(order.spec.compression):
        if isinstance(method, Distillation):
            share = _share(order, largest_share)
            return teacher_cost(method, order, classes, channels, f"/compression/{index}", share)
    return None


def _share(order: RunOrder, largest_share: int) -> cost.Share:
    halved = order.device_kind == "cuda" and order.spec.training.precision == "auto"
    way = order.spec.distributed
    share = cost.Share(largest_share, order.processes, halved)
    if isinstance(way, Ddp):
        moments = 1 / order.processes if way.zero_optimizer else 1.0
        return replace(share, moments=moments, exchanged=copies_kept(way, order.processes, order.device_kind))
    if isinstance(way, Fsdp) and order.processes > 1:
        return replace(share, gathers="blocks" if way.reshard_after_forward else "everything")
    return share
