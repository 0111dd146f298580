"""`python -m worker.training.formats ORDER.json PIPE`: writes what `export` and `quantization` ask for.

PIPE, a descriptor, hears of each file, and of a failure.
"""

import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.contract.compression import Quantization
from app.contract.export import FILES, INT8_FILE, USAGE_FILE
from app.contract.work import RunOrder
from worker.training import calibration, export, formats, machine, notes, side_process, stages
from worker.training.card import ModelCard, read_card
from worker.training.formats import usage
from worker.training.measuring import ARTIFACTS, BEFORE
from worker.training.notes import Tell

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Conversion:
    """Of one trained network."""

    order: RunOrder
    card: ModelCard
    tell: Tell
    threads: int

    def all(self) -> None:
        """Write every file. Raises `RunFailure`."""
        spec = self.order.spec.resolved()
        for name in spec.export:
            with self._told(self.folder / FILES[name]):
                network, card = export.rebuild(self.folder)
                formats.write(network, card, name, self.folder / FILES[name])
        if spec.quantization:
            self._quantize(spec.quantization)
        if "onnx" in spec.export:
            self._usage(INT8_FILE if spec.quantization else FILES["onnx"])

    @property
    def folder(self) -> Path:
        """Where the trained network lies."""
        return Path(self.order.paths.run_dir, ARTIFACTS)

    def _quantize(self, wanted: Quantization) -> None:
        """The int8 file; and in ONNX too what it is compared with."""
        from worker.training.formats import int8

        path = self.folder / INT8_FILE
        with self._told(path):
            images = calibration.Images(self.order, wanted.calibration_images, self.threads)
            self._tell_few(len(images))
            try:
                int8.write(self.folder / FILES["onnx"], self.card, images.batches(), wanted.exclude, path)
            except Exception as error:
                raise formats.failed("int8", self.card, error) from error
        before = stages.before(self.order, self.folder, self.card)
        formats.write(before.model, before.card or self.card, "onnx", Path(self.order.paths.run_dir, BEFORE))

    def _tell_few(self, images: int) -> None:
        if images < formats.FEW_IMAGES:
            message = (
                f"The ranges of activations are found on all {images} training images, which is little: values beyond "
                "them are cut off."
            )
            self.tell("warning", "few_calibration_images", message, images=images)

    def _usage(self, model: str) -> None:
        text = usage.text(USAGE_FILE, model, self.card, self.order.spec)
        export.write(self.folder / USAGE_FILE, text.encode(), "text/x-python")

    @contextmanager
    def _told(self, path: Path) -> Iterator[None]:
        begun_s = time.monotonic()
        yield
        seconds, size = time.monotonic() - begun_s, path.stat().st_size
        message = f"{path.name}: {size:,} bytes, written in {seconds:.1f} s."
        log.info(message)
        self.tell("info", "exported", message, file=path.name, size_bytes=size, seconds=round(seconds, 3))


def main(arguments: list[str]) -> int:
    """Write the files, or tell the launcher, over its pipe, why not and exit with 1."""
    if len(arguments) != 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    order, pipe = Path(arguments[0]), int(arguments[1])
    return side_process.run(pipe, "A format cannot be written", lambda reporter: _write(order, notes.to(reporter)))


def _write(path: Path, tell: Tell) -> None:
    for library in ("onnx_ir", "onnxscript"):  # they tell of each constant that they fold
        logging.getLogger(library).setLevel(logging.WARNING)
    order = RunOrder.model_validate_json(path.read_bytes())
    with tempfile.TemporaryDirectory(prefix=".convert-", dir=order.paths.run_dir) as folder:
        tempfile.tempdir = folder  # of the libraries too: what a kill leaves is removed with the attempt
        card = read_card(Path(order.paths.run_dir, ARTIFACTS))
        Conversion(order, card, tell, machine.threads()).all()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
