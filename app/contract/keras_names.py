"""Names of the networks in keras.applications that a spec can ask for.

Only those that take images normalised as the spec says: EfficientNet's first version scales pixels by itself.
"""

from typing import Literal

KerasName = Literal[
    "densenet121",
    "densenet169",
    "densenet201",
    "efficientnet_v2_b0",
    "efficientnet_v2_b1",
    "efficientnet_v2_b2",
    "efficientnet_v2_b3",
    "efficientnet_v2_s",
    "efficientnet_v2_m",
    "efficientnet_v2_l",
    "inception_resnet_v2",
    "inception_v3",
    "mobilenet",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "nasnet_large",
    "nasnet_mobile",
    "resnet50",
    "resnet50_v2",
    "resnet101",
    "resnet101_v2",
    "resnet152",
    "resnet152_v2",
    "vgg16",
    "vgg19",
    "xception",
]

WITH_WIDTH: tuple[KerasName, ...] = ("mobilenet", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")
"""Those whose channels can be multiplied."""
