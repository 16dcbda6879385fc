import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plenoptax.regularize import penalize_range


def test_penalize_range_is_the_sum_of_squares_of_four_pixels():
    image = jnp.full((1, 8, 8), 0.5).at[0, 0, :2].set(2.0).at[0, 5, 3:5].set(-1.0)
    assert penalize_range(image) == 4.0
    np.testing.assert_array_equal(jax.grad(penalize_range)(image)[0, 0, :3], [2, 2, 0])
    np.testing.assert_array_equal(jax.grad(penalize_range)(image)[0, 5, 2:5], [0, -2, -2])


@pytest.mark.parity
@pytest.mark.parametrize("allowed_range", [(0.0, 1.0), (0.2, 0.8), (-1.0, 0.0)])
def test_penalize_range_equals_plenoptic_side_by_side(allowed_range, rng, x64):
    po = pytest.importorskip("plenoptic")
    torch = pytest.importorskip("torch")
    image = 2 * rng.standard_normal((2, 1, 9, 9))
    expected = po.regularize.penalize_range(torch.as_tensor(image), allowed_range).item()
    penalty = penalize_range(jnp.asarray(image), allowed_range)
    np.testing.assert_allclose(penalty, expected, rtol=1e-13)


def test_penalize_range_and_gradient_are_zero_inside_and_at_the_ends():
    for image in (jnp.zeros((1, 3, 3)), jnp.ones((1, 3, 3)), jnp.full((1, 3, 3), 0.4)):
        value, gradient = jax.value_and_grad(penalize_range)(image)
        assert value == 0
        np.testing.assert_array_equal(gradient, jnp.zeros_like(image))


def test_penalize_range_takes_open_ends_and_a_range_for_each_channel():
    image = jnp.array([-2.0, 3.0]).reshape(2, 1, 1)
    half = functools.partial(penalize_range, allowed_range=(0.0, float("inf")))
    value, gradient = jax.value_and_grad(half)(image)
    assert value == 4.0
    np.testing.assert_array_equal(gradient.ravel(), [-4, 0])
    low = np.array([-3.0, 0.0]).reshape(2, 1, 1)
    assert penalize_range(image, (low, low + 2)) == 1.0


def test_penalize_range_passes_nan_on():
    assert np.isnan(penalize_range(jnp.array([0.5, jnp.nan])))


def test_penalize_range_under_jit_and_vmap(rng):
    images = jnp.asarray(2 * rng.standard_normal((3, 1, 4, 4)), jnp.float32)
    each = jax.jit(jax.vmap(penalize_range))(images)
    np.testing.assert_allclose(each.sum(), penalize_range(images), rtol=1e-5)
    assert each.shape == (3,)


def test_penalize_range_ignores_further_keywords_and_follows_the_dtype(x64):
    image = jnp.full((1, 2, 2), 1.1, jnp.float32)
    assert penalize_range(image, step=4).dtype == jnp.float32
    np.testing.assert_allclose(penalize_range(image.astype(jnp.float64)), 0.04, rtol=1e-5)


def test_penalize_range_refuses():
    with pytest.raises(ValueError, match="lowest, highest"):
        penalize_range(jnp.zeros(3), (0.0, 0.5, 1.0))
