"""What runs torch loads no TensorFlow, also where it is installed."""

import subprocess
import sys

CODE = """
import sys
from worker.training import formats, measure, planning, warm
warm.load()
import worker.training.formats.onnx
print([name for name in ("torch", "tensorflow", "keras") if name in sys.modules])
"""


def test_a_process_with_all_that_torch_runs_need_has_no_tensorflow() -> None:
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['torch']"
