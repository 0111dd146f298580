"""`python -m worker.tensorflow.formats ORDER.json PIPE`: writes what `export` asks for."""

import logging
import sys
import time
from pathlib import Path

from app.contract.export import FILES
from app.contract.work import RunOrder
from worker.tensorflow import program
from worker.training import notes
from worker.training.measuring_files import ARTIFACTS
from worker.training.notes import Tell

log = logging.getLogger(__name__)


def convert(order: RunOrder, tell: Tell) -> None:
    """Write every file. Raises `RunFailure`."""
    from worker.tensorflow import devices, formats, networks

    devices.set_precision("fp32", "cpu")
    folder = Path(order.paths.run_dir, ARTIFACTS)
    for name in order.spec.export:
        begun_s, path = time.monotonic(), folder / FILES[name]
        network, card = networks.rebuild(folder)
        formats.write(network, card, name, path)
        seconds, size = time.monotonic() - begun_s, path.stat().st_size
        message = f"{path.name}: {size:,} bytes, written in {seconds:.1f} s."
        log.info(message)
        tell("info", "exported", message, file=path.name, size_bytes=size, seconds=round(seconds, 3))


def main(arguments: list[str]) -> int:
    """Write the files, or tell the launcher, over its pipe, why not and exit with 1."""
    order, pipe = arguments
    return program.run(order, pipe, lambda wanted, reporter: convert(wanted, notes.to(reporter)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
