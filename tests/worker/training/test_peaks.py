"""The report's peak of memory is that of the process that took most, and each phase has its own."""

from pathlib import Path
from typing import Any

import pytest

from tests.training_runs import WarmParent, trained
from worker.training import peaks

HELD_BYTES = 256 << 20

# The second rank needs more; and each tells what was measured of it.
UNEVEN = f"""
from worker.training import peaks, phase
train, of_process = phase.train, peaks.of_process

def uneven(site, *rest):
    held = bytearray(b"1") * ({HELD_BYTES} * site.ranks.rank)
    peaks.of_process = lambda: told(site.ranks.rank)
    return train(site, *rest)

def told(rank):
    found = of_process()
    Path(os.environ["PEAKS"] + str(rank)).write_text(str(found))
    return found

phase.train = uneven
"""


@pytest.mark.timeout(600)
def test_the_peak_is_that_of_the_rank_that_took_most(warm: WarmParent, tmp_path: Path) -> None:
    told = {"TRAINYARD_TEST_CODE": UNEVEN, "PEAKS": str(tmp_path / "peak")}
    found = peaks_of(warm, tmp_path / "run", 16, told)
    first, second = (int((tmp_path / f"peak{rank}").read_text()) for rank in (0, 1))
    assert second > first
    assert found == {"training": second}


# What each rank holds when a phase begins, and of that how many pieces it shares with the others.
LEFT = """
from worker.training import peaks, phase
train = phase.train

def looked(site, name, resumed):
    shared = Path("/proc/self/maps").read_text().count("memfd:gradients")
    peaks.begin(site.ranks.device)
    Path(os.environ["HELD"] + f"-{name}{site.ranks.rank}").write_text(f"{peaks.of_process()} {shared}")
    return train(site, name, resumed)

phase.train = looked
"""


@pytest.mark.timeout(600)
def test_a_phase_begins_without_the_memory_of_the_one_before(warm: WarmParent, tmp_path: Path) -> None:
    told = {"TRAINYARD_TEST_CODE": LEFT, "HELD": str(tmp_path / "held")}
    peak = peaks_of(warm, tmp_path / "run", 96, told, baseline={"kind": "train"})["baseline"]
    held = {path.name.partition("-")[2]: path.read_text().split() for path in tmp_path.glob("held-*")}
    assert set(held) == {"baseline0", "baseline1", "training0", "training1"}
    assert {shared for _, shared in held.values()} == {"0"}
    assert all(int(resident) < 0.5 * peak for resident, _ in held.values())


def peaks_of(warm: WarmParent, folder: Path, size: int, told: dict[str, str], **changes: Any) -> dict[str, int]:
    """What a run of two ranks notes, on images of so many pixels a side."""
    spec = {
        "dataset": {"kind": "builtin", "name": "digits"},
        "model": {"kind": "timm", "name": "test_resnet"},
        "augment": [{"kind": "resize", "size": [size, size]}],
        "training": {"epochs": 1, "batch_size": 600},
        "distributed": {"kind": "ddp", "processes": 2},
        **changes,
    }
    return peaks.read(warm.run(spec, folder, meanwhile=trained(folder), **told).folder)
