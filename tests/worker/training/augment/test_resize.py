import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.augment import Resize
from worker.training import geometry
from worker.training.augment.resize import build
from worker.training.draws import Draw


def matrices(spec: Resize, size: tuple[int, int]) -> np.ndarray:
    return build(spec).matrices(Draw(0, 0, 0, np.arange(1)), geometry.repeat(size, 1))


@given(st.integers(1, 500), st.integers(1, 500))
def test_edges_go_to_edges(height: int, width: int) -> None:
    assert build(Resize(size=(20, 30))).size_out == (20, 30)
    corners = geometry.outline(matrices(Resize(size=(20, 30)), (height, width)), (20, 30))[0]
    np.testing.assert_allclose(corners[[0, 3]], [[-0.5, -0.5], [width - 0.5, height - 0.5]], atol=1e-9)


@pytest.mark.parametrize(("size", "expected"), [((40, 100), (40, 80)), ((100, 40), (20, 40)), ((30, 60), (30, 60))])
def test_cover_takes_the_largest_centred_window_of_the_outputs_shape(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    spec = Resize(size=(16, 32), fit="cover")
    matrix = matrices(spec, size)
    np.testing.assert_allclose(matrix[0, [1, 0], [1, 0]] * np.array(spec.size), expected)
    centre = matrix[0] @ [(32 - 1) / 2, (16 - 1) / 2, 1]
    np.testing.assert_allclose(centre[:2], [(size[1] - 1) / 2, (size[0] - 1) / 2])
