from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plenoptax import process
from plenoptax.process import (
    autocorrelation,
    kurtosis,
    skew,
    SteerablePyramidFreq,
)
from plenoptax.process._fourier import crop_spectrum, pad_spectrum


expand = jax.jit(process.expand, static_argnums=1)
shrink = jax.jit(process.shrink, static_argnums=1)
modulate_phase = jax.jit(process.modulate_phase, static_argnums=1)

REFERENCE = Path(__file__).parents[1] / "reference" / "steerable_pyramid.npz"
SIZES = [(8, 8, 4, 4), (9, 8, 5, 7), (7, 12, 6, 9), (5, 6, 5, 6), (11, 2, 1, 1)]


def reference():
    with np.load(REFERENCE) as values:
        return dict(values)


def bandlimited(shape, samples, rng):
    """A real image with random energy at |k| <= 2, sampled on a grid of any size."""
    frequencies = np.arange(-2, 3)
    coefficients = rng.normal(size=(5, 5)) + 1j * rng.normal(size=(5, 5))
    waves = [
        np.exp(2j * np.pi * np.outer(np.arange(n) / n, frequencies)) for n in (shape or samples)
    ]
    return jnp.asarray((waves[0] @ coefficients @ waves[1].T).real)


@pytest.mark.parametrize(("height", "width", "rows", "columns"), SIZES)
def test_crop_spectrum_keeps_the_lowest_frequencies(height, width, rows, columns):
    y, x = np.meshgrid(
        np.fft.fftfreq(height, 1 / height), np.fft.fftfreq(width, 1 / width), indexing="ij"
    )
    kept_y, kept_x = crop_spectrum(jnp.asarray(np.stack([y, x]), jnp.float32), (rows, columns))
    np.testing.assert_array_equal(kept_y[:, 0], np.fft.fftfreq(rows, 1 / rows))
    np.testing.assert_array_equal(kept_x[0], np.fft.fftfreq(columns, 1 / columns))


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("height", "width", "rows", "columns"), SIZES)
def test_pad_spectrum_is_the_adjoint_and_right_inverse_of_crop(
    height, width, rows, columns, half, rng
):
    full_columns, cropped_columns = width, columns
    if half:
        full_columns, cropped_columns = width // 2 + 1, columns // 2 + 1
    large = jnp.asarray(rng.normal(size=(3, height, full_columns)), jnp.float32)
    small = jnp.asarray(rng.normal(size=(3, rows, cropped_columns)), jnp.float32)
    cropped = crop_spectrum(large, (rows, columns), half=half)
    padded = pad_spectrum(small, (height, width), half=half)
    assert cropped.shape == small.shape
    assert padded.shape == large.shape
    np.testing.assert_array_equal(crop_spectrum(padded, (rows, columns), half=half), small)
    np.testing.assert_allclose(jnp.vdot(cropped, small), jnp.vdot(large, padded), rtol=1e-5)


@pytest.mark.parametrize("half", [False, True])
def test_pad_spectrum_interpolates(half, x64, rng):
    seed = rng.integers(1000)
    small = bandlimited((7, 8), None, np.random.default_rng(seed))
    large = bandlimited((12, 13), None, np.random.default_rng(seed))
    if half:
        spectrum = pad_spectrum(jnp.fft.rfft2(small), (12, 13), half=True)
        result = jnp.fft.irfft2(spectrum, s=(12, 13))
    else:
        result = jnp.fft.ifft2(pad_spectrum(jnp.fft.fft2(small), (12, 13))).real
    np.testing.assert_allclose(result * (12 * 13) / (7 * 8), large, atol=1e-12)


@pytest.mark.parametrize(
    ("small", "large", "factor"),
    [((8, 8), (16, 16), 2), ((7, 9), (14, 18), 2), ((6, 10), (9, 15), 1.5), ((5, 7), (15, 21), 3)],
)
def test_expand_and_shrink_resample_bandlimited_images(small, large, factor, x64, rng):
    seed = rng.integers(1000)
    few = bandlimited(small, None, np.random.default_rng(seed))
    many = bandlimited(large, None, np.random.default_rng(seed))
    np.testing.assert_allclose(expand(few, factor), many, atol=1e-12)
    np.testing.assert_allclose(shrink(many, factor), few, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "factor"),
    [
        ((8, 12), 1.5),
        ((8, 12), 2),
        ((4, 6), 2.5),
        ((5, 6), 2),
        ((6, 5), 3),
        ((3, 7), 2),
        ((2, 2), 2),
    ],
)
def test_shrink_inverts_expand(shape, factor, x64, rng):
    image = rng.normal(size=(2, *shape))
    for x in (image, image[0] + 1j * image[1]):
        again = shrink(expand(jnp.asarray(x), factor), factor)
        assert jnp.iscomplexobj(again) == np.iscomplexobj(x)
        np.testing.assert_allclose(again, x, atol=1e-13)


@pytest.mark.parametrize("axis", [-2, -1])
def test_the_nyquist_frequency_is_that_of_the_samples(axis, x64):
    # At the highest frequency of 8 samples, only a cosine has any: 1, -1, 1, ...
    wave = np.cos(np.arange(24) * np.pi / 3)
    many = np.moveaxis(np.broadcast_to(wave, (24, 24)), -1, axis)
    few = many[::3, ::3]
    np.testing.assert_allclose(shrink(jnp.asarray(many), 3), few, atol=1e-13)
    np.testing.assert_allclose(expand(jnp.asarray(few), 3), many, atol=1e-13)


def without_nyquist(x, smaller):
    """A spectrum, without the highest frequency of the smaller of two images of even size."""
    spectrum = np.fft.fft2(np.asarray(x))
    for axis in (-2, -1):
        half = smaller[axis] // 2
        np.moveaxis(spectrum, axis, 0)[[half, x.shape[axis] - half]] = 0
    return spectrum


def test_expand_and_shrink_equal_plenoptic_but_for_the_nyquist_frequency(x64):
    values = reference()
    image = jnp.asarray(values["image"])
    bands = jax.lax.complex(image, image[..., ::-1])
    for result, name, smaller in [
        (expand(image, 2), "expand_2", (24, 32)),
        (expand(bands, 1.5), "expand_1.5_complex", (24, 32)),
        (shrink(image, 2), "shrink_2", (12, 16)),
        (shrink(bands[..., :24], 1.5), "shrink_1.5_complex", (16, 16)),
    ]:
        assert jnp.iscomplexobj(result) == jnp.iscomplexobj(values[name])
        found, wanted = (without_nyquist(x, smaller) for x in (result, values[name]))
        assert np.sum(np.abs(wanted) > 1e-3) > 0.8 * np.prod(smaller)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("resample", [expand, shrink])
@pytest.mark.parametrize("factor", [1, 0.5, -2])
def test_resampling_refuses_factors_up_to_one(resample, factor):
    with pytest.raises(ValueError, match="above 1"):
        resample(jnp.zeros((8, 8)), factor)


@pytest.mark.parametrize(("resample", "factor"), [(expand, 1.3), (shrink, 3)])
def test_resampling_refuses_fractional_sizes(resample, factor):
    with pytest.raises(ValueError, match="integers"):
        resample(jnp.zeros((12, 8)), factor)


def test_expand_accepts_factors_with_rounding():
    # 1.1 * 10 is not 11 in floating point.
    assert expand(jnp.ones((10, 20)), 1.1).shape == (11, 22)


@pytest.mark.parametrize("shape", [(7, 5), (6, 9), (8, 8), (1, 14)])
def test_autocorrelation_is_the_mean_product_with_shifted_copies(shape, x64, rng):
    image = rng.normal(size=(2, *shape))
    result = autocorrelation(jnp.asarray(image))
    assert result.shape == image.shape
    center = np.array(shape) // 2
    for lag in [(0, 0), (0, 1), (-1, 2), (2, -1)]:
        lag = tuple(np.clip(lag, -center, (np.array(shape) - 1) // 2))
        expected = (image * np.roll(image, lag, axis=(1, 2))).mean(axis=(1, 2))
        np.testing.assert_allclose(result[(slice(None), *(center + lag))], expected, atol=1e-13)


def test_autocorrelation_equals_plenoptic(x64):
    values = reference()
    result = autocorrelation(jnp.asarray(values["image"]))
    np.testing.assert_allclose(result, values["autocorrelation"], rtol=1e-6)


@pytest.mark.parametrize("factor", [0, 1, 2, 3, -1, 0.5, 1.7])
def test_modulate_phase_multiplies_the_phase(factor, getkey):
    amplitude = jax.random.uniform(getkey(), (3, 4, 5), minval=0.1, maxval=10)
    phase = jax.random.uniform(getkey(), (3, 4, 5), minval=-3.1, maxval=3.1)
    x = jax.lax.complex(amplitude * jnp.cos(phase), amplitude * jnp.sin(phase))
    result = modulate_phase(x, factor)
    assert result.dtype == jnp.complex64
    np.testing.assert_allclose(result.real, amplitude * jnp.cos(factor * phase), atol=2e-5)
    np.testing.assert_allclose(result.imag, amplitude * jnp.sin(factor * phase), atol=2e-5)


def test_modulate_phase_equals_plenoptic(x64):
    values = reference()
    bands = jnp.asarray(values["image"] + 1j * values["image"][..., ::-1])
    np.testing.assert_allclose(modulate_phase(bands, 2), values["modulate_phase_2"], atol=1e-6)
    np.testing.assert_allclose(modulate_phase(bands, 0.5), values["modulate_phase_0.5"], atol=1e-6)


@pytest.mark.parametrize("factor", [2, 0.5, -3])
@pytest.mark.parametrize("smallest", [0.0, 1e-30, 1e-15])
def test_modulate_phase_near_zero_has_finite_gradient(factor, smallest):
    x = jnp.full((1, 3, 3), smallest).at[0, 1, 1].set(1)

    def loss(x):
        modulated = modulate_phase(jax.lax.complex(x, -x), factor)
        return jnp.sum(modulated.real + modulated.imag)

    value, gradient = jax.value_and_grad(loss)(x)
    assert jnp.isfinite(value)
    assert jnp.isfinite(gradient).all()
    _, tangent = jax.jvp(loss, (x,), (jnp.ones_like(x),))
    assert jnp.isfinite(tangent)
    if smallest == 0:
        np.testing.assert_array_equal(gradient[0, 0], 0)


def test_modulate_phase_refuses_real_signals(unchecked):
    with pytest.raises(TypeError, match="float32"):
        process.modulate_phase(jnp.ones((2, 2)))


def test_modulate_phase_relates_neighboring_scales():
    # Doubled, the phase of 8 cycles is that of 16, up to phi; over the magnitudes, the real parts
    # of two waves correlate with cos(phi) / 2.
    ramp = jnp.linspace(0, 2 * jnp.pi, 256, endpoint=False)
    pyramid = SteerablePyramidFreq((256, 256), is_complex=True)
    bands = jax.jit(lambda image: pyramid(image, [2, 3]))
    for phi, expected in ((0, 0.5), (jnp.pi / 2, 0), (jnp.pi, -0.5)):
        profile = jnp.sin(8 * ramp) + jnp.sin(16 * ramp + phi)
        coefficients = bands(jnp.broadcast_to(profile[:, None], (1, 256, 256)))
        coarse = modulate_phase(expand(coefficients[3][:, 2], 2), 2)
        fine = coefficients[2][:, 2]
        correlation = jnp.vdot(coarse.real, fine.real)
        correlation = correlation / (jnp.linalg.norm(coarse) * jnp.linalg.norm(fine))
        np.testing.assert_allclose(correlation, expected, atol=1e-5)


@pytest.mark.parametrize(("statistic", "name"), [(skew, "skew"), (kurtosis, "kurtosis")])
def test_moments_equal_plenoptic(statistic, name, x64):
    values = reference()
    np.testing.assert_allclose(
        statistic(jnp.asarray(values["image"]), dim=[-2, -1]), values[name], rtol=1e-6
    )
