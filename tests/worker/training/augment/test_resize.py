import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.contract.augment import Resize
from worker.training import geometry
from worker.training.augment.resize import build
from worker.training.draws import Draw


@given(st.integers(1, 500), st.integers(1, 500))
def test_edges_go_to_edges_in_training_and_evaluation_alike(height: int, width: int) -> None:
    sizes = geometry.repeat((height, width), 1)
    step = build(Resize(size=(20, 30)))
    assert step.size_out == (20, 30)
    matrices = step.evaluate(sizes)
    np.testing.assert_array_equal(step.train(Draw(0, 0, 0, np.arange(1)), sizes), matrices)
    corners = geometry.outline(matrices, (20, 30))[0]
    np.testing.assert_allclose(corners[[0, 3]], [[-0.5, -0.5], [width - 0.5, height - 0.5]], atol=1e-9)
