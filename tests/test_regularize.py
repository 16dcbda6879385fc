import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.test_util import check_grads

from plenoptax.loss import WeightedSum
from plenoptax.regularize import (
    allowed_range_of,
    Closeness,
    Histogram,
    penalize_lp,
    penalize_nonbinary,
    penalize_range,
    penalize_total_variation,
    PowerSpectrum,
    SumOfFrames,
)


SHAPE = (2, 6, 9)


def target():
    return jnp.asarray(np.random.default_rng(5).uniform(0.1, 0.9, SHAPE))


# Made inside of the tests, to be of the precision that is enabled there.
PENALTIES = {
    "range": lambda: functools.partial(penalize_range, allowed_range=(0.2, 0.6)),
    "total variation": lambda: penalize_total_variation,
    "smoothed": lambda: functools.partial(penalize_total_variation, smoothing=0.05),
    "lp": lambda: penalize_lp,
    "l1": lambda: functools.partial(penalize_lp, exponent=1.0, level=0.0),
    "l1.5": lambda: functools.partial(penalize_lp, exponent=1.5, level=1.0),
    "nonbinary": lambda: penalize_nonbinary,
    "closeness": lambda: Closeness(target()),
    "weighted": lambda: Closeness(target(), np.linspace(0, 2, 9)),
    "histogram": lambda: Histogram(target()),
    "radial": lambda: PowerSpectrum(target()),
    "spectrum": lambda: PowerSpectrum(target(), radial=False),
}


@pytest.mark.parametrize("name", PENALTIES)
def test_penalty_is_differentiable_and_follows_the_precision(name, rng, x64):
    image = jnp.asarray(rng.uniform(0.1, 0.9, SHAPE))
    penalty = PENALTIES[name]()
    evaluate = jax.jit(lambda image: penalty(image))
    check_grads(evaluate, (image,), order=1, modes=["rev"], eps=1e-6)
    value, single = evaluate(image), evaluate(image.astype(jnp.float32))
    assert value > 0
    assert value.dtype == jnp.float64
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, value, rtol=1e-5)


@pytest.mark.parametrize("name", PENALTIES)
def test_penalty_and_gradient_are_finite_on_degenerate_images(name):
    penalty = PENALTIES[name]()
    evaluate = jax.jit(jax.value_and_grad(lambda image: penalty(image)))
    checks = np.indices(SHAPE).sum(0) % 2.0
    flats = [np.full(SHAPE, level) for level in (0.0, 0.2, 0.5, 1.0)]
    for image in (*flats, checks, 1e-22 * checks, 1e-30 * checks, 1e6 * checks):
        value, gradient = evaluate(jnp.asarray(image, jnp.float32))
        assert np.isfinite(value)
        assert np.all(np.isfinite(gradient))


def test_total_variation_of_edges_ramps_and_corners():
    edge = jnp.zeros((1, 5, 7)).at[:, :, 3:].set(0.5)
    np.testing.assert_allclose(penalize_total_variation(edge), 5 * 0.5)
    both = jnp.concatenate([edge, 2 * edge])
    np.testing.assert_allclose(penalize_total_variation(both.swapaxes(-1, -2)), 15 * 0.5)
    ramp = jnp.arange(4.0)[:, None] * 3 + jnp.arange(4.0)[None] * 4
    expected = 9 * 5 + 3 * 3 + 3 * 4
    np.testing.assert_allclose(penalize_total_variation(ramp), expected, rtol=1e-6)
    for flat in (0.0, 0.3):
        value, gradient = jax.value_and_grad(penalize_total_variation)(jnp.full((1, 4, 4), flat))
        assert value == 0
        np.testing.assert_array_equal(gradient, np.zeros((1, 4, 4)))


def test_smoothed_total_variation_is_that_of_a_root(rng, x64):
    image = rng.uniform(size=(3, 5, 6))
    down, right = np.zeros_like(image), np.zeros_like(image)
    down[:, :-1], right[..., :-1] = np.diff(image, axis=1), np.diff(image)
    expected = np.sum(np.sqrt(down**2 + right**2 + 0.2**2) - 0.2)
    value = penalize_total_variation(jnp.asarray(image), smoothing=0.2)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    # Small differences keep their digits, which the difference of two roots would lose.
    faint = jnp.zeros((1, 2, 2), jnp.float32).at[0, 0, 1].set(1e-5)
    value = penalize_total_variation(faint, smoothing=0.1)
    np.testing.assert_allclose(value, 2 * 1e-10 / 0.2, rtol=1e-4)


def test_lp_penalty_by_hand():
    image = jnp.array([[[0.0, 0.25, 0.5, 1.5]]])
    np.testing.assert_allclose(penalize_lp(image), 0.25 + 0.0625 + 1)
    np.testing.assert_allclose(penalize_lp(image, 6.0), 2.0**-6 + 4.0**-6 + 1)
    gradient = jax.grad(lambda image: penalize_lp(image, 1.0))(image)
    np.testing.assert_array_equal(gradient, [[[-1, -1, 0, 1]]])
    levels = jnp.array([[[0.0, 0.0, 0.5, 1.5]]])
    np.testing.assert_allclose(penalize_lp(image, 1.0, levels), 0.25)


def test_nonbinary_penalty_by_hand():
    image = jnp.array([0.0, 0.5, 1.0, 1.5, 0.75])
    value, gradient = jax.value_and_grad(penalize_nonbinary)(image)
    np.testing.assert_allclose(value, 1 + 9 + 0.75**2)
    np.testing.assert_array_equal(gradient[:3], np.zeros(3))
    # Down the gradient, pixels go to the nearer of the two values.
    assert gradient[3] > 0 > gradient[4]
    assert penalize_nonbinary(jnp.array([-1.0, 0.0, 3.0]), (-1.0, 3.0)) == 0.75**2


def test_closeness_by_hand():
    image = jnp.zeros((2, 1, 3))
    other = image.at[0, 0].set(jnp.array([1.0, 2.0, 3.0]))
    assert Closeness(image)(other) == 14
    assert Closeness(image, np.array([[0.0, 0.5, 1.0]]))(other) == 2 + 9
    assert Closeness(image, 2.0)(other) == 28
    assert Closeness(other)(other) == 0


def test_histogram_is_the_squared_wasserstein_distance(rng, x64):
    image, other = rng.uniform(size=(2, 1, 4, 6)) ** np.array([1.0, 3.0]).reshape(2, 1, 1, 1)
    penalty = Histogram(jnp.asarray(image))
    values = penalty(jnp.asarray(other))
    np.testing.assert_allclose(values, np.mean((np.sort(image, None) - np.sort(other, None)) ** 2))
    # The root of the mean square is at least the mean distance, which SciPy has.
    assert values**0.5 >= scipy.stats.wasserstein_distance(image.ravel(), other.ravel())
    shifted = Histogram(jnp.asarray(image))(jnp.asarray(rng.permuted(image + 0.25, axis=-1)))
    np.testing.assert_allclose(shifted, 0.25**2)
    two = Histogram(jnp.asarray(np.concatenate([image, other])))
    assert two(jnp.asarray(np.concatenate([other, image]))) > 0


def test_gradient_of_the_histogram_sorts_an_image_into_the_target(rng):
    image, other = jnp.asarray(rng.uniform(size=(2, 1, 5, 5)), jnp.float32)
    gradient = jax.grad(Histogram(image))(other)
    matched = other - gradient * 25 / 2
    np.testing.assert_allclose(jnp.sort(matched, None), jnp.sort(image, None), atol=1e-6)
    np.testing.assert_array_equal(jnp.argsort(matched, None), jnp.argsort(other, None))


@pytest.mark.parametrize("radial", [True, False])
def test_power_spectrum_sees_power_and_not_phase(radial, rng, x64):
    image = jnp.asarray(rng.uniform(size=(2, 7, 10)))
    penalty = PowerSpectrum(image, radial=radial, floor=1e-14)
    for same in (jnp.roll(image, (2, 3), (-2, -1)), image[..., ::-1, ::-1], -image):
        assert penalty(same) < 1e-15
    np.testing.assert_allclose(penalty(3 * image), np.log(9) ** 2, rtol=1e-6)
    turned = PowerSpectrum(image[:, :, :7], radial=radial)(image[:, :, :7].swapaxes(-1, -2))
    assert (turned < 1e-15) == radial


@pytest.mark.parametrize("shape", [(6, 9), (7, 7), (1, 8)])
def test_radial_spectrum_averages_rings(shape, rng, x64):
    image, other = rng.uniform(size=(2, *shape))
    height, width = shape
    logs = []
    for x in (image, other):
        power = np.abs(np.fft.fft2(x)) ** 2 / x.size
        rings = {}
        for row in range(height):
            for column in range(width):
                vertical = min(row, height - row) / height
                horizontal = min(column, width - column) / width
                ring = round(float(np.hypot(vertical, horizontal)) * max(shape))
                rings.setdefault(ring, []).append(power[row, column])
        assert sorted(rings) == list(range(len(rings)))
        logs.append([np.log(np.mean(rings[ring]) + 1e-3) for ring in sorted(rings)])
    expected = np.mean((np.array(logs[0]) - np.array(logs[1])) ** 2)
    penalty = PowerSpectrum(jnp.asarray(image), floor=1e-3)
    np.testing.assert_allclose(penalty(jnp.asarray(other)), expected, rtol=1e-10)


def test_power_of_white_noise_is_its_variance(rng):
    noise = jnp.asarray(0.1 * rng.standard_normal((64, 64)), jnp.float32)
    np.testing.assert_allclose(PowerSpectrum(noise).power[10:35], 0.01, rtol=0.5)
    np.testing.assert_allclose(PowerSpectrum(noise, radial=False).power.mean(), 0.01, rtol=0.1)
    assert PowerSpectrum(jnp.zeros((8, 8)))(jnp.full((8, 8), 1e-5)) < 1e-4


def test_penalties_map_over_images(rng):
    images = jnp.asarray(rng.uniform(size=(3, *SHAPE)), jnp.float32)
    for name in ("total variation", "lp"):
        penalty = PENALTIES[name]()
        np.testing.assert_allclose(jax.vmap(penalty)(images).sum(), penalty(images), rtol=1e-5)
    for kind in (Histogram, PowerSpectrum):
        each = jax.vmap(kind(images[0]))(images)
        np.testing.assert_allclose(each.mean(), kind(jnp.stack([images[0]] * 3))(images), rtol=1e-4)


def test_penalties_refuse(unchecked):
    image = jnp.full((1, 4, 4), 0.5)
    with pytest.raises(ValueError, match="smoothing must be a finite number at least 0, got -1"):
        penalize_total_variation(image, -1.0)
    with pytest.raises(ValueError, match=r"exponent must be a finite number at least 1, got 0.5"):
        penalize_lp(image, 0.5)
    with pytest.raises(ValueError, match="a pair"):
        penalize_nonbinary(image, (0.0, 0.5, 1.0))
    with pytest.raises(ValueError, match="floor must be a finite number above 0"):
        PowerSpectrum(image, floor=0.0)
    with pytest.raises(ValueError, match="broadcast"):
        Closeness(image, jnp.ones(3))
    for kind in (Closeness, Histogram, PowerSpectrum):
        with pytest.raises(ValueError, match="shape of the target"):
            kind(image)(jnp.zeros((1, 5, 5)))
        with pytest.raises(TypeError, match="floating point"):
            kind(jnp.zeros((1, 4, 4), jnp.uint8))
    for penalty in (penalize_total_variation, penalize_lp, penalize_nonbinary):
        with pytest.raises(TypeError, match="floating point"):
            penalty(jnp.zeros((1, 4, 4), jnp.uint8))


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


class OfOurOwn(eqx.Module):
    allowed_range: tuple[float, float]

    def __call__(self, image):
        return jnp.sum(image)


WIDE = functools.partial(penalize_range, allowed_range=(0.0, 2.0))
RANGES = {
    "default": (lambda: penalize_range, (0, 1)),
    "partial": (lambda: WIDE, (0, 2)),
    "partial of a partial": (lambda: jax.tree_util.Partial(WIDE, allowed_range=(-1, 3)), (-1, 3)),
    "partial of JAX": (lambda: jax.tree_util.Partial(penalize_range, allowed_range=(0, 2)), (0, 2)),
    "partial of Equinox": (lambda: eqx.Partial(penalize_range, allowed_range=(0, 2)), (0, 2)),
    "compiled": (lambda: jax.jit(WIDE), (0, 2)),
    "compiled by Equinox": (lambda: eqx.filter_jit(WIDE), (0, 2)),
    "partial of compiled": (
        lambda: functools.partial(jax.jit(penalize_range), allowed_range=(0, 2)),
        (0, 2),
    ),
    "other options": (lambda: functools.partial(penalize_range, note=""), (0, 1)),
    "infinite": (
        lambda: functools.partial(penalize_range, allowed_range=(0.0, np.inf)),
        (0, np.inf),
    ),
    "by pixel": (
        lambda: functools.partial(penalize_range, allowed_range=(jnp.zeros(2), np.arange(1.0, 3))),
        (0, 2),
    ),
    "sum": (lambda: WeightedSum([penalize_lp, WIDE], [1.0, 0.1]), (0, 2)),
    "sum of ranges": (lambda: WeightedSum([penalize_range, WIDE], [1.0, 0.1]), (0, 1)),
    "sum with a weight of 0": (lambda: WeightedSum([penalize_range, WIDE], [0.0, 0.1]), (0, 2)),
    "sum of frames": (lambda: SumOfFrames(WIDE), (0, 2)),
    "sum of frames without a range": (lambda: SumOfFrames(penalize_lp), None),
    "attribute": (lambda: OfOurOwn((-1, 1)), (-1, 1)),
    "lambda": (lambda: lambda image: WIDE(image), None),
    "no range": (lambda: penalize_lp, None),
    "sum without a range": (lambda: WeightedSum([penalize_lp], [1.0]), None),
}


@pytest.mark.parametrize("name", RANGES)
def test_allowed_range_of_a_penalty(name):
    make, wanted = RANGES[name]
    penalty = make()
    assert allowed_range_of(penalty, 0.1) == wanted
    assert allowed_range_of(penalty, jnp.asarray([0.0, 0.1])) == wanted
    assert allowed_range_of(penalty, lambda step: 0.0) == wanted
    for nothing in (0, 0.0, np.float64(0), jnp.asarray(0.0)):
        assert allowed_range_of(penalty, nothing) is None


def test_penalties_of_frames_are_added_up(rng):
    path = jnp.asarray(2 * rng.standard_normal((3, 1, 4, 4)), jnp.float32)
    wanted = sum(WIDE(frame) for frame in path)
    np.testing.assert_allclose(SumOfFrames(WIDE)(path), wanted, rtol=1e-6)


def test_allowed_range_of_traced_bounds_is_unknown():
    def trace(high):
        penalty = jax.tree_util.Partial(penalize_range, allowed_range=(0.0, high))
        assert allowed_range_of(penalty, 0.1) is None
        return high

    jax.eval_shape(trace, 2.0)
