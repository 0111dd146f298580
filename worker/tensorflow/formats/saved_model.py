"""TensorFlow's own format: a folder, in a zip since artifacts are files."""

import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tensorflow as tf

from worker.tensorflow.files import Card
from worker.tensorflow.formats import UnitInput
from worker.training.artifact_files import write as write_file

FOLDER = "saved_model"


def write(network: Any, card: Card, path: Path) -> None:
    """With one signature, `serving_default`: images to logits."""
    module = UnitInput(network, card)
    with TemporaryDirectory(dir=path.parent.parent, prefix=".saved-") as place:
        folder = Path(place, FOLDER)
        tf.saved_model.save(module, str(folder), signatures={"serving_default": module.answer})
        packed = Path(place, "packed.zip")
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for each in sorted(folder.rglob("*")):
                archive.write(each, each.relative_to(place))
        write_file(path, packed.read_bytes(), "application/zip")
