import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from app.contract.failures import Failure, FailureCode
from worker.training import answers
from worker.training.errors import RunFailure


class Found(BaseModel):
    images: int


def test_what_was_found_is_the_answer(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert answers.give(out, lambda: Found(images=3), answers.explainer("The count")) == 0
    assert json.loads(out.read_text()) == {"images": 3}
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RunFailure(FailureCode.BAD_DATASET, "No images."), FailureCode.BAD_DATASET, "No images."),
        (MemoryError("of 4 GB"), FailureCode.OUT_OF_MEMORY, "The count: of 4 GB"),
        (ZeroDivisionError("by 0"), FailureCode.INTERNAL, "ZeroDivisionError: by 0"),
    ],
)
def test_an_error_is_answered_with_what_its_user_can_do(
    tmp_path: Path, error: Exception, code: FailureCode, message: str
) -> None:
    def fail() -> BaseModel:
        raise error

    assert answers.give(tmp_path / "out.json", fail, answers.explainer("The count")) == 1
    failure = Failure.model_validate_json((tmp_path / "out.json").read_bytes())
    assert (failure.code, failure.message) == (code, message)


def test_it_needs_no_torch() -> None:
    program = "import sys; from worker.training import answers; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
