from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from plenoptax.process import circular_gaussian2d, gaussian1d, gaussian_window, named_filter


REFERENCE = Path(__file__).parents[1] / "reference" / "process.npz"


@pytest.mark.parametrize("kernel_size", [1, 2, 7, 10])
def test_gaussian_window_is_a_normalized_gaussian(kernel_size, x64):
    std = jnp.array([0.4, 1.7, 30.0])
    window = gaussian_window(kernel_size, std)
    x = np.arange(1, kernel_size + 1) - (kernel_size + 1) / 2
    expected = np.exp(-(x**2) / (2 * np.array([0.4, 1.7, 30.0])[:, None] ** 2))
    expected /= expected.sum(axis=1, keepdims=True)
    assert window.shape == (3, kernel_size)
    np.testing.assert_allclose(window, expected, rtol=1e-13)


def test_gaussian_window_depends_on_the_absolute_value(rng):
    std = jnp.asarray(rng.uniform(0.3, 3.0, 4), jnp.float32)
    np.testing.assert_array_equal(gaussian_window(9, -std), gaussian_window(9, std))


@pytest.mark.parametrize("std", [0.0, 1e-30, 1e-4, 0.02])
def test_gaussian_window_narrow_is_on_the_middle(std):
    std = jnp.asarray(std)
    np.testing.assert_array_equal(gaussian_window(5, std), [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(gaussian_window(4, std), [0, 0.5, 0.5, 0])
    gradient = jax.jit(jax.jacobian(lambda s: gaussian_window(5, s)))(std)
    np.testing.assert_array_equal(gradient, np.zeros(5))


def test_gaussian_window_is_differentiable_in_std(x64):
    window = jax.jit(lambda std: gaussian_window(6, std))
    std = jnp.array([0.8, -1.5])
    check_grads(window, (std,), order=2, eps=1e-5)
    # The sum of a window is 1 at every standard deviation.
    slopes = jax.jit(jax.jacobian(window))(std)
    np.testing.assert_allclose(slopes.sum(axis=1), 0, atol=1e-12)
    assert np.abs(slopes[[0, 1], :, [0, 1]]).max() > 0.01


@pytest.mark.parametrize("kernel_size", [7, (4, 9), (1, 2)])
def test_circular_gaussian2d_is_an_isotropic_gaussian_of_sum_one(kernel_size, x64):
    std = [0.9, 3.0]
    filters = circular_gaussian2d(kernel_size, std)
    height, width = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
    y, x = np.mgrid[:height, :width]
    squares = (y - (height - 1) / 2) ** 2 + (x - (width - 1) / 2) ** 2
    expected = np.exp(-squares / (2 * np.array(std)[:, None, None] ** 2))
    expected /= expected.sum(axis=(1, 2), keepdims=True)
    assert filters.shape == (2, 1, height, width)
    assert filters.dtype == jnp.float64
    np.testing.assert_allclose(filters[:, 0], expected, rtol=1e-13)


def test_circular_gaussian2d_repeats_a_scalar_for_all_channels():
    filters = circular_gaussian2d(5, 2, 3)
    assert filters.shape == (3, 1, 5, 5)
    assert filters.dtype == jnp.float32
    np.testing.assert_array_equal(filters[1:], np.repeat(circular_gaussian2d(5, 2.0), 2, axis=0))


def test_circular_gaussian2d_takes_a_traced_std():
    std = jnp.array([1.0, 2.0])
    traced = jax.jit(lambda s: circular_gaussian2d((3, 5), s))(std)
    np.testing.assert_allclose(traced, circular_gaussian2d((3, 5), std), rtol=1e-6)
    mapped = jax.vmap(lambda s: circular_gaussian2d((3, 5), s))(std)
    np.testing.assert_allclose(mapped[:, 0], traced, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1.0), "kernel_size"),
        (((3, -1), 1.0), "kernel_size"),
        ((5, 0.0), "std must be a finite number above 0"),
        ((5, [1.0, -1.0]), "std must be a finite number above 0"),
        ((5, float("nan")), "std must be a finite number above 0"),
        ((5, [1.0, 2.0], 3), r"3 output channels, got shape \(2,\)"),
        ((5, np.ones((2, 2))), "got shape"),
        ((5, 1.0, 0), "out_channels"),
    ],
)
def test_circular_gaussian2d_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        circular_gaussian2d(*arguments)


def test_gaussian1d_is_the_checked_window():
    std = jnp.asarray([1.5, 2.0])
    np.testing.assert_array_equal(gaussian1d(), gaussian_window(11, std)[0])
    np.testing.assert_array_equal(gaussian1d(8, [1.5, 2.0]), gaussian_window(8, std))
    with pytest.raises(ValueError, match="std must be a finite number above 0"):
        gaussian1d(5, -1.0)
    with pytest.raises(ValueError, match="kernel_size"):
        gaussian1d(0)


@pytest.mark.parametrize("order", [1, 4, 12])
def test_binomial_filters_are_rows_of_the_triangle_of_pascal(order, x64):
    taps = named_filter(f"binom{order + 1}")
    expected = np.poly1d([1, 1]) ** order / 2**order * np.sqrt(2)
    np.testing.assert_allclose(taps, expected.coeffs, rtol=1e-13)


@pytest.mark.parametrize("name", ["haar", "daub2", "daub3", "daub4"])
def test_wavelets_are_orthogonal_to_their_shifts_by_two(name, x64):
    taps = np.asarray(named_filter(name))
    for shift in range(0, len(taps), 2):
        product = taps[shift:] @ taps[: len(taps) - shift]
        np.testing.assert_allclose(product, shift == 0, atol=1e-10)
    np.testing.assert_allclose(taps.sum(), np.sqrt(2), rtol=1e-8)


@pytest.mark.parametrize("name", ["qmf5", "qmf8", "qmf9", "qmf12", "qmf13", "qmf16"])
def test_mirror_filters_and_their_mirror_images_share_power(name, x64):
    taps = np.asarray(named_filter(name))
    assert len(taps) == int(name[3:])
    np.testing.assert_array_equal(taps, taps[::-1])
    low, high = (abs(np.fft.fft(taps * s ** np.arange(len(taps)), 64)) ** 2 for s in (1, -1))
    np.testing.assert_allclose(low + high, 2, atol=0.06)


@pytest.mark.parametrize("name", ["binom1", "binom", "binom-3", "qmf7", "None", "sp3_filters"])
def test_named_filter_refuses_unknown_names(name):
    with pytest.raises(ValueError, match="binomN"):
        named_filter(name)


def test_named_filters_are_those_of_pyrtools(x64):
    with np.load(REFERENCE) as reference:
        filters = {key[7:]: reference[key] for key in reference if key.startswith("filter/")}
    assert len(filters) == 13
    for name, taps in filters.items():
        np.testing.assert_allclose(named_filter(name), taps, rtol=1e-14)
