import matplotlib.pyplot as plt
import numpy as np
import pytest

from plenoptax import plot
from plenoptax.models import DenseWindows, uniform_window


def gaussian(center, sigma):
    distance = [np.arange(size) - middle for size, middle in zip((40, 30), center, strict=True)]
    return np.exp(-0.5 * ((distance[0][:, None] / sigma[0]) ** 2 + (distance[1] / sigma[1]) ** 2))


@pytest.mark.parametrize("zoom", [1, 3])
def test_contours_lie_where_windows_have_half_of_their_maximum(zoom):
    windows = DenseWindows(np.stack([gaussian((15, 9), (4, 2)), gaussian((24, 20), (2, 3))]))
    image = np.linspace(0, 1, 1200).reshape(1, 40, 30)
    figure = plot.windows(windows, image, zoom=zoom)
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), image[0])
    (contours,) = figure.axes[0].collections
    half = np.sqrt(2 * np.log(2))
    for path, center, sigma in zip(
        contours.get_paths(), ((15, 9), (24, 20)), ((4, 2), (2, 3)), strict=True
    ):
        x, y = path.vertices.T
        found = [y.min(), y.max(), x.min(), x.max()]
        wanted = [
            c + sign * half * s for c, s in zip(center, sigma, strict=True) for sign in (-1, 1)
        ]
        np.testing.assert_allclose(found, wanted, atol=0.1)


def test_contours_of_some_windows_at_another_level():
    windows = DenseWindows(np.stack([gaussian((15, 9), (4, 2)), gaussian((24, 20), (2, 3))]))
    axes = plt.figure(figsize=(4, 4)).add_subplot()
    plot.windows(windows, ax=axes, level=0.1, indices=[1], colors="red")
    (path,) = axes.collections[0].get_paths()
    # Between pixels a contour is a straight line.
    assert np.ptp(path.vertices[:, 0]) == pytest.approx(2 * 3 * np.sqrt(2 * np.log(10)), abs=0.2)
    np.testing.assert_array_equal(axes.collections[0].get_edgecolor(), [[1, 0, 0, 1]])


def test_a_uniform_window_has_no_contour_and_colors_are_shown():
    figure = plot.windows(uniform_window((16, 16)), np.full((3, 16, 16), 0.25), zoom=2)
    assert figure.axes[0].collections[0].get_paths() == []
    assert figure.axes[0].images[0].get_array().shape == (16, 16, 3)


def test_windows_refuse():
    windows = uniform_window((16, 16))
    with pytest.raises(ValueError, match=r"16 x 16 pixels as the windows, got the shape \(1, 8"):
        plot.windows(windows, np.ones((1, 8, 16)))
    with pytest.raises(ValueError, match="indices must be at most 0, got 1"):
        plot.windows(windows, indices=[1])
    with pytest.raises(ValueError, match="level must be"):
        plot.windows(windows, level=1.0)
