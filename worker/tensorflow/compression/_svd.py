"""The best depthwise and pointwise convolution in the place of a trained dense one, channel by channel."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# O = output channels, C = input channels, K = positions in the kernel, R = depthwise filters a channel


def depthwise_halves(weight_OChw: Array, rank: int) -> tuple[Array, Array]:
    """Filters (C, R, K) and columns (C, O, R), in fp64: the closest of that rank to each channel's matrix (O x K)."""
    outputs, channels = weight_OChw.shape[:2]
    matrices_COK = weight_OChw.astype(np.float64).reshape(outputs, channels, -1).transpose(1, 0, 2)
    left_COR, values_CR, right_CRK = np.linalg.svd(matrices_COK, full_matrices=False)
    scale_CR = _even_scales(values_CR)[:, :rank]
    columns_COR = left_COR[:, :, :rank] * (values_CR[:, :rank] / scale_CR)[:, None, :]
    return scale_CR[:, :, None] * right_CRK[:, :rank], columns_COR


def _even_scales(values_CR: Array) -> Array:
    """About the square root of the singular values, so that both halves have the same norm; nowhere 0."""
    largest_C1 = values_CR.max(-1, keepdims=True)
    return np.sqrt(np.where(largest_C1 > 0, np.maximum(values_CR, largest_C1 / 1000), 1.0))
