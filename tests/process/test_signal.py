import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plenoptax.process import center_crop, rescale


@pytest.mark.parametrize(("a", "b"), [(0, 1), (-1.5, 4), (1, 0)])
def test_rescale_maps_extremes_and_is_linear(a, b, getkey):
    image = jax.random.normal(getkey(), (3, 8, 5))
    scaled = rescale(image, a, b)
    assert scaled.dtype == image.dtype
    low, high = image.min(), image.max()
    expected = a + (b - a) * (image - low) / (high - low)
    np.testing.assert_allclose(scaled, expected, atol=1e-6)
    np.testing.assert_allclose(scaled.ravel()[image.argmin()], a, atol=1e-6)
    np.testing.assert_allclose(scaled.ravel()[image.argmax()], b, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.3, -7.0])
def test_rescale_constant_gives_a_and_finite_gradient(value):
    image = jnp.full((1, 4, 4), value)
    np.testing.assert_array_equal(rescale(image, 0.25, 2), jnp.full((1, 4, 4), 0.25))
    gradient = jax.grad(lambda image: jnp.sum(rescale(image) ** 2))(image)
    assert jnp.isfinite(gradient).all()


def test_rescale_keeps_float64(x64, rng):
    image = jnp.asarray(rng.uniform(size=(1, 4, 4)))
    scaled = rescale(image, 0, 255)
    assert scaled.dtype == jnp.float64
    np.testing.assert_allclose(scaled.max(), 255, rtol=1e-15)


@pytest.mark.parametrize("shape", [(7, 10), (8, 9), (6, 6)])
@pytest.mark.parametrize("size", [1, 2, 5, 6])
def test_center_crop_keeps_the_center(shape, size):
    height, width = shape
    image = jnp.zeros((2, *shape)).at[:, height // 2, width // 2].set(1)
    cropped = center_crop(image, size)
    assert cropped.shape == (2, size, size)
    np.testing.assert_array_equal(cropped[:, size // 2, size // 2], 1)


def test_center_crop_takes_neighboring_pixels():
    rows, columns = jnp.meshgrid(jnp.arange(9.0), jnp.arange(12.0), indexing="ij")
    np.testing.assert_array_equal(center_crop(rows, 4)[:, 0], [2, 3, 4, 5])
    np.testing.assert_array_equal(center_crop(columns, 3)[0], [5, 6, 7])


@pytest.mark.parametrize("size", [0, -1, 6])
def test_center_crop_refuses_sizes(size):
    with pytest.raises(ValueError, match="from 1 to 5"):
        center_crop(jnp.zeros((5, 7)), size)


@pytest.mark.parametrize("size", [2.0, (2, 2), "2"])
def test_center_crop_refuses_what_is_no_integer(size, unchecked):
    with pytest.raises(TypeError, match="integer"):
        center_crop(jnp.zeros((5, 7)), size)
