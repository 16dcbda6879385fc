from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plenoptax.process import (
    blur_downsample,
    correlate_downsample,
    LaplacianPyramid,
    upsample_blur,
    upsample_convolve,
)


REFERENCE = Path(__file__).parents[1] / "reference" / "process.npz"


@eqx.filter_jit
def decompose(pyramid, image):
    return pyramid(image)


@eqx.filter_jit
def reconstruct(pyramid, scales):
    return pyramid.recon_pyr(scales)


@pytest.mark.parametrize("scale_filter", [True, False])
def test_pyramid_equals_plenoptic(scale_filter, x64):
    with np.load(REFERENCE) as reference:
        scales = decompose(LaplacianPyramid(3, scale_filter), jnp.asarray(reference["image"]))
        for i, scale in enumerate(scales):
            np.testing.assert_allclose(scale, reference[f"pyramid_{scale_filter}/{i}"], atol=1e-13)


@pytest.mark.parametrize("shape", [(2, 37, 64), (23, 5)])
@pytest.mark.parametrize("scale_filter", [True, False])
def test_reconstruction_is_exact(shape, scale_filter, rng, x64):
    pyramid = LaplacianPyramid(4, scale_filter)
    for dtype, tolerance in ((jnp.float64, 1e-14), (jnp.float32, 1e-6)):
        image = jnp.asarray(rng.random(shape), dtype)
        scales = decompose(pyramid, image)
        again = reconstruct(pyramid, scales)
        assert {scale.dtype for scale in scales} == {image.dtype} == {again.dtype}
        np.testing.assert_allclose(again, image, atol=tolerance)


def test_reconstruction_takes_scales_that_are_of_no_image(rng, x64):
    pyramid = LaplacianPyramid(3)
    scales = [
        jnp.asarray(rng.standard_normal(shape)) for shape in [(1, 9, 12), (1, 5, 6), (1, 3, 3)]
    ]
    image = reconstruct(pyramid, scales)
    # What the fine scales add is exactly themselves.
    coarse = reconstruct(pyramid, [0 * scales[0], *scales[1:]])
    np.testing.assert_allclose(image - coarse, scales[0], atol=1e-14)


@pytest.mark.parametrize("scale_filter", [True, False])
def test_scales_of_a_constant_image(scale_filter):
    *bands, lowpass = decompose(LaplacianPyramid(4, scale_filter), jnp.full((1, 21, 32), 0.4))
    gain = 1.0 if scale_filter else 2.0
    np.testing.assert_allclose(lowpass, 0.4 * gain**3, rtol=1e-6)
    for band in bands:
        np.testing.assert_allclose(band, 0, atol=1e-5)


def test_pyramid_is_linear_and_its_unscaled_scales_are_larger(rng):
    image = jnp.asarray(rng.random((1, 20, 20)), jnp.float32)
    scaled, unscaled = (decompose(LaplacianPyramid(3, s), image) for s in (True, False))
    for i, (one, other) in enumerate(zip(scaled, unscaled, strict=True)):
        np.testing.assert_allclose(2**i * one, other, atol=1e-5)


def test_pyramid_carries_leading_axes(rng):
    images = jnp.asarray(rng.random((2, 3, 10, 9)), jnp.float32)
    pyramid = LaplacianPyramid(2)
    for scale, one in zip(
        decompose(pyramid, images), decompose(pyramid, images[1, 2]), strict=True
    ):
        np.testing.assert_allclose(scale[1, 2], one, atol=1e-6)


def test_pyramid_of_one_scale_is_the_image(rng):
    image = jnp.asarray(rng.random((1, 1, 3)), jnp.float32)
    (scale,) = LaplacianPyramid(1)(image)
    np.testing.assert_array_equal(scale, image)
    tiny = LaplacianPyramid(3)
    again = reconstruct(tiny, decompose(tiny, image))
    np.testing.assert_allclose(again, image, atol=1e-6)


def test_pyramid_refuses(unchecked):
    with pytest.raises(ValueError, match="n_scales must be a whole number, at least 1, got 0"):
        LaplacianPyramid(0)
    pyramid = LaplacianPyramid(3)
    scales = [jnp.zeros((1, size, size)) for size in (8, 4, 2)]
    with pytest.raises(ValueError, match="3 scales"):
        pyramid.recon_pyr(scales[:2])
    with pytest.raises(ValueError, match=r"shapes \[\(1, 2, 2\)"):
        pyramid.recon_pyr(scales[::-1])


@pytest.mark.parametrize("name", ["binom2", "qmf9", "daub3"])
def test_named_filters_resample_as_in_plenoptic(name, x64):
    @jax.jit
    def resample(image):
        values = {}
        for scaled in (True, False):
            down = blur_downsample(image, 1, name, scaled)
            values[f"down_{scaled}/{name}"] = down
            values[f"up_{scaled}/{name}"] = upsample_blur(down, (1, 0), 1, name, scaled)
        return values

    with np.load(REFERENCE) as reference:
        for key, value in resample(jnp.asarray(reference["image"])).items():
            np.testing.assert_allclose(value, reference[key], atol=1e-13, err_msg=key)


def test_resampling_twice_equals_plenoptic(x64):
    twice = jax.jit(
        lambda x: (blur_downsample(x, 2), upsample_blur(blur_downsample(x, 2), (0, 1), 2))
    )
    with np.load(REFERENCE) as reference:
        down, up = twice(jnp.asarray(reference["image"]))
        np.testing.assert_allclose(down, reference["down_twice"], atol=1e-13)
        np.testing.assert_allclose(up, reference["up_twice"], atol=1e-13)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_resampling_with_a_filter_equals_plenoptic(mode, x64):
    with np.load(REFERENCE) as reference:
        image, filt = jnp.asarray(reference["image"]), jnp.asarray(reference["filt"])
        down = jax.jit(correlate_downsample, static_argnums=2)(image, filt, mode)
        np.testing.assert_allclose(down, reference[f"correlate/{mode}"], atol=1e-13)
        up = jax.jit(upsample_convolve, static_argnums=(1, 3))(down, (0, 1), filt, mode)
        np.testing.assert_allclose(up, reference[f"convolve/{mode}"], atol=1e-13)


@pytest.mark.parametrize("size", [9, 12])
def test_an_impulse_returns_to_its_place(size):
    position = size // 2 // 2 * 2
    image = jnp.zeros((1, size, size)).at[0, position, position].set(1)
    there_and_back = jax.jit(lambda x: upsample_blur(blur_downsample(x), (size % 2, size % 2)))
    again = there_and_back(image)
    assert again.shape == image.shape
    assert np.unravel_index(again.argmax(), again.shape) == (0, position, position)


def test_away_from_the_border_upsampling_is_the_adjoint_of_downsampling(rng, x64):
    filt = jnp.asarray(rng.standard_normal((5, 4)))
    image = jnp.asarray(rng.standard_normal((1, 16, 15)))
    coarse = jnp.zeros((1, 8, 8)).at[:, 3:5, 3:5].set(jnp.asarray(rng.standard_normal((1, 2, 2))))
    down = jax.jit(correlate_downsample, static_argnums=2)(image, filt, "constant")
    up = jax.jit(upsample_convolve, static_argnums=(1, 3))(coarse, (0, 1), filt, "constant")
    forward, backward = jnp.vdot(down, coarse), jnp.vdot(image, up)
    np.testing.assert_allclose(forward, backward, rtol=1e-12)


def test_value_and_gradient_are_finite_on_degenerate_images():
    image = jnp.full((1, 16, 13), 0.5).at[:, ::2, ::3].set(0)
    pyramid = LaplacianPyramid(3, True)
    energy = jax.jit(jax.value_and_grad(lambda x: sum(jnp.sum(s**2) for s in pyramid(x))))
    for x in (image, jnp.zeros_like(image)):
        for array in energy(x):
            assert jnp.isfinite(array).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: blur_downsample(x, 0), "n_scales must be a whole number, at least 1"),
        (lambda x: blur_downsample(x, filtname="db4"), "'db4'"),
        (lambda x: upsample_blur(x, (0, 2)), r"odd must be two numbers.*\(0, 2\)"),
        (lambda x: upsample_blur(x, (0, 1, 1)), "odd must be two numbers"),
        (lambda x: correlate_downsample(x, jnp.ones(5)), r"two axes, got shape \(5,\)"),
        (lambda x: upsample_convolve(x, (0, 0), jnp.ones((2, 2)), "mirror"), "'mirror'"),
    ],
)
def test_resampling_refuses(call, message, unchecked):
    with pytest.raises(ValueError, match=message):
        call(jnp.zeros((1, 8, 8)))


@pytest.mark.parity
def test_pyramid_of_a_photograph_equals_plenoptic(x64):
    plenoptic = pytest.importorskip("plenoptic")
    image = plenoptic.data.einstein().double()[..., :201, :]
    theirs = plenoptic.process.LaplacianPyramid(5, True)(image)
    ours = decompose(LaplacianPyramid(5, True), jnp.asarray(image[0].numpy()))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other[0].numpy(), atol=1e-12)
