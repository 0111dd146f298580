import numpy as np

from worker.training import geometry, windows
from worker.training.draws import Draw


def test_a_window_that_never_fits_becomes_the_largest_of_the_nearest_shape() -> None:
    sizes = geometry.repeat((10, 1000), 50)
    found = windows.drawn(Draw(0, 0, 0, np.arange(50)), sizes, (0.9, 1.0), (0.5, 2.0))
    np.testing.assert_allclose(found, geometry.repeat((10, 20), 50))
