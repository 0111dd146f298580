"""Many arrays in one copy."""

import numpy as np
import torch

from worker.training.batched.transfer import send


def test_arrays_arrive_with_their_shapes_types_and_values() -> None:
    arrays = [
        np.arange(7, dtype=np.uint8),
        np.arange(6, dtype=np.int64).reshape(2, 3)[:, ::-1],
        np.zeros((0, 4), np.float32),
        np.float64(np.pi) * np.ones((2, 1, 2)),
        np.arange(3, dtype=np.float32),
    ]
    sent = send(arrays, torch.device("cpu"))
    for array, tensor in zip(arrays, sent, strict=True):
        assert tuple(tensor.shape) == array.shape
        np.testing.assert_array_equal(tensor.numpy(), array, strict=True)


def test_nothing_can_be_sent() -> None:
    assert send([], torch.device("cpu")) == []
