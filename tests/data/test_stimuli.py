import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plenoptax import data


REFERENCE = Path(__file__).parents[1] / "reference" / "synthetic_stimuli.npz"


def images():
    key = jax.random.key(5)
    return {
        "checkerboard": data.checkerboard((24, 31), square_size=5),
        "grating": data.grating((24, 31), period=7.0, direction=0.3, phase=1.0),
        "pink_noise": data.pink_noise((24, 31), key=key),
        "plaid": data.plaid((24, 31), period=7.0),
        "zone_plate": data.zone_plate((24, 31)),
    }


@pytest.mark.parametrize("name", ["checkerboard", "grating", "pink_noise", "plaid", "zone_plate"])
def test_stimulus_is_an_image_in_the_unit_range(name):
    image = images()[name]
    assert image.shape == (1, 24, 31)
    assert image.dtype == jnp.float32
    assert image.min() >= 0
    assert image.max() <= 1


@pytest.mark.parametrize("name", ["checkerboard", "grating", "pink_noise", "plaid", "zone_plate"])
def test_stimulus_follows_the_default_precision(name, x64):
    assert images()[name].dtype == jnp.float64


def test_grating_is_one_pair_of_fourier_coefficients(x64):
    # Three cycles along x, four along y.
    image = data.grating(40, period=8.0, direction=math.atan2(4, 3), phase=0.4, contrast=0.6)
    spectrum = np.abs(np.fft.fft2(np.asarray(image[0]))) / 1600
    expected = np.zeros((40, 40))
    expected[0, 0] = 0.5
    expected[4, 3] = expected[-4, -3] = 0.6 / 4
    np.testing.assert_allclose(spectrum, expected, atol=1e-14)


def test_grating_phase_is_that_of_a_sine_at_the_center(x64):
    center = data.grating(9, phase=0.7, contrast=0.5)[0, 4, 4]
    np.testing.assert_allclose(center, 0.5 + 0.25 * np.sin(0.7), rtol=1e-15)


def test_grating_rises_to_the_right_and_with_its_direction_downwards():
    assert jnp.all(jnp.diff(data.grating(5, period=40.0)[0], axis=1) > 0)
    assert jnp.all(jnp.diff(data.grating(5, period=40.0, direction=np.pi / 2)[0], axis=0) > 0)


def test_plaid_is_the_mean_of_its_gratings(x64):
    options = {"period": 5.5, "phase": 0.2, "contrast": 0.9}
    plaid = data.plaid((20, 13), directions=(0.1, 1.3), **options)
    gratings = [data.grating((20, 13), direction=angle, **options) for angle in (0.1, 1.3)]
    np.testing.assert_allclose(plaid, (gratings[0] + gratings[1]) / 2, rtol=1e-14)


def test_checkerboard_inverts_when_moved_by_a_square():
    image = data.checkerboard((18, 30), square_size=6)
    assert image[0, 0, 0] == 0
    assert jnp.array_equal(image[:, 6:], 1 - image[:, :-6])
    assert jnp.array_equal(image[..., 6:], 1 - image[..., :-6])
    assert jnp.all(image[0, :6, :6] == 0)


def test_zone_plate_has_the_formula_of_its_rings(x64):
    image = data.zone_plate((15, 21), phase=0.3)
    # Three rows below and four columns right of the center.
    np.testing.assert_allclose(
        image[0, 10, 14], 0.5 + 0.5 * np.cos(np.pi * 25 / 21 + 0.3), rtol=1e-14
    )


def test_pink_noise_has_the_amplitude_spectrum_asked_for(x64):
    key = jax.random.key(8)
    white = np.fft.fft2(np.asarray(data.pink_noise((36, 50), key=key, exponent=0.0)[0]))
    pink = np.fft.fft2(np.asarray(data.pink_noise((36, 50), key=key, exponent=1.7)[0]))
    frequency = np.hypot(np.fft.fftfreq(36)[:, None], np.fft.fftfreq(50))
    ratio = (pink / white).ravel()[1:] * frequency.ravel()[1:] ** 1.7
    np.testing.assert_allclose(ratio, ratio[0].real, rtol=1e-9)


def test_pink_noise_fills_the_range_and_depends_on_the_key_alone():
    keys = jax.random.split(jax.random.key(1), 2)
    image = data.pink_noise(32, key=keys[0])
    assert image.min() == 0
    np.testing.assert_allclose(image.max(), 1, rtol=1e-6)
    assert jnp.array_equal(image, data.pink_noise(32, key=keys[0]))
    assert not jnp.allclose(image, data.pink_noise(32, key=keys[1]), atol=0.1)


@pytest.mark.parametrize("shape", [(24, 30), (23, 31)])
def test_spectral_noise_keeps_amplitudes_and_relations_of_channels(shape, rng, x64):
    image = jnp.asarray(rng.random((3, *shape)))
    found = data.spectral_noise(image, key=jax.random.key(1))
    wanted, spectrum = np.fft.fft2(image), np.fft.fft2(found)
    np.testing.assert_allclose(np.abs(spectrum), np.abs(wanted), atol=1e-10)
    np.testing.assert_allclose(found.mean((1, 2)), image.mean((1, 2)), atol=1e-12)
    covariances = [np.cov(np.reshape(one, (3, -1))) for one in (found, image)]
    np.testing.assert_allclose(*covariances, atol=1e-12)
    turned = np.angle(spectrum[0] / wanted[0])
    assert 1.6 < turned.std() < 2.0
    other = data.spectral_noise(image, key=jax.random.key(2))
    assert np.abs(other - found).max() > 0.3


def test_pink_noise_maps_over_keys():
    keys = jax.random.split(jax.random.key(1), 3)
    batch = jax.jit(jax.vmap(lambda key: data.pink_noise(16, key=key)))(keys)
    np.testing.assert_allclose(batch[2], data.pink_noise(16, key=keys[2]), atol=1e-6)


@pytest.mark.parametrize("size", [32, 45])
def test_synthetic_stimuli_are_those_of_pyrtools(size):
    stimuli = data.make_synthetic_stimuli(size)
    assert stimuli.shape == (11, 1, size, size)
    # pyrtools interpolates its soft edges in a table of 256 entries, to 1e-5.
    np.testing.assert_allclose(stimuli[:10, 0], np.load(REFERENCE)[str(size)], atol=2e-5)


@pytest.mark.parity
def test_synthetic_stimuli_are_those_of_pyrtools_side_by_side():
    pyrtools = pytest.importorskip("pyrtools")
    plate = pyrtools.synthetic_images.zone_plate(50)
    wave = pyrtools.synthetic_images.square_wave(50, period=51.0, direction=0)
    stimuli = data.make_synthetic_stimuli(50)
    for index, expected in ((9, plate), (1, wave)):
        expected = (expected - expected.min()) / np.ptp(expected)
        np.testing.assert_allclose(stimuli[index, 0], expected, atol=2e-5)


def test_synthetic_stimuli_fill_the_range_in_either_precision(x64):
    stimuli = data.make_synthetic_stimuli(24, key=jax.random.key(3))
    assert stimuli.dtype == jnp.float64
    np.testing.assert_allclose(stimuli.min(axis=(1, 2, 3)), 0, atol=1e-15)
    np.testing.assert_allclose(stimuli.max(axis=(1, 2, 3)), 1, atol=1e-15)


def test_synthetic_stimuli_draw_only_the_fractal():
    first = data.make_synthetic_stimuli(20)
    assert jnp.array_equal(first, data.make_synthetic_stimuli(20))
    other = data.make_synthetic_stimuli(20, key=jax.random.key(4))
    assert jnp.array_equal(first[:10], other[:10])
    fractal = data.pink_noise(20, key=jax.random.key(4), exponent=1.7)
    assert jnp.array_equal(other[10], fractal)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.grating(0), "size must be a whole number, at least 1"),
        (lambda: data.zone_plate((8, -1)), "size must be"),
        (lambda: data.grating(8, period=0.0), "period must be a finite number above 0"),
        (
            lambda: data.grating(8, contrast=1.5),
            "contrast must be .* at most 1",
        ),
        (
            lambda: data.checkerboard(8, square_size=0),
            "square_size must be a whole number, at least 1",
        ),
        (lambda: data.pink_noise(1, key=jax.random.key(0)), "single pixel"),
        (lambda: data.make_synthetic_stimuli(9), "size must be a whole number, at least 10"),
    ],
)
def test_stimulus_refuses_what_cannot_be_drawn(make, message):
    with pytest.raises(ValueError, match=message):
        make()
