"""What this host has to train on: its GPUs by NVML, or CPU slots where there is none."""

import logging
import os
import platform
from collections.abc import Iterator

import pynvml

from app.contract.work import Device

log = logging.getLogger(__name__)


def devices(cpu_slots: int | None) -> list[Device]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves to this worker, by NVML's index; `cpu_slots` where it leaves none."""
    return gpus() or slots(cpu_slots)


def gpus() -> list[Device]:
    """All visible GPUs; empty where there is no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        log.debug("no GPUs: %s", error)
        return []
    try:
        return list(_visible(_every_gpu()))
    finally:
        pynvml.nvmlShutdown()


def slots(count: int | None) -> list[Device]:
    """Places for a process each: `count`, or one per core, but two even on one core (DDP needs two)."""
    cores = os.cpu_count() or 1
    number = max(2, cores) if count is None else count
    total_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    name = f"{platform.machine()} CPU, {cores} cores"
    share_bytes = total_bytes // max(number, 1)
    return [Device(index=index, kind="cpu", name=name, memory_bytes=share_bytes) for index in range(number)]


def _every_gpu() -> Iterator[tuple[str, Device]]:
    for index in range(pynvml.nvmlDeviceGetCount()):
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            name = _text(pynvml.nvmlDeviceGetName(handle))
            uuid = _text(pynvml.nvmlDeviceGetUUID(handle))
        except pynvml.NVMLError as error:  # one that fell off the bus must not hide the others
            log.error("GPU %d does not answer: %s", index, error)
            continue
        yield uuid, Device(index=index, kind="cuda", name=name, memory_bytes=int(memory.total))


def _visible(found: Iterator[tuple[str, Device]]) -> Iterator[Device]:
    """As CUDA reads the variable: indices or the beginnings of UUIDs; unset means all, empty none."""
    setting = os.environ.get("CUDA_VISIBLE_DEVICES")
    wanted = None if setting is None else [each.strip() for each in setting.split(",") if each.strip()]
    for uuid, device in found:
        if wanted is None or any(each == str(device.index) or _begins(uuid, each) for each in wanted):
            yield device


def _begins(uuid: str, wanted: str) -> bool:
    return wanted.startswith("GPU-") and uuid.startswith(wanted)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
