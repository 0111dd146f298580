"""What a training program may know of its surroundings."""

import pytest

from worker import environment


@pytest.mark.parametrize(
    "name",
    [
        "TRAINYARD_DATABASE_URL",
        "TRAINYARD_BROKER_URL",
        "TRAINYARD_WORKER_TOKEN",
        "TRAINYARD_URL",
        "AWS_SECRET_ACCESS_KEY",
        "HTTP_PROXY",
        "PGPASSWORD",
    ],
)
def test_secrets_stay_outside(name):
    assert environment.allowed({name: "x"}) == {}


@pytest.mark.parametrize("name", ["PATH", "HOME", "LANG", "LC_ALL", "OMP_NUM_THREADS", "LD_LIBRARY_PATH", "TMPDIR"])
def test_what_libraries_need_gets_in(name):
    assert environment.allowed({name: "x"}) == {name: "x"}


def test_a_gpu_run_sees_its_own_gpus_in_nvmls_order():
    found = environment.for_run("cuda", [2, 5], None)

    assert found["CUDA_VISIBLE_DEVICES"] == "2,5"
    assert found["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


@pytest.mark.parametrize("found", [environment.for_run("cpu", [0, 1], None), environment.for_task()])
def test_a_run_without_gpus_sees_none(found):
    assert found["CUDA_VISIBLE_DEVICES"] == ""
