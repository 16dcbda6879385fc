"""Functions that do not change with the scale of their input: their gradients at tiny ranges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx
from plenoptax._scale import power_of_two
from plenoptax.process import (
    deviation_from_line,
    kurtosis,
    local_gain_control,
    rectangular_to_polar,
    rescale,
    skew,
)


BASE = np.random.default_rng(0).uniform(size=(1, 12, 12))
WEIGHTS = np.random.default_rng(1).normal(size=(1, 12, 12))
RANGES = (0.0, 1e-38, 1e-20, 1e-15, 1e-10, 1.0)


def weigh(x):
    return jnp.sum(x * jnp.asarray(WEIGHTS[..., : x.shape[-1]], x.dtype))


def of_path(x, normalize):
    parts = deviation_from_line(x[0], normalize)
    return sum(jnp.sum(part * jnp.arange(12, dtype=x.dtype)) for part in parts)


# Of degree 0 in their input: the gradient is inversely proportional to the scale.
SCALE_FREE = {
    "rescale": lambda x: weigh(rescale(x)),
    "rescale to bytes": lambda x: weigh(rescale(x, 0, 255)),
    "skew": skew,
    "kurtosis of rows": lambda x: jnp.sum(kurtosis(x, dim=-1)),
    "deviation": lambda x: of_path(x, True),
}
# With a scale of their own, whose value and gradient need only be finite.
OTHERS = {
    "skew of a given variance": lambda x: skew(x, var=plx.process.variance(x)),
    "distance from a line": lambda x: of_path(x, False),
    "polar": lambda x: sum(map(weigh, rectangular_to_polar(jax.lax.complex(x, x[:, ::-1])))),
    "gain control": lambda x: weigh(local_gain_control(x)[1]),
    "ssim": lambda x: plx.metric.ssim(x, x[:, ::-1]),
    "weighted ssim": lambda x: plx.metric.ssim(x, x[:, ::-1], weighted=True),
    "ms_ssim": lambda x: plx.metric.ms_ssim(x, x[:, ::-1], [0.5]),
    "relative_sse": lambda x: plx.loss.relative_sse(x, x[:, ::-1]),
    "model_metric": lambda x: plx.metric.model_metric_factory(jnp.sin, epsilon=0.0)(x, x[:, ::-1]),
}


def quietly(function):
    return jax.jit(jax.value_and_grad(function))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("name", SCALE_FREE)
def test_value_and_gradient_are_right_at_any_scale(x64, dtype, name):
    both = quietly(SCALE_FREE[name])
    wanted, slope = both(jnp.asarray(BASE, dtype))
    for size in RANGES:
        value, gradient = both(jnp.asarray(BASE * size, dtype))
        assert jnp.isfinite(value)
        assert jnp.isfinite(gradient).all()
        if size > 1e6 * BASE.size * float(jnp.finfo(dtype).tiny):
            rtol = 1e-3 if dtype == jnp.float32 else 1e-9
            np.testing.assert_allclose(value, wanted, rtol=rtol)
            scaled = np.asarray(gradient, np.float64) * size
            np.testing.assert_allclose(scaled, slope, atol=rtol * np.abs(slope).max())


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("name", OTHERS)
def test_value_and_gradient_are_finite_at_any_scale(x64, dtype, name):
    both = quietly(OTHERS[name])
    for size in RANGES:
        value, gradient = both(jnp.asarray(BASE * size, dtype))
        assert jnp.isfinite(value)
        assert jnp.isfinite(gradient).all()


@pytest.mark.filterwarnings("ignore:The images should lie")
@pytest.mark.parametrize("metric", [plx.metric.ssim, plx.metric.ms_ssim])
def test_similarity_does_not_change_with_the_units_of_pixels(metric):
    options = {"power_factors": [0.5]} if metric is plx.metric.ms_ssim else {}

    def similarity(scale):
        def at(x):
            return metric(x, x[:, ::-1], data_range=scale, **options)

        return jax.value_and_grad(at)(jnp.asarray(BASE * scale, jnp.float32))

    wanted, slope = similarity(1.0)
    for scale in (1e-20, 1e-10, 255.0):
        value, gradient = similarity(scale)
        np.testing.assert_allclose(value, wanted, rtol=1e-5)
        scaled = np.asarray(gradient, np.float64) * scale
        np.testing.assert_allclose(scaled, slope, atol=1e-4 * np.abs(slope).max())
    for scale in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="above 0"):
            similarity(scale)


def test_relative_error_does_not_change_with_the_units():
    x, y = jnp.asarray([1.0, 3.0]), jnp.asarray([2.0, 1.0])
    for scale in (1e-15, 1.0, 1e15):
        assert float(plx.loss.relative_sse(x * scale, y * scale)) == pytest.approx(1.0)
        slopes = jax.grad(plx.loss.relative_sse, argnums=(0, 1))(x * scale, y * scale)
        # The derivatives of (x - y)^2 / y^2, by the quotient rule.
        np.testing.assert_allclose(slopes[0] * scale, [-0.4, 0.8], rtol=1e-5)
        np.testing.assert_allclose(slopes[1] * scale, [-0.4, -1.2], rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.float32, jnp.float64])
def test_powers_of_two_are_the_largest_that_are_no_larger(x64, dtype):
    tiny, largest = float(jnp.finfo(dtype).tiny), float(jnp.finfo(dtype).max)
    sizes = jnp.asarray([1.0, 1.5, 2.0, 0.75, 1e-3, tiny, largest, 0.0, np.inf, np.nan], dtype)
    wanted = [1, 1, 2, 0.5, 2.0**-10, tiny, 2.0 ** (jnp.finfo(dtype).maxexp - 1), 1, 1, 1]
    np.testing.assert_array_equal(power_of_two(sizes), np.asarray(wanted, dtype))
    assert power_of_two(sizes).dtype == dtype
