"""Runs a TensorFlow Lite file as any of its users would: with its interpreter and NumPy, and no code of ours.

`python -I _run_tflite.py MODEL.tflite IMAGES.npy LOGITS.npy`: uint8 images, N x H x W x C, to logits. Batches of 1, 2
and the rest, so that a file that fixes the number of images is found.
"""

import sys

import numpy as np
import tensorflow as tf

model, images, logits = sys.argv[1:]
interpreter = tf.lite.Interpreter(model)
(source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
values = np.load(images).astype(np.float32) / 255
found = []
for part in (part for part in np.split(values, [1, 3]) if len(part)):
    interpreter.resize_tensor_input(source["index"], part.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], part)
    interpreter.invoke()
    found.append(interpreter.get_tensor(target["index"]))
np.save(logits, np.concatenate(found).astype(np.float64))
if foreign := {"app", "worker", "torch"} & {module.partition(".")[0] for module in sys.modules}:
    sys.exit(f"loaded what users of the file do not have: {', '.join(sorted(foreign))}")
