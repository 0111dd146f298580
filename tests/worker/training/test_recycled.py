"""Memory that is used again: never while any tensor looks at it."""

import threading

import torch

from worker.training.recycled import Recycled


def test_memory_comes_again_when_its_tensor_is_gone() -> None:
    memory = Recycled()
    first = memory.empty((4, 5, 6), torch.float32)
    address = first.data_ptr()
    assert first.shape == (4, 5, 6)
    assert address % 64 == 0
    del first
    assert memory.empty((4, 5, 6), torch.float32).data_ptr() == address


def test_memory_that_a_view_or_a_graph_looks_at_is_left_alone() -> None:
    memory = Recycled()
    weights = torch.ones(6, requires_grad=True)
    sums = []
    for number in range(10):
        values = memory.empty((5, 6), torch.float32).fill_(number)
        sums.append((values[1:] * weights).sum())  # the graph needs the values for the gradient
        del values
    torch.stack(sums).sum().backward()
    assert weights.grad is not None
    assert weights.grad.tolist() == [4.0 * sum(range(10))] * 6


def test_memory_serves_other_shapes_and_types_of_about_its_size() -> None:
    memory = Recycled()
    address = memory.empty((100,), torch.float64).data_ptr()
    assert memory.empty((3, 50), torch.float32).data_ptr() == address
    assert memory.empty((10,), torch.float32).data_ptr() != address  # a last, small batch does not hold the large one
    assert memory.empty((500,), torch.float32).shape == (500,)


def test_no_two_threads_get_the_same_memory() -> None:
    memory, spoilt = Recycled(), []

    def write(number: int) -> None:
        for _ in range(300):
            values = memory.empty((1000,), torch.int64).fill_(number)
            if not bool((values == number).all()):
                spoilt.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert spoilt == []
