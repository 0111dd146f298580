"""Where the programs of the phase `measuring` find and leave things."""

from pathlib import Path

from worker.training import reference

ARTIFACTS = "artifacts"


def logits_file(run_dir: Path, file: str) -> Path:
    """Where the program that ran a file leaves its logits."""
    return run_dir / reference.FOLDER / f"{file}.npy"
