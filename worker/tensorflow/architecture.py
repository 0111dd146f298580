"""A network of Keras as data: what must be known to build it again. Kept in model.json, beside the weights."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import keras
from keras.src.utils.naming import reset_uids
from pydantic import BaseModel, ConfigDict, Field

from app.contract.compression import Compression
from app.contract.keras_names import KerasName
from worker.tensorflow.dropout import Dropout
from worker.tensorflow.norm import BatchNorm

Layers = Sequence[Any]
"""Of Keras: called one after another in the place of one layer."""


class Applied(BaseModel):
    """A compression method as it was applied: to these layers, named as the network named them at that moment."""

    model_config = ConfigDict(frozen=True)

    method: Compression
    layers: tuple[str, ...]


class Architecture(BaseModel):
    """A network of keras.applications with its arguments, and what compression made of it, in order."""

    model_config = ConfigDict(frozen=True)

    name: KerasName = Field(description="The network's name in keras.applications, in lower case.")
    width: float = 1.0
    channels: int = Field(ge=1, le=3)
    outputs: int = Field(ge=1, le=1_000_000, description="Number of classes.")
    image_size: tuple[int, int] = Field(description="[height, width]; the network is built for it.")
    compression: tuple[Applied, ...] = ()


_CLASSES: dict[KerasName, str] = {
    "densenet121": "DenseNet121",
    "densenet169": "DenseNet169",
    "densenet201": "DenseNet201",
    "efficientnet_v2_b0": "EfficientNetV2B0",
    "efficientnet_v2_b1": "EfficientNetV2B1",
    "efficientnet_v2_b2": "EfficientNetV2B2",
    "efficientnet_v2_b3": "EfficientNetV2B3",
    "efficientnet_v2_s": "EfficientNetV2S",
    "efficientnet_v2_m": "EfficientNetV2M",
    "efficientnet_v2_l": "EfficientNetV2L",
    "inception_resnet_v2": "InceptionResNetV2",
    "inception_v3": "InceptionV3",
    "mobilenet": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3_large": "MobileNetV3Large",
    "mobilenet_v3_small": "MobileNetV3Small",
    "nasnet_large": "NASNetLarge",
    "nasnet_mobile": "NASNetMobile",
    "resnet50": "ResNet50",
    "resnet50_v2": "ResNet50V2",
    "resnet101": "ResNet101",
    "resnet101_v2": "ResNet101V2",
    "resnet152": "ResNet152",
    "resnet152_v2": "ResNet152V2",
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "xception": "Xception",
}


def assemble(architecture: Architecture) -> Any:
    """Build the network, with whatever weights the current random state gives it, in the current scope and precision.

    Raises what Keras raises when the network cannot be built so, and `KeyError` when a compressed layer is not there.
    """
    reset_uids()  # layers that have no name of their own are numbered: from 1 on, whatever was built before
    model = _with_own_layers(_application(architecture))
    for applied in architecture.compression:
        model = apply(model, applied)
    return model


def apply(model: Any, applied: Applied) -> Any:
    """The network in the form that a method gives it, with new weights."""
    layers = {each.name: each for each in model.layers}
    return replaced(model, {name: in_the_place_of(layers[name], applied) for name in applied.layers})


def in_the_place_of(layer: Any, applied: Applied) -> Layers:
    """What a method puts there, with new weights."""
    kind: str = applied.method.kind
    convert: Callable[[Any, Any], Layers] = import_module(f"worker.tensorflow.compression.{kind}").convert
    return convert(applied.method, layer)


def replaced(model: Any, made: Mapping[str, Layers]) -> Any:
    """A copy of the network, with new weights, where other layers stand in the place of those that are named."""

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if layer.name not in made:
            return layer(*args, **kwargs)
        (values,) = args
        for each in made[layer.name]:
            values = each(values)
        return values

    return keras.models.clone_model(model, clone_function=_copy, call_function=call)


def weights_of(model: Any) -> dict[str, Any]:
    """Weights and running statistics by path, as NumPy's arrays; random states of layers too."""
    return {variable.path: variable.numpy() for variable in _variables(model)}


def set_weights(model: Any, weights: Mapping[str, Any]) -> None:
    """Fill a network. Raises `KeyError` for what is missing."""
    for variable in _variables(model):
        variable.assign(weights[variable.path])


def _variables(model: Any) -> list[Any]:
    variables = list(model.variables)
    assert len({variable.path for variable in variables}) == len(variables), "two weights have one name"
    return variables


def _application(architecture: Architecture) -> Any:
    options: dict[str, Any] = {} if architecture.width == 1 else {"alpha": architecture.width}
    if architecture.name.startswith(("mobilenet_v3", "efficientnet_v2")):
        options["include_preprocessing"] = False
    build = getattr(keras.applications, _CLASSES[architecture.name])
    return build(
        weights=None,
        input_shape=(*architecture.image_size, architecture.channels),
        classes=architecture.outputs,
        classifier_activation=None,
        **options,
    )


def _with_own_layers(model: Any) -> Any:
    """Batch normalisation and dropout in our own definitions."""
    return replaced(model, {})


def _copy(layer: Any) -> Any:
    config = layer.get_config()
    if isinstance(layer, keras.layers.BatchNormalization):
        return BatchNorm.from_config(config)
    if isinstance(layer, keras.layers.Dropout):
        return Dropout.from_config(config)
    return type(layer).from_config(config)
