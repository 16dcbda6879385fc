import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plenoptax.metric import (
    cw_ssim,
    cw_ssim_distance,
    fsim,
    fsim_distance,
    gmsd,
    haarpsi,
    haarpsi_distance,
    ssim,
)
from plenoptax.metric._fsim import _median

from ..reference.make_learned_metrics import make_pairs, SIZES, SLOPED
from .learned import load_reference


# Distances, and what one of theirs is in terms of the published index.
CASES = {
    "gmsd": gmsd,
    "haarpsi": haarpsi_distance,
    "fsim": fsim_distance,
    "fsim_gray": functools.partial(fsim_distance, chromatic=False),
    "cw_ssim": functools.partial(cw_ssim_distance, stabilizer=0.0),
    "cw_ssim_stable": functools.partial(cw_ssim_distance, level=3, orientations=6, stabilizer=1e5),
}
DISTANCES = {
    "gmsd": gmsd,
    "haarpsi": haarpsi_distance,
    "fsim": fsim_distance,
    "cw_ssim": cw_ssim_distance,
    "cw_ssim without stabilizer": functools.partial(cw_ssim_distance, stabilizer=0.0),
}
INDICES = {"haarpsi": haarpsi, "fsim": fsim, "cw_ssim": cw_ssim}


@pytest.fixture(scope="module")
def reference():
    return load_reference("quality_metrics")


@pytest.fixture(scope="module")
def pairs():
    return make_pairs()


def as_arrays(pair, dtype=np.float32):
    return [jnp.asarray(image, dtype) for image in pair]


def test_pairs_are_those_of_the_reference(reference, pairs):
    sums = [[image.sum(dtype=np.float64) for image in pair] for pair in pairs]
    np.testing.assert_allclose(sums, reference["sum"], rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "size"),
    [pytest.param(x, size, id=f"{x}-{size[0]}") for x in CASES for size in sorted({*SIZES})],
)
def test_metric_equals_the_published_one(name, size, reference, pairs):
    chosen = [i for i, other in enumerate(SIZES) if other == size]
    found = np.array([CASES[name](*as_arrays(pairs[i])) for i in chosen])
    wanted = reference[name][chosen]
    wanted = wanted if name == "gmsd" else 1 - wanted
    # Those of piq are exact; pyiqa interpolates the filters of its pyramid from a table.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", CASES)
def test_gradient_equals_the_published_one(name, reference, pairs, x64):
    slope = jax.grad(CASES[name])
    for i, wanted in zip(SLOPED, reference[f"{name}_slopes"], strict=True):
        found = slope(*as_arrays(pairs[i], np.float64))[:, 20]
        wanted = wanted if name == "gmsd" else -wanted
        np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


def test_fsim_differs_from_piq_in_two_details_only(reference):
    # They are in the script that made the reference.
    difference = np.abs(reference["fsim_piq"] - reference["fsim"])
    assert 1e-5 < difference.max() < 1.1e-4


@pytest.mark.parametrize("name", DISTANCES)
def test_distance_is_finite_on_degenerate_images(name, rng):
    noise = jnp.asarray(rng.random((1, 64, 64)), jnp.float32)
    dot = jnp.zeros_like(noise).at[0, 20, 30].set(1)
    half = jnp.zeros_like(noise).at[:, :, 32:].set(1)
    images = [noise, dot, half, *(jnp.full_like(noise, level) for level in (0, 0.5, 1))]
    slope = jax.jit(jax.value_and_grad(DISTANCES[name]))
    for first in images:
        for second in images:
            value, gradient = slope(first, second)
            assert 0 <= value <= 1
            assert jnp.isfinite(gradient).all()
            if first is second:
                assert value < 1e-6
                assert jnp.abs(gradient).max() < 1e-5


@pytest.mark.parametrize("name", INDICES)
def test_index_is_one_minus_the_distance(name, pairs):
    first, second = as_arrays(pairs[0])
    np.testing.assert_allclose(
        INDICES[name](first, second), 1 - DISTANCES[name](first, second), rtol=1e-6
    )
    assert INDICES[name](first, first) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", ["gmsd", "haarpsi", "fsim", "cw_ssim"])
def test_distance_has_a_unit_maps_over_batches_and_compares_gray_with_color(name, pairs):
    distance = DISTANCES[name]
    first, second = as_arrays(pairs[0])
    value = distance(first, second)
    np.testing.assert_allclose(
        distance(255 * first, 255 * second, data_range=255), value, rtol=1e-4, atol=5e-7
    )
    batch = jax.vmap(distance, in_axes=(None, 0))(first, jnp.stack([second, first]))
    np.testing.assert_allclose(batch, [value, 0], rtol=1e-4, atol=1e-6)
    gray = first.mean(0, keepdims=True)
    np.testing.assert_allclose(
        distance(gray, second), distance(jnp.repeat(gray, 3, 0), second), rtol=1e-5
    )
    with jax.enable_x64(True):
        assert distance(*as_arrays(pairs[0], np.float64)).dtype == jnp.float64


def test_distances_of_odd_images_and_small_scales(rng, x64):
    first, second = jnp.asarray(rng.random((2, 1, 65, 83)))
    for distance in (gmsd, haarpsi_distance, fsim_distance, cw_ssim_distance):
        value = distance(first, second)
        assert 0 < value < 1
        # An image is as far from another as its transpose, up to the highest frequency.
        turned = distance(first.mT, second.mT)
        np.testing.assert_allclose(turned, value, rtol=2e-2)


def test_large_images_of_fsim_are_averaged(rng, x64):
    first, second = jnp.asarray(rng.random((2, 1, 32, 34)))
    doubled = [jnp.repeat(jnp.repeat(x, 12, 1), 12, 2) for x in (first, second)]
    halves = [x.reshape(1, 192, 2, 204, 2).mean((2, 4)) for x in doubled]
    np.testing.assert_allclose(fsim(*doubled), fsim(*halves), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_median_equals_that_of_numpy(dtype, rng, x64):
    for count in (1, 2, 7, 8, 101):
        for values in (rng.exponential(size=(3, count)), rng.integers(0, 3, (3, count))):
            x = jnp.asarray(values, dtype)
            np.testing.assert_array_equal(_median(x), np.median(np.asarray(x), axis=1))
            slopes = jax.jacobian(_median)(x).sum((1, 2))
            np.testing.assert_allclose(slopes, 1, rtol=1e-6)


def test_cw_ssim_forgives_a_small_translation(pairs):
    image = as_arrays(pairs[2])[0]
    moved = jnp.roll(image, 1, 2)
    assert cw_ssim(image, moved) > 0.97
    assert ssim(image, moved) < 0.9


def test_wrong_arguments_are_refused(unchecked):
    image = jnp.zeros((1, 32, 32))
    with pytest.raises(ValueError, match="At level 4 images must have at least 64 pixels"):
        cw_ssim(image, image)
    with pytest.raises(ValueError, match="orientations must be"):
        cw_ssim(image, image, level=2, orientations=17)
    with pytest.raises(ValueError, match="stabilizer must be"):
        cw_ssim(image, image, level=2, stabilizer=-1.0)
    for distance in (gmsd, haarpsi, fsim_distance):
        with pytest.raises(ValueError, match="one channel or three"):
            distance(jnp.zeros((2, 32, 32)), image)
        with pytest.warns(UserWarning, match=r"lie in \[0, 1\]"):
            distance(image, image + 2)
