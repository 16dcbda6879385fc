from collections import OrderedDict
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plenoptax.process import (
    local_gain_control,
    local_gain_control_dict,
    local_gain_release,
    local_gain_release_dict,
    polar_to_rectangular,
    polar_to_rectangular_dict,
    rectangular_to_polar,
    rectangular_to_polar_dict,
    SteerablePyramidFreq,
)


REFERENCE = Path(__file__).parents[1] / "reference" / "process.npz"


control = jax.jit(local_gain_control)


@pytest.fixture
def reference():
    with np.load(REFERENCE) as values:
        yield values


def signal(reference, kind):
    image = jnp.asarray(reference["image"])
    return image if kind == "real" else jax.lax.complex(image, image[..., ::-1])


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_local_gain_control_equals_plenoptic(kind, reference, x64):
    norm, direction = control(signal(reference, kind))
    np.testing.assert_allclose(norm, reference[f"norm_{kind}"], rtol=1e-12)
    np.testing.assert_allclose(direction, reference[f"direction_{kind}"], rtol=1e-12)


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_rectangular_to_polar_equals_plenoptic(kind, reference, x64):
    amplitude, phase = rectangular_to_polar(signal(reference, kind) - 0.5)
    np.testing.assert_allclose(amplitude, reference[f"amplitude_{kind}"], rtol=1e-12)
    np.testing.assert_allclose(phase, reference[f"phase_{kind}"], rtol=1e-12)


@pytest.mark.parametrize("kind", ["real", "complex"])
@pytest.mark.parametrize("shape", [(8, 9), (2, 4, 7, 6)])
def test_release_inverts_control(kind, shape, getkey):
    x = jax.random.normal(getkey(), shape, jnp.float32 if kind == "real" else jnp.complex64)
    norm, direction = control(x)
    assert norm.dtype == jnp.float32
    assert direction.dtype == x.dtype
    np.testing.assert_allclose(jax.jit(local_gain_release)(norm, direction), x, atol=1e-5)


def test_local_gain_control_normalizes(getkey):
    x = jax.random.normal(getkey(), (64, 64))
    norm, direction = control(x)
    louder, same = control(100 * x)
    np.testing.assert_allclose(louder, 100 * norm, rtol=1e-5)
    np.testing.assert_allclose(same, direction, rtol=1e-4)
    # Of white noise, power is one everywhere.
    np.testing.assert_allclose(jnp.mean(norm**2), 1, atol=0.1)


def test_epsilon_is_added_to_the_amplitude():
    norm, direction = local_gain_control(jnp.full((1, 8, 9), 2.0), epsilon=2.0)
    np.testing.assert_allclose(norm, 2, rtol=1e-6)
    np.testing.assert_allclose(direction, 0.5, rtol=1e-6)
    np.testing.assert_allclose(local_gain_release(norm, direction, 2.0), 2, rtol=1e-6)


def degenerate_images():
    rows, columns = jnp.indices((12, 13))
    checkerboard = ((rows + columns) % 2).astype(jnp.float32)
    half_black = jnp.where(columns > 6, checkerboard, 0)
    return [jnp.zeros((12, 13)), jnp.full((12, 13), 0.5), checkerboard, half_black]


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_gain_control_of_degenerate_images_is_finite(kind):
    @jax.jit
    def evaluate(x):
        def energy(x):
            x = jax.lax.complex(x, 0 * x) if kind == "complex" else x
            norm, direction = local_gain_control(x)
            return jnp.sum(norm) + jnp.sum(jnp.abs(direction)), local_gain_release(norm, direction)

        (value, again), gradient = jax.value_and_grad(energy, has_aux=True)(x)
        return value, again, gradient

    for image in degenerate_images():
        value, again, gradient = evaluate(image)
        assert jnp.isfinite(value)
        assert jnp.isfinite(gradient).all()
        np.testing.assert_allclose(again.real, image, atol=1e-5)


def test_polar_round_trip(getkey, x64):
    x = jax.random.normal(getkey(), (3, 5, 7), jnp.complex128)
    again = polar_to_rectangular(*rectangular_to_polar(x))
    assert again.dtype == x.dtype
    np.testing.assert_allclose(again, x, rtol=1e-14)


def test_polar_coordinates_are_finite_at_zero():
    def total(x):
        amplitude, phase = rectangular_to_polar(jax.lax.complex(x, x[::-1]))
        return jnp.sum(amplitude) + jnp.sum(phase)

    for x in (jnp.zeros(4), jnp.asarray([0, 1e-30, 1e-20, 0]), jnp.asarray([0, 1.0, -1.0, 0])):
        value, gradient = jax.jit(jax.value_and_grad(total))(x)
        assert jnp.isfinite(value)
        assert jnp.isfinite(gradient).all()


def test_gradient_of_the_phase_is_that_of_the_angle(getkey, x64):
    x = jax.random.normal(getkey(), (6,), jnp.complex128)
    rotate = lambda angle: rectangular_to_polar(x * jnp.exp(1j * angle))[1].sum()  # noqa: E731
    np.testing.assert_allclose(jax.grad(rotate)(0.0), 6, rtol=1e-12)


def test_polar_to_rectangular_refuses_negative_amplitudes():
    amplitude = jnp.asarray([1.0, -0.5])
    with pytest.raises(ValueError, match=r"amplitude must not be negative, got .*-0.5"):
        polar_to_rectangular(amplitude, jnp.zeros(2))
    traced = jax.jit(polar_to_rectangular)(amplitude, jnp.zeros(2))
    np.testing.assert_array_equal(traced, amplitude.astype(jnp.complex64))


@pytest.fixture(scope="module")
def pyramid():
    return SteerablePyramidFreq((19, 24), height=1, order=1, is_complex=True)


@pytest.fixture(scope="module")
def coefficients(pyramid):
    return eqx.filter_jit(pyramid)(jax.random.uniform(jax.random.key(1), (2, 19, 24)))


PAIRS = {
    "gain": (local_gain_control_dict, local_gain_release_dict),
    "polar": (rectangular_to_polar_dict, polar_to_rectangular_dict),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_dictionaries_make_a_round_trip(pair, pyramid, coefficients):
    forward, backward = PAIRS[pair]
    energy, state = forward(coefficients, residuals=True)
    assert list(energy) == list(coefficients)
    assert list(state) == [0]
    for key in ("residual_lowpass", "residual_highpass"):
        assert energy[key] is coefficients[key]
    again = backward(energy, state)
    for key, band in coefficients.items():
        np.testing.assert_allclose(again[key], band, atol=1e-4)
    image = pyramid.recon_pyr(again)
    np.testing.assert_allclose(image, pyramid.recon_pyr(coefficients), atol=1e-4)


def test_dictionaries_keep_residuals_as_plenoptic_does_by_default(coefficients):
    assert list(local_gain_control_dict(coefficients)[0]) == list(coefficients)
    assert list(rectangular_to_polar_dict(coefficients)[0]) == [0]
    energy, state = local_gain_control_dict(coefficients)
    assert list(local_gain_release_dict(energy, state, residuals=False)) == [0]
    assert list(local_gain_control_dict(coefficients, residuals=False)[0]) == [0]


def test_dictionaries_need_no_residuals(coefficients):
    bands = OrderedDict({0: coefficients[0]})
    for forward, backward in PAIRS.values():
        assert list(backward(*forward(bands, residuals=True))) == [0]


def test_dictionaries_act_band_by_band(coefficients):
    norm, direction = control(coefficients[0][1, 0])
    energy, state = local_gain_control_dict(coefficients)
    np.testing.assert_allclose(energy[0][1, 0], norm, rtol=1e-5)
    np.testing.assert_allclose(state[0][1, 0], direction, rtol=1e-4)


def test_dictionaries_refuse_a_missing_band(coefficients):
    energy, _ = rectangular_to_polar_dict(coefficients)
    with pytest.raises(ValueError, match=r"levels of energy, \[0\].*got \[\]"):
        polar_to_rectangular_dict(energy, OrderedDict())
