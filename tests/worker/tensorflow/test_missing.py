"""Where TensorFlow is not installed, or does not load."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.beside import ROOT
from tests.support.mirrored_runs import SPEC, done


def test_a_broken_tensorflow_ends_with_its_own_code(tmp_path: Path) -> None:
    broken = tmp_path / "lib" / "tensorflow"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('libtensorflow_framework.so.2: cannot open shared object')")
    run = done(SPEC, tmp_path / "run", PYTHONPATH=f"{broken.parent}:{ROOT}")
    assert (run.exit_code, run.failure.code, run.failure.retryable) == (1, "missing_library", True)
    assert "libtensorflow_framework.so.2" in run.failure.message
    assert "EXTRAS=tensorflow" in run.failure.hint


@pytest.mark.skipif(find_spec("tensorflow") is not None, reason="it is installed")
def test_a_missing_tensorflow_ends_with_that_code(tmp_path: Path) -> None:
    run = done(SPEC, tmp_path / "run")
    assert (run.exit_code, run.failure.code) == (1, "missing_library")
