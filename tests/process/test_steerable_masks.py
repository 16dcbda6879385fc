import numpy as np
import pytest

from plenoptax.process._steerable_masks import (
    angular_mask,
    frequency_grid,
    level_shape,
    radial_masks,
)


@pytest.mark.parametrize("shape", [(16, 16), (37, 53), (20, 31)])
@pytest.mark.parametrize("twidth", [1, 2, 0.5])
def test_masks_divide_the_energy(shape, twidth):
    radius, angle = frequency_grid(shape, shape)
    for octave in (0, 1, 3):
        lowpass, highpass = radial_masks(radius, octave, twidth)
        np.testing.assert_allclose(lowpass**2 + highpass**2, 1, rtol=1e-14)
        np.testing.assert_array_equal(lowpass[radius >= 2.0**-octave], 0)
        below = highpass[radius <= 2.0 ** (-octave - twidth)]
        np.testing.assert_allclose(below, 0, rtol=0, atol=1e-15)
        assert (lowpass[0, 0], highpass[0, 0]) == (1, 0)
    for order in (0, 1, 2, 5, 15):
        filters = angular_mask(angle[None], order, np.arange(order + 1)[:, None, None])
        np.testing.assert_allclose((filters**2).sum(0), 1, rtol=1e-13)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_angular_mask_analytic_is_one_half_plane(order):
    angle = np.linspace(-np.pi, np.pi, 24, endpoint=False)
    for orientation in range(order + 1):
        full = angular_mask(angle, order, orientation)
        analytic = angular_mask(angle, order, orientation, analytic=True)
        inside = np.cos(angle - np.pi * orientation / (order + 1)) > 0
        np.testing.assert_allclose(analytic, np.where(inside, 2 * full, 0), atol=1e-15)


@pytest.mark.parametrize("shape", [(64, 48), (37, 53), (131, 7)])
def test_levels_hold_frequencies_of_the_image(shape):
    radius, angle = frequency_grid(shape, shape)
    for scale in range(1, 4):
        rows, columns = level_shape(shape, scale)
        assert (rows, columns) == tuple(int(np.ceil(n / 2**scale)) for n in shape)
        small_radius, small_angle = frequency_grid((rows, columns), shape)
        positive = np.s_[: (rows + 1) // 2, : (columns + 1) // 2]
        np.testing.assert_array_equal(small_radius[positive], radius[positive])
        np.testing.assert_array_equal(small_angle[positive], angle[positive])
        half_radius, _ = frequency_grid((rows, columns), shape, half=True)
        np.testing.assert_array_equal(half_radius, small_radius[:, : columns // 2 + 1])
        # What a level leaves out, the lowpass before it has removed.
        lowpass, _ = radial_masks(radius, scale)
        assert lowpass[(rows + 1) // 2 : shape[0] - rows // 2].max(initial=0) == 0
