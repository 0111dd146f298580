"""Checks a data set's folder, file by file: `python -m worker.training.data_check REQUEST.json OUT.json`.

The request is an ImportTask; if it names an archive, the folder is made of that first. The answer is a DatasetFacts, or
a Failure and exit code 1. A process of its own, since image decoders are where hostile files strike: whoever starts it
bounds its memory and time.
"""

import sys
from pathlib import Path

from pydantic import BaseModel

from app.contract.failures import FailureCode, failure
from app.contract.work import ImportTask
from worker.training.archives.refusals import Limits
from worker.training.archives.unpack import unpack
from worker.training.errors import RunFailure
from worker.training.image_check import check, facts


def main(request: Path, out: Path) -> int:
    """Exit code 0 with facts in `out`, or 1 with a failure in it."""
    try:
        task = ImportTask.model_validate_json(request.read_bytes())
        if task.archive is not None:
            limits = Limits(task.archive.max_unpacked_bytes, task.archive.min_free_bytes)
            unpack(Path(task.archive.path), Path(task.path), limits)
        return _answer(out, facts(check(task.path, task.bad_image_share)), 0)
    except RunFailure as error:
        return _answer(out, error.failure, 1)
    except MemoryError as error:
        return _answer(out, failure(FailureCode.OUT_OF_MEMORY, f"The data set's check: {error}"), 1)
    except Exception as error:  # noqa: BLE001 - the caller must be told whatever it is
        return _answer(out, failure(FailureCode.INTERNAL, f"{type(error).__name__}: {error}"), 1)


def _answer(out: Path, answer: BaseModel, exit_code: int) -> int:
    part = out.with_name(out.name + ".part")
    part.write_text(answer.model_dump_json(), "utf-8")
    part.replace(out)
    return exit_code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
