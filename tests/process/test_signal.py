from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plenoptax.process import (
    add_noise,
    center_crop,
    interpolate1d,
    maximum,
    minimum,
    raised_cosine,
    rescale,
    steer,
)


REFERENCE = Path(__file__).parents[1] / "reference" / "process.npz"


@pytest.fixture
def reference():
    with np.load(REFERENCE) as values:
        yield values


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


def test_center_crop_refuses_larger_sizes():
    with pytest.raises(ValueError, match="from 1 to 5"):
        center_crop(jnp.zeros((5, 7)), 6)


@pytest.mark.parametrize("size", [0, -1, 2.0, (2, 2), "2"])
def test_center_crop_refuses_other_sizes(size, unchecked):
    with pytest.raises(ValueError, match="output_size must be a whole number, at least 1"):
        center_crop(jnp.zeros((5, 7)), size)


@pytest.mark.parametrize("noise_mse", [0.01, 0, [1e-4, 2.0], np.array([[0.1], [0.3]])])
def test_add_noise_has_the_exact_error_and_keeps_the_mean(noise_mse, getkey, x64):
    image = jax.random.uniform(getkey(), (3, 8, 5), jnp.float64)
    noisy = add_noise(image, noise_mse, key=getkey())
    mse = np.asarray(noise_mse, float)
    assert noisy.shape == (*mse.shape, 3, 8, 5)
    assert noisy.dtype == image.dtype
    noise = np.asarray(noisy) - np.asarray(image)
    expected = np.broadcast_to(mse[..., None], (*mse.shape, 3))
    np.testing.assert_allclose((noise**2).mean((-2, -1)), expected, rtol=1e-12)
    np.testing.assert_allclose(noise.mean((-2, -1)), 0, atol=1e-15)


def test_add_noise_draws_anew_for_each_channel_and_error(getkey):
    key = getkey()
    image = jnp.zeros((2, 9, 9))
    noisy = add_noise(image, [1.0, 1.0], key=key).reshape(4, -1)
    off_diagonal = jnp.corrcoef(noisy) - jnp.eye(4)
    assert abs(off_diagonal).max() < 0.5
    np.testing.assert_array_equal(add_noise(image, [1.0, 1.0], key=key).reshape(4, -1), noisy)


def test_add_noise_is_differentiable_down_to_none(getkey):
    image, key = jnp.full((1, 4, 4), 0.5), getkey()

    def mean_square(image, noise_mse):
        return jnp.mean(add_noise(image, noise_mse, key=key) ** 2)

    for mse in (0.0, 0.04):
        value, gradients = jax.value_and_grad(mean_square, (0, 1))(image, jnp.asarray(mse))
        np.testing.assert_allclose(value, 0.25 + mse, rtol=1e-5)
        assert all(jnp.isfinite(gradient).all() for gradient in gradients)
    np.testing.assert_allclose(gradients[1], 1, rtol=1e-4)


def test_add_noise_refuses(getkey):
    with pytest.raises(ValueError, match="noise_mse must be a finite number at least 0"):
        add_noise(jnp.zeros((1, 4, 4)), [1.0, -1.0], key=getkey())
    with pytest.raises(ValueError, match="two pixels"):
        add_noise(jnp.zeros((1, 1, 1)), 1.0, key=getkey())


@pytest.mark.parametrize("dim", [None, 1, -1, (0, 2), [1, 2]])
@pytest.mark.parametrize("keepdim", [True, False])
def test_extremes_over_several_axes(dim, keepdim, rng):
    x = rng.standard_normal((3, 4, 5)).astype(np.float32)
    axes = tuple(dim) if isinstance(dim, list) else dim
    largest = maximum(jnp.asarray(x), dim, keepdim)
    np.testing.assert_array_equal(largest, x.max(axes, keepdims=keepdim))
    smallest = minimum(jnp.asarray(x), dim, keepdim)
    np.testing.assert_array_equal(smallest, x.min(axes, keepdims=keepdim))


def test_raised_cosine_and_interpolation_equal_plenoptic(reference, x64):
    X, Y = raised_cosine(0.7, -1.2, (3, -1))
    np.testing.assert_allclose(X, reference["cosine_X"], rtol=1e-12)
    np.testing.assert_allclose(Y, reference["cosine_Y"], rtol=1e-12)
    at = jnp.linspace(-2, 0, 21).reshape(3, 7)
    np.testing.assert_allclose(interpolate1d(at, Y, X), reference["interpolated"], rtol=1e-12)


def test_raised_cosines_of_opposite_steps_sum_to_one(x64):
    at = jnp.linspace(-3, 3, 50)
    up, down = (
        interpolate1d(at, *raised_cosine(2, 0.5, values)[::-1]) for values in ((0, 1), (1, 0))
    )
    np.testing.assert_allclose(up + down, 1, rtol=1e-12)
    phase = np.clip((np.asarray(at) - 0.5) / 2 + 0.5, 0, 1)
    np.testing.assert_allclose(up, np.sin(np.pi / 2 * phase) ** 2, atol=1e-5)


def test_interpolation_is_differentiable_in_everything(x64):
    X, Y = raised_cosine()
    slope = jax.grad(lambda x: interpolate1d(x, Y, X))(jnp.asarray(0.1))
    np.testing.assert_allclose(slope, np.pi / 2 * np.cos(np.pi * 0.1), rtol=1e-3)
    weights = jax.grad(lambda Y: interpolate1d(jnp.asarray(0.1), Y, X))(Y)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-12)


@pytest.mark.parametrize("num", [3, 4])
@pytest.mark.parametrize("even_phase", [True, False])
def test_steer_equals_plenoptic(num, even_phase, reference, x64):
    basis = jnp.asarray(reference["image"][0, :, :num])
    steered, weights = steer(basis, 0.7, return_weights=True, even_phase=even_phase)
    np.testing.assert_allclose(steered, reference[f"steered_{num}_{even_phase}"], rtol=1e-10)
    np.testing.assert_allclose(weights, reference[f"weights_{num}_{even_phase}"], atol=1e-14)


@pytest.mark.parametrize(
    ("num", "harmonics"), [(1, [0]), (2, None), (5, None), (5, [0, 1, 2]), (4, [1, 3]), (4, (2, 5))]
)
def test_steer_gives_the_rotated_filter(num, harmonics, rng, x64):
    frequencies = range(1 - num % 2, num, 2) if harmonics is None else harmonics
    amplitudes = rng.standard_normal(len(frequencies))
    theta = np.linspace(0, 2 * np.pi, 9)[:, None]
    rotated = lambda angle: sum(  # noqa: E731
        a * np.cos(h * (theta - angle)) for a, h in zip(amplitudes, frequencies, strict=True)
    )
    basis = jnp.asarray(rotated(np.pi * np.arange(num) / num) * np.ones((9, num)))
    for angle in (0.0, 0.4, -2.0):
        np.testing.assert_allclose(steer(basis, angle, harmonics), rotated(angle), atol=1e-12)
    angles = rng.uniform(-3, 3, 9)
    each = steer(basis, jnp.asarray(angles), harmonics)
    np.testing.assert_allclose(each, rotated(angles[:, None]), atol=1e-12)


def test_steer_takes_a_matrix_and_a_traced_angle(rng, x64):
    basis = jnp.asarray(rng.standard_normal((2, 3, 4)))
    matrix = rng.standard_normal((4, 4))
    waves = np.array([np.cos(0.3), np.sin(0.3), np.cos(0.9), np.sin(0.9)])
    steered = jax.jit(lambda angle: steer(basis, angle, steermtx=matrix))(0.3)
    np.testing.assert_allclose(steered[..., 0], basis @ (waves @ matrix), rtol=1e-12)


def test_steer_refuses_harmonics_of_another_number_of_filters():
    with pytest.raises(ValueError, match=r"4 filters.*got \[0, 1\]"):
        steer(jnp.zeros((5, 4)), 0.1, [0, 1])
