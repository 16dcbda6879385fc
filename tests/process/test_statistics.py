import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.test_util import check_grads

from plenoptax.process import kurtosis, skew, variance


ORACLES = {
    variance: np.var,
    skew: scipy.stats.skew,
    kurtosis: lambda x, axis: scipy.stats.kurtosis(x, axis, fisher=False),
}


@pytest.mark.parametrize("statistic", ORACLES)
@pytest.mark.parametrize("dim", [None, 1, -1, (0, 2), [1, 2]])
@pytest.mark.parametrize("keepdim", [False, True])
def test_statistics_equal_scipy(statistic, dim, keepdim, x64, rng):
    x = rng.gamma(2, size=(3, 4, 50))
    axis = tuple(dim) if isinstance(dim, list) else dim
    value = statistic(jnp.asarray(x), dim=dim, keepdim=keepdim)
    expected = ORACLES[statistic](x, axis=axis)
    if keepdim:
        expected = np.reshape(expected, np.mean(x, axis=axis, keepdims=True).shape)
    assert value.shape == np.shape(expected)
    np.testing.assert_allclose(value, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("sampler", "expected_skew", "expected_kurtosis"),
    [
        (jax.random.normal, 0, 3),
        (jax.random.uniform, 0, 1.8),
        (jax.random.laplace, 0, 6),
        (jax.random.exponential, 2, 9),
    ],
)
def test_skew_and_kurtosis_of_distributions(sampler, expected_skew, expected_kurtosis, getkey):
    x = sampler(getkey(), (200_000,))
    assert abs(skew(x) - expected_skew) < 0.1
    assert abs(kurtosis(x) - expected_kurtosis) < 0.06 * expected_kurtosis


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("statistic", [skew, kurtosis])
def test_moments_given_are_used(statistic, keepdim, getkey):
    x = jax.random.uniform(getkey(), (2, 6, 7))
    mean = jnp.mean(x, (1, 2), keepdims=True)
    var = variance(x, mean, (1, 2), keepdim)
    expected = statistic(x, dim=(1, 2), keepdim=keepdim)
    np.testing.assert_allclose(statistic(x, mean, var, (1, 2), keepdim), expected, rtol=1e-5)
    doubled = statistic(x, mean, 4 * var, (1, 2), keepdim)
    factor = 8 if statistic is skew else 16
    np.testing.assert_allclose(doubled, expected / factor, rtol=1e-5)


def test_moments_about_zero(rng):
    x = jnp.asarray(rng.uniform(size=20), jnp.float32)
    np.testing.assert_allclose(variance(x, mean=0), np.mean(np.square(x)), rtol=1e-5)
    np.testing.assert_allclose(skew(x, mean=0, var=1), np.mean(np.power(x, 3)), rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e9])
def test_standardized_moments_do_not_depend_on_scale(scale, getkey):
    x = jax.random.exponential(getkey(), (1000,))
    np.testing.assert_allclose(skew(scale * x), skew(x), rtol=1e-4)
    np.testing.assert_allclose(kurtosis(scale * x), kurtosis(x), rtol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0, 1234.567])
def test_standardized_moments_of_constants(value):
    x = jnp.full((2, 37, 53), value)
    np.testing.assert_array_equal(skew(x, dim=(1, 2)), 0)
    np.testing.assert_array_equal(kurtosis(x, dim=(1, 2)), 3)
    for statistic in (variance, skew, kurtosis):
        gradient = jax.grad(lambda x, statistic=statistic: statistic(x))(x)
        assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("statistic", [variance, skew, kurtosis])
def test_statistics_gradients(statistic, x64, rng):
    x = jnp.asarray(rng.uniform(size=(3, 4)))
    check_grads(jax.jit(lambda x: statistic(x, dim=-1)), (x,), order=1)
    # None of them changes when a constant is added.
    slopes = jax.jit(jax.grad(lambda x: statistic(x, dim=-1).sum()))(x)
    np.testing.assert_allclose(slopes.sum(axis=-1), 0, atol=1e-9)
    assert np.abs(slopes).max() > 0.01
