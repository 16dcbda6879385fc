import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plenoptax.models._color_quantiles import mean_of_sorted_parts


def oracle(values, count):
    """Each value counts as many times as there are parts, so that parts are whole."""
    return np.repeat(np.sort(values, axis=1), count, axis=1).reshape(len(values), count, -1).mean(2)


@pytest.mark.parametrize(("number", "count"), [(64, 8), (77, 8), (10, 7), (5, 8), (9, 1)])
def test_means_are_those_of_sorted_values(x64, rng, number, count):
    values = rng.standard_normal((3, number))
    found = mean_of_sorted_parts(jnp.asarray(values), count)
    np.testing.assert_allclose(found, oracle(values, count), rtol=1e-12, atol=1e-12)


def test_signs_zeros_and_float32_are_sorted(rng):
    values = np.array([[0.0, -0.0, -1e-30, 1e-30, -np.inf, np.inf, -2.0, 3.0]], np.float32)
    found = mean_of_sorted_parts(jnp.asarray(values), 8)
    np.testing.assert_array_equal(found, np.sort(values, axis=1))


@pytest.mark.parametrize(("number", "count"), [(64, 8), (77, 8), (5, 8)])
def test_derivative_equals_finite_differences(x64, rng, number, count):
    values, change = jnp.asarray(rng.standard_normal((2, 3, number)))
    _, slope = jax.jvp(lambda v: mean_of_sorted_parts(v, count), (values,), (change,))
    step = 1e-7
    above, below = (oracle(values + sign * step * change, count) for sign in (1, -1))
    np.testing.assert_allclose(slope, (above - below) / (2 * step), rtol=1e-5, atol=1e-5)


def test_equal_values_share_the_gradient(x64):
    values = jnp.array([[2.0, 1.0, 1.0, 1.0, 1.0, 0.0]])
    jacobian = jax.jacobian(lambda v: mean_of_sorted_parts(v, 3))(values)[0, :, 0]
    wanted = [[0, 1, 1, 1, 1, 4], [0, 2, 2, 2, 2, 0], [4, 1, 1, 1, 1, 0]]
    np.testing.assert_allclose(jacobian, np.array(wanted) / 8)
