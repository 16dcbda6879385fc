import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plenoptax.process import SteerablePyramidFreq
from plenoptax.process._steerable_masks import frequency_grid, radial_masks

from .pyramids import decompose, grating, steer


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_steering_to_the_filters_of_the_pyramid_is_the_identity(order, is_complex, getkey):
    image = jax.random.uniform(getkey(), (1, 33, 24))
    pyramid = SteerablePyramidFreq((33, 24), 2, order, is_complex=is_complex)
    coefficients = decompose(pyramid, image)
    angles = jnp.pi * jnp.arange(order + 1, dtype=jnp.float32) / (order + 1)
    steered, weights = steer(pyramid, coefficients, angles)
    assert list(steered) == list(weights) == [0, 1]
    for scale in range(2):
        np.testing.assert_allclose(weights[scale], np.eye(order + 1), atol=1e-6)
        np.testing.assert_allclose(steered[scale], coefficients[scale], atol=2e-6)
    turned, _ = steer(pyramid, coefficients, angles + jnp.pi)
    sign = (-1) ** order
    np.testing.assert_allclose(turned[1].real, sign * coefficients[1].real, atol=2e-5)


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_steering_rotates_the_filters(order, is_complex, x64):
    # Frequencies (3, 4) and (4, 3) are (5, 0) rotated, of the same radius.
    pyramid = SteerablePyramidFreq((32, 32), 2, order, is_complex=is_complex)
    upright = decompose(pyramid, grating((32, 32), (0, 5), 0.4), [0, 1])
    angle = 0.3
    steered, _ = steer(pyramid, upright, jnp.asarray([angle]))
    for rows, columns in ((3, 4), (4, 3), (5, 0)):
        rotated = decompose(pyramid, grating((32, 32), (rows, columns), 0.4), [0, 1])
        turn = np.arctan2(rows, columns)
        steered_rotated, _ = steer(pyramid, rotated, jnp.asarray([angle + turn]))
        for scale in (0, 1):
            first, second = steered[scale], steered_rotated[scale]
            np.testing.assert_allclose(first[0, 0, 0, 0], second[0, 0, 0, 0], atol=1e-12)
            np.testing.assert_allclose(
                jnp.sum(jnp.abs(first) ** 2), jnp.sum(jnp.abs(second) ** 2), rtol=1e-12
            )


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("downsample", [False, True])
def test_steering_equals_filters_built_at_the_angle(downsample, is_complex, x64, rng):
    image = rng.uniform(size=(21, 32))
    pyramid = SteerablePyramidFreq((21, 32), 1, 3, is_complex=is_complex, downsample=downsample)
    coefficients = decompose(pyramid, jnp.asarray(image))
    steered, _ = pyramid.steer_coeffs(coefficients, [0.2, -1.1, 4])
    single, _ = pyramid.steer_coeffs(coefficients, 0.2)
    np.testing.assert_allclose(single[0][..., 0, :, :], steered[0][..., 0, :, :], rtol=1e-6)
    radius, angle = frequency_grid((21, 32), (21, 32))
    band = radial_masks(radius, 0)[0] * radial_masks(radius, 1)[1]
    normalizer = np.sqrt(16 / 20)
    for index, steered_angle in enumerate([0.2, -1.1, 4]):
        cosine = np.cos(angle - steered_angle)
        mask = np.where(cosine > 0, 2, 0) if is_complex else 1
        spectrum = 1j * np.fft.fft2(image) * band * normalizer * cosine**3 * mask
        expected = np.fft.ifft2(spectrum)
        expected = expected if is_complex else expected.real
        np.testing.assert_allclose(steered[0][index], expected, atol=1e-12)


def test_steering_is_differentiable_in_the_angle(getkey):
    pyramid = SteerablePyramidFreq((16, 16), 1, 2)
    coefficients = decompose(pyramid, jax.random.uniform(getkey(), (1, 16, 16)))

    @jax.jit
    def response(angle):
        return jnp.sum(pyramid.steer_coeffs(coefficients, angle[None])[0][0][0, 0, 3, 3])

    step = 1e-2
    angle = jnp.asarray(0.7)
    slope = (response(angle + step) - response(angle - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(response)(angle), slope, rtol=1e-2)
