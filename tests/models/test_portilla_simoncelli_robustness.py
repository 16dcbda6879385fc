"""Texture statistics of degenerate images, and at sizes that do not halve evenly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, Phase, settings
from hypothesis import strategies as st

from plenoptax.models import PortillaSimoncelli


def degenerate_images(shape):
    """Images as channels: each has bands without energy, magnitudes without variance, or both."""
    y, x = np.indices(shape)
    pixel = np.zeros(shape)
    pixel[3, 5] = 1
    images = {
        "constant": np.full(shape, 0.3),
        "black": np.zeros(shape),
        "checkerboard": (x + y) % 2,
        "sawtooth": x % 8 / 8,
        "edge": x > shape[1] // 2,
        "grating": 0.5 + 0.5 * np.cos(2 * np.pi * 5 * x / shape[1]),
        "pixel": pixel,
        "faint pixel": 1e-12 * pixel,
        "nearly constant": 0.7 + 1e-7 * pixel,
        "bright": 255 * ((x // 4 + y // 4) % 2),
    }
    return list(images), np.stack([np.asarray(image, float) for image in images.values()])


def value_and_gradient(model):
    def loss(image):
        representation = model(image)
        # Every statistic has a gradient of its own size in this sum.
        factors = jnp.linspace(0.5, 1.5, representation.shape[-1], dtype=image.dtype)
        return jnp.sum(factors[None] * representation), representation

    return jax.jit(jax.grad(loss, has_aux=True))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((32, 32), jnp.float32), ((37, 53), jnp.float32), ((37, 53), jnp.float64)],
)
def test_value_and_gradient_are_finite_on_degenerate_images(x64, shape, dtype):
    names, images = degenerate_images(shape)
    model = PortillaSimoncelli(shape, 2, 2, 7)
    gradient, representation = value_and_gradient(model)(jnp.asarray(images, dtype))
    for number, name in enumerate(names):
        assert np.isfinite(representation[number]).all(), name
        assert np.isfinite(gradient[number]).all(), name


# Each size is compiled anew: a failing one is reported as it is found.
@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)
@given(
    shape=st.tuples(st.integers(8, 40), st.integers(8, 40)),
    seed=st.integers(0, 100),
)
def test_value_and_gradient_are_finite_at_any_size(shape, seed):
    _, images = degenerate_images(shape)
    noise = np.random.default_rng(seed).random((1, *shape))
    model = PortillaSimoncelli(shape, 1, 2, 3)
    images = jnp.asarray(np.concatenate([images, noise]), jnp.float32)
    gradient, representation = value_and_gradient(model)(images)
    assert np.isfinite(representation).all()
    assert np.isfinite(gradient).all()
    assert (abs(representation[-1]) > 0).all()


@pytest.mark.parametrize("shape", [(32, 32), (37, 41)])
@pytest.mark.parametrize("level", [0.0, 0.3, 100.0])
def test_statistics_of_a_constant(shape, level):
    model = PortillaSimoncelli(shape, 2, 2, 3)
    image = jnp.full((1, *shape), level, jnp.float32)
    groups = model.convert_to_dict(model(image))
    pixels = groups.pop("pixel_statistics")[0]
    np.testing.assert_allclose(pixels, [level, 0, 0, 3, level, level], rtol=1e-6, atol=1e-9)
    kurtosis = groups.pop("kurtosis_reconstructed")
    np.testing.assert_array_equal(kurtosis, np.full((1, 3), 3))
    np.testing.assert_allclose(groups.pop("var_highpass_residual"), 0, atol=1e-8)
    for name, values in groups.items():
        assert not np.nan_to_num(values).any(), name


def test_empty_bands_are_uncorrelated_and_the_others_are_not():
    x = np.arange(32)
    grating = 0.5 + 0.2 * np.cos(2 * np.pi * 8 * x / 32) * np.cos(2 * np.pi * x / 32)
    image = jnp.asarray(np.tile(grating, (32, 1))[None], jnp.float32)
    model = PortillaSimoncelli((32, 32), 2, 2, 3)
    groups = model.convert_to_dict(model(image))
    # Vertical stripes leave the horizontal filters without any energy.
    deviations = groups["magnitude_std"][0]
    np.testing.assert_array_equal(deviations[1], 0)
    assert deviations[0, 0] > 0.01
    autocorrelations = np.nan_to_num(groups["auto_correlation_magnitude"][0])
    assert autocorrelations[:, :, 0].any()
    assert not autocorrelations[:, :, 1].any()
    assert groups["cross_orientation_correlation_magnitude"][0, 1, 0, 0] == 0


@pytest.mark.parametrize("factor", [1e-8, 1e6])
def test_correlations_do_not_depend_on_the_unit(rng, factor):
    image = jnp.asarray(rng.random((1, 32, 32)), jnp.float32)
    model = PortillaSimoncelli((32, 32), 2, 2, 3)
    groups = model.convert_to_dict(model(image))
    scaled = model.convert_to_dict(model(jnp.float32(factor) * image))
    for name in groups:
        if "correlation" in name or "skew" in name or "kurtosis" in name:
            np.testing.assert_allclose(scaled[name], groups[name], rtol=1e-4, atol=1e-4)


def texture(shape, rng):
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None])
    amplitude = 1 / np.maximum(frequency, 0.02)
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal(shape)) * amplitude).real
    return 0.5 + 0.1 * noise / noise.std()


def naive_autocorrelation(image, scale, width):
    """That of a reconstructed image at shifts of whole samples of its level."""
    size = tuple(-(-n // 2**scale) for n in image.shape)
    spectrum = np.fft.fftshift(np.fft.fft2(image))
    start = [n // 2 - m // 2 for n, m in zip(image.shape, size, strict=True)]
    spectrum = spectrum[start[0] : start[0] + size[0], start[1] : start[1] + size[1]]
    y, x = (
        (np.arange(m) - m // 2) * 2 * 2**scale / n for m, n in zip(size, image.shape, strict=True)
    )
    radius = np.maximum(np.hypot(y[:, None], x[None]), 1e-9)
    mask = np.sin(np.pi / 2 * np.clip(-np.log2(radius), 0, 1)) ** 2
    mask[size[0] // 2, size[1] // 2] = 0
    power = np.fft.ifftshift(np.abs(spectrum * mask) ** 2)
    covariance = np.fft.fftshift(np.fft.ifft2(power).real)
    rows, columns = (slice(m // 2 - width // 2, m // 2 + (width + 1) // 2) for m in size)
    return (covariance / covariance.max())[rows, columns]


def test_statistics_keep_their_meaning_at_sizes_that_do_not_halve(x64, rng):
    whole = texture((256, 256), rng)
    scales = ["residual_lowpass", 3]
    name = "auto_correlation_reconstructed"
    models = {size: PortillaSimoncelli((size, size)) for size in (128, 130)}

    def coarse(size):
        image = jnp.asarray(whole[:size, :size])[None]
        representation = models[size](image, scales)[0]
        groups = np.array(models[size].statistic_groups)
        kept = [label in scales for label in models[size].statistic_scales]
        return {group: np.asarray(representation[groups[kept] == group]) for group in set(groups)}

    even, odd = coarse(128), coarse(130)
    correlations = [key for key in even if "correlation" in key]
    assert max(abs(even[key] - odd[key]).max() for key in correlations if len(even[key])) < 0.12
    # Samples of the lowpass level are 14.4 pixels apart at a size of 130, and 16 at 128.
    kept = np.tri(7, k=-1, dtype=bool) | np.diag([True] * 3 + [False] * 4)
    naive = np.stack([naive_autocorrelation(whole[:130, :130], s, 7)[kept] for s in (3, 4)], -1)
    exact = np.stack([naive_autocorrelation(whole[:128, :128], s, 7)[kept] for s in (3, 4)], -1)
    np.testing.assert_allclose(exact.ravel(), even[name], atol=1e-10)
    ours, theirs = (np.linalg.norm(x - even[name]) for x in (odd[name], naive.ravel()))
    assert theirs > 2 * ours


def test_statistics_of_a_tiled_image_are_those_of_the_tile(x64, rng):
    # 44 pixels do not halve three times, twice as many do. Frequencies and shifts are the same.
    tile = texture((44, 36), rng)
    small = PortillaSimoncelli((44, 36), 3, 2, 3)
    large = PortillaSimoncelli((88, 72), 3, 2, 3)
    small = small.convert_to_dict(small(jnp.asarray(tile)[None])[0])
    large = large.convert_to_dict(large(jnp.asarray(np.tile(tile, (2, 2)))[None])[0])
    # What is quadratic in the image has no aliasing, so it is the same to rounding.
    for name in (
        "auto_correlation_reconstructed",
        "std_reconstructed",
        "var_highpass_residual",
    ):
        np.testing.assert_allclose(small[name], large[name], rtol=1e-10, atol=1e-10)
    for name, values in small.items():
        np.testing.assert_allclose(values, large[name], rtol=0.05, atol=0.05, err_msg=name)


def test_images_of_another_size_are_measured_with_masks_of_their_own(rng):
    model = PortillaSimoncelli((32, 32), 2, 2, 3)
    image = jnp.asarray(rng.random((1, 27, 40)), jnp.float32)
    expected = PortillaSimoncelli((27, 40), 2, 2, 3)(image)
    np.testing.assert_allclose(model(image), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.jit(lambda x: model(x))(image), expected, rtol=1e-5, atol=1e-6)
