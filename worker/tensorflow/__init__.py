"""Training with TensorFlow: MirroredStrategy over the devices of one process, for networks of Keras.

The same spec, data, order of samples, augmentation (planned and executed by worker.training, without torch), metrics,
events and checkpoints as torch's path. The launcher is worker.training's (`apart.py` there); what it starts are
programs of this package: the trainer (`python -m worker.tensorflow`), `planning`, `formats` and `measure`. None of them
loads torch, and nothing of worker.training loads TensorFlow.

TensorFlow is an extra: import it through modules of this package, after `library.load()`, which says what is missing.

To add a model, a compression method or an optimizer that this path has, too: a file of its kind in `models/`,
`compression/` or `optim/`, and its kind in the table of app/contract/frameworks.py.
"""
