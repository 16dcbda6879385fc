import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plenoptax._safe import safe_divisor, safe_sqrt


def test_safe_sqrt_is_the_square_root(rng, x64):
    x = rng.uniform(size=(3, 4))
    np.testing.assert_array_equal(safe_sqrt(jnp.asarray(x)), np.sqrt(x))
    slopes = jax.grad(lambda x: safe_sqrt(x).sum())(jnp.asarray(x))
    np.testing.assert_allclose(slopes, 0.5 / np.sqrt(x), rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_safe_sqrt_has_no_slope_at_zero(x64, dtype):
    x = jnp.asarray([0.0, -0.0, 4.0], dtype)
    found, slopes = safe_sqrt(x), jax.grad(lambda x: safe_sqrt(x).sum())(x)
    assert found.dtype == slopes.dtype == dtype
    np.testing.assert_array_equal(found, [0, 0, 2])
    np.testing.assert_array_equal(slopes, [0, 0, 0.25])


def test_safe_sqrt_hides_nothing():
    found = safe_sqrt(jnp.asarray([-1.0, jnp.nan, jnp.inf]))
    np.testing.assert_array_equal(found, [np.nan, np.nan, np.inf])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_safe_divisor_replaces_zeros_only(rng, x64, dtype):
    x = rng.normal(size=(2, 3)).astype(dtype)
    x[0] = [0.0, -0.0, np.nan]
    wanted = np.concatenate([[1, 1, np.nan], x[1]])
    for found in (safe_divisor(jnp.asarray(x)), safe_divisor(x)):
        assert found.dtype == dtype
        np.testing.assert_array_equal(np.ravel(found), wanted)
    assert isinstance(safe_divisor(x), np.ndarray)


def test_safe_divisor_keeps_gradients_finite(x64):
    def unit(x):
        return x / safe_divisor(safe_sqrt(jnp.sum(x**2)))

    np.testing.assert_array_equal(unit(jnp.zeros(3)), np.zeros(3))
    np.testing.assert_array_equal(jax.jacobian(unit)(jnp.zeros(3)), np.eye(3))
    x = np.asarray([3.0, 4.0])
    wanted = np.eye(2) / 5 - np.outer(x, x) / 125
    np.testing.assert_allclose(jax.jacobian(unit)(jnp.asarray(x)), wanted, rtol=1e-14)
