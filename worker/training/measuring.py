"""The phase `measuring`: other formats are written, each file is run by itself, and what ships is measured.

Each step is a process of its own: it knows nothing but the files, and what it holds of memory or does wrong is its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.contract.events import ArtifactFile
from app.contract.export import FILES
from app.contract.failures import FailureCode
from app.contract.faults import Point, reach
from app.contract.report import Report
from app.contract.work import RunOrder
from worker.training import formats, reference
from worker.training.errors import RunFailure
from worker.training.export import described
from worker.training.measuring_files import ARTIFACTS

REPORT = "report.json"
ORDER = "order.json"
BEFORE = "before.onnx"
"""The network that `baseline` names, in ONNX, in the attempt's folder: the same runtime runs int8 beside it."""

PIPE = "{pipe}"
"""In a command: the descriptor over which the program reports."""
CONVERT_S = 3600.0
RUN_S = 900.0
MEASURE_S = 6 * 3600.0
"""How long each step may take: tens of times what the largest of timm's networks take on one core."""

_RUNNERS = {file: f"_run_{name}.py" for name, file in FILES.items()}
_OWN = Path(formats.__file__).parent
_FOLDERS = {FILES[name]: _OWN.parents[1] / "tensorflow" / "formats" for name in ("saved_model", "tflite")}  # type: ignore[index]

Start = Callable[[str, float, list[str]], None]
"""(name, longest time in seconds, command): runs `python COMMAND` to its end. Raises `RunFailure`, `Stopped`.

`-m MODULE`, which has a `main`, is one of our programs; what runs a file alone comes with `-I`.
"""


def artifacts(run_dir: Path) -> list[ArtifactFile]:
    """Everything that the run leaves to its user, in the order of names."""
    return [described(path) for path in sorted((run_dir / ARTIFACTS).iterdir()) if not path.name.startswith(".")]


@dataclass(frozen=True)
class Measuring:
    """Of one run."""

    order: RunOrder
    run_dir: Path
    start: Start

    def report(self) -> Report:
        """Write and check every format, then the report, which becomes an artifact. Raises `RunFailure`, `Stopped`.

        When a format fails, none is left behind: a file that was not checked is offered to nobody.
        """
        try:
            return self._report()
        except RunFailure:
            formats.remove(self.run_dir / ARTIFACTS)
            raise

    def _report(self) -> Report:
        formats.remove(self.run_dir / ARTIFACTS)
        made = formats.made_files(self.order.spec)
        if made:
            self._python("convert", CONVERT_S, "-m", self._program("formats.__main__"), str(self.run_dir / ORDER), PIPE)
        reach(Point.CONVERTED_BEFORE_MEASURE)
        for file in made:
            self._run_alone(file)
        found, kept = self.run_dir / f".{REPORT}", self.run_dir / ARTIFACTS / REPORT
        self._python("measure", MEASURE_S, "-m", self._program("measure"), str(self.run_dir / ORDER), str(found), PIPE)
        found.replace(kept)
        return Report.model_validate_json(kept.read_bytes())

    def _run_alone(self, file: str) -> None:
        """As its user would: isolated from this project's code, on the images of the reference."""
        runner = _FOLDERS.get(file, _OWN) / _RUNNERS.get(file, "_run_onnx.py")
        folder = self.run_dir / reference.FOLDER
        files = (self.run_dir / ARTIFACTS / file, folder / reference.IMAGES, folder / f"{file}.npy")
        name = f"run_{Path(file).stem}" if file == "model.int8.onnx" else f"run_{Path(file).suffix[1:]}"
        try:
            self._python(name, RUN_S, "-I", str(runner), *map(str, files))
        except RunFailure as failure:
            if failure.failure.code is not FailureCode.INTERNAL:
                raise
            reason = _last_line(self.run_dir / "logs" / f"{name}.log")
            message = f"{file} cannot be run outside of training: {reason}"
            raise RunFailure(FailureCode.EXPORT_FAILED, message) from failure

    def _program(self, name: str) -> str:
        return f"worker.{'training' if self.order.spec.framework == 'torch' else 'tensorflow'}.{name}"

    def _python(self, name: str, longest_s: float, *command: str) -> None:
        self.start(name, longest_s, list(command))


def _last_line(path: Path) -> str:
    lines = [line.strip() for line in path.read_text("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1][:1000] if lines else "it said nothing."
