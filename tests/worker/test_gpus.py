"""What a host has to train on."""

import os

import pytest

from app.contract.work import Device
from worker import gpus

FOUND = [
    (f"GPU-{index}abc-def", Device(index=index, kind="cuda", name="H", memory_bytes=1 << 30)) for index in range(3)
]


def test_a_host_without_gpus_has_two_slots_or_one_a_core():
    assert len(gpus.slots(None)) == max(2, os.cpu_count())


@pytest.mark.parametrize("count", [0, 1, 7])
def test_the_number_of_slots_can_be_set(count):
    found = gpus.slots(count)

    assert [slot.index for slot in found] == list(range(count))
    assert {slot.kind for slot in found} <= {"cpu"}


@pytest.mark.parametrize(
    ("setting", "expected"),
    [(None, [0, 1, 2]), ("", []), ("1", [1]), ("0, 2", [0, 2]), ("GPU-2abc", [2]), ("-1", []), ("NoDevFiles", [])],
)
def test_a_worker_offers_only_the_gpus_that_it_may_see(monkeypatch, setting, expected):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if setting is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)

    assert [device.index for device in gpus._visible(iter(FOUND))] == expected


def test_every_device_of_this_host_can_be_told_to_the_service():
    found = gpus.devices(None)

    assert len(found) >= 1
    assert all(device.memory_bytes > 0 and device.name for device in found)
