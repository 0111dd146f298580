"""Runs a SavedModel as any of its users would: with TensorFlow and NumPy, and no code of ours.

`python -I _run_saved_model.py MODEL.zip IMAGES.npy LOGITS.npy`: uint8 images, N x H x W x C, to logits. Batches of 1, 2
and the rest, so that a file that fixes the number of images is found.
"""

import sys
import tempfile
import zipfile

import numpy as np
import tensorflow as tf

model, images, logits = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    with zipfile.ZipFile(model) as archive:
        archive.extractall(folder)
    loaded = tf.saved_model.load(f"{folder}/saved_model")
    answer = loaded.signatures["serving_default"]
    values = np.load(images).astype(np.float32) / 255
    parts = [part for part in np.split(values, [1, 3]) if len(part)]
    found = [answer(images=tf.constant(part))["logits"].numpy() for part in parts]
np.save(logits, np.concatenate(found).astype(np.float64))
if foreign := {"app", "worker", "torch"} & {module.partition(".")[0] for module in sys.modules}:
    sys.exit(f"loaded what users of the file do not have: {', '.join(sorted(foreign))}")
