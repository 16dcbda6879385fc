import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from plenoptax._compiled import _equations
from plenoptax.process import correlate


SCIPY_MODES = {
    "constant": "constant",
    "reflect": "mirror",
    "replicate": "nearest",
    "circular": "wrap",
}
# Small filters are applied directly, large ones by an FFT.
SIZES = [(1, 1), (5, 4), (9, 8)]


def expect(image, filt, pad_mode):
    # Of an even number of pixels, the center is one to the left of scipy's.
    origin = [-((1 + size) % 2) for size in filt.shape]
    mode = SCIPY_MODES.get(pad_mode, "constant")
    response = scipy.ndimage.correlate(image, filt, mode=mode, origin=origin)
    if pad_mode != "valid":
        return response
    first = [(size - 1) // 2 for size in filt.shape]
    kept = [whole - size + 1 for whole, size in zip(image.shape, filt.shape, strict=True)]
    return response[first[0] : first[0] + kept[0], first[1] : first[1] + kept[1]]


@pytest.mark.parametrize("pad_mode", [*SCIPY_MODES, "valid"])
@pytest.mark.parametrize("taps", SIZES)
def test_correlate_equals_the_definition(pad_mode, taps, rng, x64):
    image, filt = rng.standard_normal((13, 17)), rng.standard_normal(taps)
    apply = functools.partial(correlate, pad_mode=pad_mode)
    response = jax.jit(apply)(jnp.asarray(image), jnp.asarray(filt))
    np.testing.assert_allclose(response, expect(image, filt, pad_mode), atol=1e-12)
    # The response that comes with a derivative.
    arrays = jnp.asarray(image), jnp.asarray(filt)
    differentiated, _ = jax.jvp(apply, arrays, arrays)
    np.testing.assert_allclose(differentiated, response, atol=1e-12)


@pytest.mark.parametrize("taps", SIZES)
def test_correlate_broadcasts_filters_against_channels(taps, rng):
    image = jnp.asarray(rng.standard_normal((2, 2, 12, 13)), jnp.float32)
    filt = jnp.asarray(rng.standard_normal((2, *taps)), jnp.float32)
    response = correlate(image, filt)
    assert response.shape == image.shape
    assert response.dtype == jnp.float32
    for i in range(2):
        for j in range(2):
            one = expect(np.asarray(image[i, j]), np.asarray(filt[j]), "reflect")
            np.testing.assert_allclose(response[i, j], one, atol=1e-4)
    mapped = jax.vmap(correlate)(image[:, 0], jnp.stack([filt[1]] * 2))
    several = correlate(image[1, 0], filt)
    np.testing.assert_allclose(mapped[1], several[1], atol=1e-5)


@pytest.mark.parametrize("taps", SIZES)
def test_derivatives_are_those_of_the_definition(taps, rng, x64):
    arrays = jnp.asarray(rng.standard_normal((10, 9))), jnp.asarray(rng.standard_normal(taps))
    changes = jnp.asarray(rng.standard_normal((10, 9))), jnp.asarray(rng.standard_normal(taps))

    def define(image, filt):
        pads = [((size - 1) // 2, size // 2) for size in filt.shape]
        padded = jnp.pad(image, pads, mode="wrap")[None, None]
        return jax.lax.conv_general_dilated(padded, filt[None, None], (1, 1), "VALID")[0, 0]

    def differentiate(function):
        def energy(image, filt):
            return jnp.sum(jnp.sin(function(image, filt)))

        slope = jax.grad(energy, (0, 1))
        # First and second derivatives, in both arguments and in each alone.
        alone = [
            jax.jvp(lambda one: energy(one, arrays[1]), arrays[:1], changes[:1]),
            jax.jvp(lambda one: energy(arrays[0], one), arrays[1:], changes[1:]),
        ]
        return slope(*arrays), jax.jvp(slope, arrays, changes), alone

    found = jax.jit(lambda: differentiate(functools.partial(correlate, pad_mode="circular")))()
    for one, other in zip(
        jax.tree.leaves(found),
        jax.tree.leaves(jax.jit(lambda: differentiate(define))()),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_only_responses_of_small_filters_are_direct():
    image = jax.ShapeDtypeStruct((1, 64, 64), jnp.float32)

    def program(function):
        return str(jax.make_jaxpr(function)(image))

    small, large = jnp.ones((7, 7)), jnp.ones((7, 8))
    assert "fft[" in program(lambda x: correlate(x, large))
    # The derivative is a part of the jaxpr until it is lowered.
    direct = jax.jit(lambda x: correlate(x, small)).lower(image).as_text()
    assert "fft" not in direct
    assert "convolution" not in direct
    gradient = jax.jit(jax.grad(lambda x: correlate(x, small).sum())).lower(image).as_text()
    assert "fft" in gradient
    assert "convolution" not in gradient


def test_the_derivative_of_a_fixed_filter_is_not_computed():
    image = jnp.ones((1, 16, 16))
    filt = jnp.ones((3, 3))
    change = jax.make_jaxpr(lambda x: jax.jvp(lambda x: correlate(x, filt), (x,), (x,)))(image)
    names = [equation.primitive.name for equation in _equations(change)]
    # Three transforms for the response, three for its change.
    assert names.count("fft") == 6


def test_correlate_refuses_what_it_cannot_do(unchecked):
    image = jnp.zeros((4, 9))
    with pytest.raises(ValueError, match=r"window of 5 x 3 pixels, got 4 x 9"):
        correlate(image, jnp.ones((5, 3)), pad_mode="valid")
    with pytest.raises(ValueError, match="'same'"):
        correlate(image, jnp.ones((3, 3)), pad_mode="same")
    with pytest.raises(ValueError, match=r"at least two axes, got shape \(3,\)"):
        correlate(image, jnp.ones(3))
