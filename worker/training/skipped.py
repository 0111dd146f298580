"""Which files of a data set are not used, told once a run."""

from app.contract.events import Noted
from worker.training.data import LoadedData
from worker.training.events import Reporter


def tell(reporter: Reporter, loaded: LoadedData) -> None:
    """In a note, if there are any."""
    if loaded.refused_count:
        files = [f"{each.name}: {each.reason}" for each in loaded.refused]
        message = f"{loaded.refused_count} files cannot be trained on and are skipped: {'; '.join(files[:10])}"
        reporter.send(Noted, level="warning", code="files_skipped", message=message[:4000], data={"files": files})
