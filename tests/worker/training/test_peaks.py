"""The report's peak of memory is that of the process that took most."""

from pathlib import Path

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
    spec = {
        "dataset": {"kind": "builtin", "name": "digits"},
        "model": {"kind": "timm", "name": "test_resnet"},
        "augment": [{"kind": "resize", "size": [16, 16]}],
        "training": {"epochs": 1, "batch_size": 600},
        "distributed": {"kind": "ddp", "processes": 2},
    }
    told = {"TRAINYARD_TEST_CODE": UNEVEN, "PEAKS": str(tmp_path / "peak")}
    run = warm.run(spec, tmp_path / "run", meanwhile=trained(tmp_path / "run"), **told)
    first, second = (int((tmp_path / f"peak{rank}").read_text()) for rank in (0, 1))
    assert second > first
    assert peaks.read(run.folder) == {"training": second}
