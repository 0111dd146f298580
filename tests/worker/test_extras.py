"""Optional libraries of a worker, found among what is installed."""

import sys

import pytest

from app.contract.work import Device
from worker import extras

CPU = [Device(index=0, kind="cpu", name="cpu", memory_bytes=1)]
GPU = [Device(index=0, kind="cuda", name="gpu", memory_bytes=1)]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Nothing is installed but what a test names."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    def add(package):
        folder = tmp_path / f"{package.replace('-', '_')}-2.21.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 2.21.0\n")

    return add


def test_a_worker_without_it_tells_of_none(installed):
    assert extras.usable(CPU) == extras.usable(GPU) == []


def test_the_build_without_gpus_is_of_use_on_cpus_only(installed):
    installed("tensorflow-cpu")
    assert extras.usable(CPU) == ["tensorflow"]
    assert extras.usable(GPU) == []


def test_the_full_build_is_of_use_everywhere(installed):
    installed("tensorflow")
    assert extras.usable(CPU) == extras.usable(GPU) == ["tensorflow"]
