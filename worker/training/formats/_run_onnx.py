"""Runs an ONNX file as any of its users would: with ONNX Runtime and NumPy, and no code of ours.

`python -I _run_onnx.py MODEL.onnx IMAGES.npy LOGITS.npy`: uint8 images, N x H x W x C, to logits. Batches of 1, 2 and
the rest, so that a file that fixes the number of images is found.
"""

import sys

import numpy as np
import onnxruntime

model, images, logits = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
name = session.get_inputs()[0].name
values = np.load(images).transpose(0, 3, 1, 2).astype(np.float32) / 255
parts = [part for part in np.split(values, [1, 3]) if len(part)]
np.save(logits, np.concatenate([session.run(None, {name: part})[0] for part in parts]).astype(np.float64))
if foreign := {"app", "worker", "torch", "timm"} & {module.partition(".")[0] for module in sys.modules}:
    sys.exit(f"loaded what users of the file do not have: {', '.join(sorted(foreign))}")
