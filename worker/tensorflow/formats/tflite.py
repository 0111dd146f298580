"""The format of TensorFlow Lite (LiteRT), for phones and small devices."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from worker.tensorflow.files import Card
from worker.training.artifact_files import write as write_file


def write(network: Any, card: Card, path: Path) -> None:
    """In fp32, with TensorFlow Lite's own operators alone.

    From a model of Keras: of a function, the converter of TensorFlow 2.21 leaves the weights out, and it answers NaN.
    """
    images = keras.Input((*card.image_size, card.channels), name="images")
    mean_C, std_C = np.asarray(card.scaling.mean), np.asarray(card.scaling.std)
    scaled = keras.layers.Rescaling((1 / std_C).tolist(), (-mean_C / std_C).tolist())(images)
    whole = keras.Model(images, network(scaled))
    write_file(path, tf.lite.TFLiteConverter.from_keras_model(whole).convert(), "application/octet-stream")
