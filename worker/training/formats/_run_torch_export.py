"""Runs a torch.export file as any of its users would: with torch and NumPy, and no code of ours.

`python -I _run_torch_export.py MODEL.pt2 IMAGES.npy LOGITS.npy`: uint8 images, N x H x W x C, to logits. Batches of 1,
2 and the rest, so that a file that fixes the number of images is found.
"""

import sys

import numpy as np
import torch

model, images, logits = sys.argv[1:]
network = torch.export.load(model).module()
values = torch.from_numpy(np.load(images).transpose(0, 3, 1, 2).astype(np.float32) / 255)
parts = [part for part in values.tensor_split([1, 3]) if len(part)]
with torch.no_grad():
    np.save(logits, torch.cat([network(part) for part in parts]).double().numpy())
if foreign := {"app", "worker", "timm"} & {module.partition(".")[0] for module in sys.modules}:
    sys.exit(f"loaded what users of the file do not have: {', '.join(sorted(foreign))}")
