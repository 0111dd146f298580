"""The contenders of the augmentation and data benchmarks: each a program that turns photographs into batches.

One policy for all: a random-resized crop to 224 (scale 0.35 to 1), both flips, a rotation of +-30 degrees, normalised
to float32, N x 3 x 224 x 224. A contender is `python -m benchmarks.pipelines.NAME SOURCE`, with the Python that has its
libraries; it stays alive and makes as many images as each line of its input asks for (child.py). `ours` runs in the
service's environment, the others in that of `sh scripts/peers.sh augment`. Each runs in the best form that it has:
where several are sensible, all are measured and the fastest counts.
"""

SIZE = 224
SCALE = (0.35, 1.0)
DEGREES = 30.0
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
BATCH = 64
WORKERS = 2
"""Loading processes of a DataLoader, threads of ours."""
