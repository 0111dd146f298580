import json
import os
from pathlib import Path

import pytest
import torch

from worker.training import checkpoint
from worker.training.checkpoint import Damaged, Position, Snapshot
from worker.training.run_place import RunPlace


def snapshot(step: int, phase: str = "training") -> Snapshot:
    tensors = {"model": {"weight": torch.full((3,), float(step))}, "optimizer": {"state": {0: {"step": step}}}}
    position = Position(phase, epoch=1, batch=2, step=step, best=0.1 + 0.2)  # type: ignore[arg-type]
    return Snapshot(position, {"spec": "a", "data": "b"}, tensors, [{"torch": "x"}, {"torch": "y"}])


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    told = checkpoint.save(snapshot(7), tmp_path)
    assert told["name"] == "training-00000007"
    checkpoint.verify(tmp_path / told["name"])
    found = checkpoint.load(tmp_path / told["name"])
    wanted = snapshot(7)
    assert (found.position, found.identity, found.rng) == (wanted.position, wanted.identity, wanted.rng)
    assert torch.equal(found.tensors["model"]["weight"], wanted.tensors["model"]["weight"])
    assert found.tensors["optimizer"] == wanted.tensors["optimizer"]


def test_the_manifest_names_size_and_hash_of_every_file_and_is_reported_by_its_own(tmp_path: Path) -> None:
    (tmp_path / "baseline.json").write_text("{}")
    told = checkpoint.save(snapshot(7), tmp_path, [tmp_path / "baseline.json"])
    folder = tmp_path / told["name"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["files"]) == {"state.pt", "progress.json", "baseline.json"}
    assert {path.name for path in folder.iterdir()} == {*manifest["files"], "manifest.json"}
    assert told["size_bytes"] == sum(file["size_bytes"] for file in manifest["files"].values())
    assert told["sha256"] == checkpoint._facts(folder / "manifest.json")["sha256"]


@pytest.mark.parametrize("name", ["state.pt", "progress.json", "manifest.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_damaged_checkpoint_is_noticed_whatever_was_damaged(tmp_path: Path, name: str, harm: str) -> None:
    path = tmp_path / checkpoint.save(snapshot(7), tmp_path)["name"] / name
    content = path.read_bytes()
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if harm == "cut" else content[:9] + bytes([content[9] ^ 1]) + content[10:])
    with pytest.raises(Damaged):
        checkpoint.verify(path.parent)


def test_a_damaged_newest_gives_way_to_the_one_before(tmp_path: Path) -> None:
    for step in (3, 5, 11):
        checkpoint.save(snapshot(step), tmp_path)
    checkpoint.save(snapshot(9, "baseline"), tmp_path)
    (tmp_path / "training-00000011/state.pt").write_bytes(b"")
    found, problems = checkpoint.newest_good(checkpoint.newest_first(tmp_path))
    assert found == tmp_path / "training-00000005"
    assert len(problems) == 1
    assert "training-00000011/state.pt" in problems[0]


def test_of_those_that_are_named_the_first_whole_one_counts_wherever_it_lies(tmp_path: Path) -> None:
    """The newest of this attempt, then those of the attempt before; what nobody named is not looked at."""
    first, second = tmp_path / "1", tmp_path / "2"
    for folder, step in ((first, 3), (first, 5), (second, 11), (first, 99)):
        checkpoint.save(snapshot(step), folder)
    (second / "training-00000011/manifest.json").unlink()
    named = [second / "training-00000011", first / "training-00000007", first / "training-00000005"]
    found, problems = checkpoint.newest_good(named)
    assert found == first / "training-00000005"
    assert [problem.split(":")[0] for problem in problems] == ["training-00000011", "training-00000007"]


def test_nothing_unfinished_is_taken_for_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / ".training-00000003.partial").mkdir()
    (tmp_path / "training-00000004.removed").mkdir()
    assert checkpoint.newest_good(checkpoint.newest_first(tmp_path)) == (None, [])


def test_a_step_that_is_made_again_replaces_its_checkpoint(tmp_path: Path) -> None:
    checkpoint.save(snapshot(3), tmp_path)
    again = snapshot(3)
    again.tensors["model"]["weight"] += 1
    checkpoint.save(again, tmp_path)
    assert checkpoint.load(tmp_path / "training-00000003").tensors["model"]["weight"][0] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["training-00000003"]


def test_loading_runs_no_code_of_the_file(tmp_path: Path) -> None:
    folder = tmp_path / checkpoint.save(snapshot(3), tmp_path)["name"]
    torch.save({"model": Path}, folder / "state.pt")
    with pytest.raises(Exception, match=r"[Ww]eights"):
        checkpoint.load(folder)


def test_what_was_being_written_is_removed_and_whole_checkpoints_stay(tmp_path: Path) -> None:
    (tmp_path / ".training-00000002.partial").mkdir()
    (tmp_path / "training-00000001").mkdir()
    checkpoint.remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["training-00000001"]


def test_everything_is_on_the_disk_before_the_name_is_and_the_name_before_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power failure needs: the order of fsync and rename, which no crash of a process can show."""
    done: list[tuple[str, str]] = []
    fsync, rename = os.fsync, Path.rename

    def note_fsync(descriptor: int) -> None:
        fsync(descriptor)
        done.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink().name))

    def note_rename(path: Path, target: Path) -> Path:
        done.append(("rename", Path(target).name))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "rename", note_rename)
    folder = tmp_path / "checkpoints"
    (tmp_path / "baseline.json").write_text("{}")
    checkpoint.save(snapshot(7), folder, [tmp_path / "baseline.json"])
    before, after = done[: done.index(("rename", "training-00000007"))], done[-1]
    partial = ".training-00000007.partial"
    files = {("sync", name) for name in ("baseline.json", "state.pt", "progress.json", "manifest.json")}
    assert set(before) == files | {("sync", partial)}
    assert before[-1] == ("sync", partial)
    assert after == ("sync", "checkpoints")


def test_what_an_earlier_phase_left_is_fetched_also_in_the_folder_that_it_was_left_in(tmp_path: Path) -> None:
    """A run by hand goes on where it was: there the checkpoint's file is a second name of the artifact."""
    place = RunPlace()
    place.run_dir = tmp_path
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "saved").mkdir()
    (tmp_path / "artifacts" / "baseline.json").write_text("left")
    (tmp_path / "saved" / "baseline.json").hardlink_to(tmp_path / "artifacts" / "baseline.json")
    place.fetch_carried(tmp_path / "saved")
    assert (tmp_path / "artifacts" / "baseline.json").read_text() == "left"
    (tmp_path / "artifacts" / "baseline.json").unlink()
    place.fetch_carried(tmp_path / "saved")
    assert (tmp_path / "artifacts" / "baseline.json").read_text() == "left"
