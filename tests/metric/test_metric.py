import contextlib
import functools
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx
from plenoptax.metric import (
    model_metric_factory,
    ms_ssim,
    ms_ssim_distance,
    mse,
    NLP,
    nlpd,
    normalized_laplacian_pyramid,
    ssim,
    ssim_distance,
    ssim_map,
)


TWO_SCALES = functools.partial(ms_ssim, power_factors=[0.4, 0.6])
TWO_SCALES_ALIVE = functools.partial(TWO_SCALES, floor=0.05)
METRICS = {
    "mse": mse,
    "ssim": ssim,
    "weighted ssim": functools.partial(ssim, weighted=True),
    "padded ssim": functools.partial(ssim, weighted=True, pad="reflect"),
    "ms_ssim": TWO_SCALES,
    "ms_ssim with floor": TWO_SCALES_ALIVE,
    "nlpd": functools.partial(nlpd, epsilon=0.0),
    "nlpd of matlab": functools.partial(nlpd, epsilon=0.0, variant="matlab"),
    "model metric": model_metric_factory(plx.models.Gaussian(5)),
}
DEGENERATE = {
    "black": np.zeros((32, 32)),
    "gray": np.full((32, 32), 0.5),
    "white": np.ones((32, 32)),
    "checkerboard": np.indices((32, 32)).sum(0) % 2.0,
    "dot": np.pad([[1.0]], ((16, 15), (10, 21))),
    "sawtooth": np.tile(np.arange(32) % 8 / 7, (32, 1)),
}
IMAGE_METRICS = {
    "ssim": ssim,
    "ssim_map": ssim_map,
    "ssim_distance": ssim_distance,
    "ms_ssim": TWO_SCALES,
    "ms_ssim_distance": functools.partial(ms_ssim_distance, power_factors=[0.4, 0.6]),
    "nlpd": nlpd,
}


@pytest.fixture
def pair(rng):
    """Two images that are alike."""
    first = rng.random((2, 32, 36))
    second = 0.7 * first + 0.3 * rng.random((2, 32, 36))
    return jnp.asarray(first, jnp.float32), jnp.asarray(second, jnp.float32)


def test_mse_is_the_average_of_squares(pair):
    first, second = (np.asarray(image, np.float64) for image in pair)
    np.testing.assert_allclose(mse(*pair), np.mean((first - second) ** 2), rtol=1e-6)
    sound = jnp.arange(3.0)
    assert mse(sound, jnp.zeros(3)) == pytest.approx(5 / 3)


@pytest.mark.parametrize("metric", [mse, ssim, TWO_SCALES, nlpd])
def test_metric_averages_channels_and_is_symmetric(metric, pair):
    first, second = pair
    value = metric(first, second)
    assert value.shape == ()
    assert value.dtype == jnp.float32
    channels = [metric(jnp.stack([first[i]] * 2), jnp.stack([second[i]] * 2)) for i in range(2)]
    assert channels[0] != channels[1]
    np.testing.assert_allclose(value, np.mean(channels), rtol=1e-5)
    np.testing.assert_allclose(value, metric(second, first), rtol=1e-5)


@pytest.mark.parametrize("metric", [ssim, TWO_SCALES, nlpd])
def test_one_channel_is_compared_with_every_channel(metric, pair):
    first, second = pair
    repeated = jnp.concatenate([second[:1], second[:1]])
    np.testing.assert_allclose(metric(first, second[:1]), metric(first, repeated), rtol=1e-6)
    np.testing.assert_allclose(metric(second[:1], first), metric(repeated, first), rtol=1e-6)


@pytest.mark.parametrize("metric", [ssim, TWO_SCALES, nlpd])
def test_metric_maps_over_a_batch(metric, pair):
    first, second = pair
    others = jnp.stack([first, second, 1 - first])
    values = jax.vmap(metric, in_axes=(None, 0))(first, others)
    np.testing.assert_allclose(values, [metric(first, x) for x in others], atol=1e-5)
    assert np.ptp(values) > 0.1


@pytest.mark.parametrize("metric", [ssim, TWO_SCALES, TWO_SCALES_ALIVE])
def test_similarity_of_equal_images_is_one(metric, pair):
    np.testing.assert_allclose(metric(pair[0], pair[0]), 1, atol=1e-6)
    assert metric(*pair) < 0.999


def test_distances_are_one_minus_the_similarity(pair):
    np.testing.assert_allclose(
        ssim_distance(*pair, True, "reflect"), 1 - ssim(*pair, True, "reflect")
    )
    powers = [0.4, 0.6]
    np.testing.assert_allclose(ms_ssim_distance(*pair, powers), 1 - ms_ssim(*pair, powers))


def test_ssim_is_the_average_of_its_map(pair):
    assert ssim_map(*pair).shape == (2, 22, 26)
    np.testing.assert_allclose(ssim_map(*pair).mean(), ssim(*pair), rtol=1e-5)
    padded = ssim_map(*pair, pad="reflect")
    np.testing.assert_allclose(padded[:, 5:-5, 5:-5], ssim_map(*pair), atol=1e-5)
    np.testing.assert_allclose(padded.mean(), ssim(*pair, pad="reflect"), rtol=1e-5)


def test_ssim_of_a_negative_is_negative(rng):
    image = jnp.asarray(rng.random((1, 32, 32)), jnp.float32)
    assert -1 <= ssim(image, 1 - image) < -0.5


def test_weighted_ssim_counts_contrast(rng):
    noise = rng.random((1, 32, 64))
    flat = noise.copy()
    flat[..., :32] = 0.5
    # Where there is something to see, the images agree; elsewhere the other has faint noise.
    other = flat.copy()
    other[..., :32] += 0.05 * (noise[..., :32] - 0.5)
    first, second = (jnp.asarray(x, jnp.float32) for x in (flat, other))
    assert ssim(first, second, weighted=True) > ssim(first, second) + 0.01


def test_data_range_is_the_unit_of_the_image(pair):
    first, second = pair
    np.testing.assert_allclose(
        ssim(255 * first, 255 * second, data_range=255), ssim(first, second), rtol=1e-5
    )
    np.testing.assert_allclose(
        TWO_SCALES(8 * first, 8 * second, data_range=jnp.float32(8)), TWO_SCALES(*pair), rtol=1e-5
    )


def test_ms_ssim_of_one_scale_is_ssim(pair):
    np.testing.assert_allclose(ms_ssim(*pair, [1.0]), ssim(*pair), rtol=1e-6)


def test_ms_ssim_multiplies_powers_of_scales(pair):
    first, second = (image[:1, :, :32] for image in pair)
    halves = [np.asarray(x).reshape(1, 16, 2, 16, 2).mean((2, 4)) for x in (first, second)]
    coarse = ssim(*map(jnp.asarray, halves))
    both = ms_ssim(first, second, jnp.asarray([0.3, 1.0]))
    fine = ms_ssim(first, second, [0.3, 0.0])
    np.testing.assert_allclose(both, fine * coarse, rtol=1e-5)
    np.testing.assert_allclose(ms_ssim(first, second, [0.6, 0.0]), fine**2, rtol=1e-5)


def test_ms_ssim_repeats_the_edge_of_odd_scales(pair):
    first, second = (image[:, :31, :35] for image in pair)
    even = [jnp.pad(x, [(0, 0), (0, 1), (0, 1)], mode="edge") for x in (first, second)]
    np.testing.assert_allclose(
        ms_ssim(first, second, [0.0, 1.0]), ms_ssim(*even, [0.0, 1.0]), rtol=1e-6
    )


def test_ms_ssim_of_a_negative_is_dead_unless_there_is_a_floor(rng):
    image = jnp.asarray(rng.random((1, 32, 32)), jnp.float32)
    value, gradient = jax.value_and_grad(TWO_SCALES)(1 - image, image)
    assert value == 0
    assert not gradient.any()
    value, gradient = jax.value_and_grad(TWO_SCALES_ALIVE)(1 - image, image)
    assert 0 < value < 0.1
    towards = image - (1 - image)
    assert jnp.vdot(gradient, towards) > 0
    # A scale with the power of 0 does not count, whatever its sign.
    assert ms_ssim(1 - image, image, [0.0, 0.0]) == 1


def test_floor_leaves_similar_images_as_they_are(pair):
    assert TWO_SCALES_ALIVE(*pair) == TWO_SCALES(*pair)


def test_floor_continues_smoothly_and_grows(x64, rng):
    image = rng.random((1, 16, 16))
    centered = image - image.mean()
    floor = functools.partial(ms_ssim, power_factors=[1.0], floor=0.05)
    slope = jax.jit(
        jax.value_and_grad(lambda a: floor(jnp.asarray(image), 0.5 + a * jnp.asarray(centered)))
    )
    values, _ = zip(*(slope(a) for a in np.linspace(-0.9, 0.9, 19)), strict=True)
    assert np.all(np.diff(values) > 0)
    assert np.all(np.asarray(values) > 0)
    fine = [slope(a) for a in np.linspace(-0.05, 0.1, 151)]
    assert np.abs(np.diff([s for _, s in fine])).max() < 0.1 * max(s for _, s in fine)


def test_nlpd_of_equal_images_is_the_root_of_epsilon(pair):
    np.testing.assert_allclose(nlpd(pair[0], pair[0]), 1e-5, rtol=1e-5)
    np.testing.assert_allclose(nlpd(pair[0], pair[0], 1e-4), 1e-2, rtol=1e-5)
    assert nlpd(pair[0], pair[0], 0.0) == 0


def test_nlpd_averages_its_scales(pair):
    first, second = (normalized_laplacian_pyramid(image) for image in pair)
    assert [scale.shape[1:] for scale in first] == [
        (32, 36),
        (16, 18),
        (8, 9),
        (4, 5),
        (2, 3),
        (1, 2),
    ]
    squares = [np.mean((x - y) ** 2, (1, 2)) for x, y in zip(first, second, strict=True)]
    np.testing.assert_allclose(nlpd(*pair), np.mean(np.sqrt(squares)), rtol=1e-5)


def test_normalized_pyramid_adapts_to_contrast(rng):
    noise = jnp.asarray(rng.random((2, 32, 36)) - 0.5, jnp.float32)
    full, half = (normalized_laplacian_pyramid(0.5 + c * noise)[0].std() for c in (1.0, 0.5))
    assert 1 < full / half < 1.5


@pytest.mark.parametrize("variant", ["plenoptic", "matlab"])
def test_nlp_is_a_model_of_any_channels(variant, pair):
    model = NLP(variant)
    representation = model(pair[0])
    scales = normalized_laplacian_pyramid(pair[0], variant=variant)
    assert representation.shape == (2, sum(scale[0].size for scale in scales))
    np.testing.assert_array_equal(representation[1, : 32 * 36], scales[0][1].ravel())
    assert NLP() == NLP("plenoptic")
    assert not jax.tree.leaves(model)


def test_variants_differ(pair):
    assert abs(nlpd(*pair) - nlpd(*pair, variant="matlab")) > 1e-3


def test_model_metric_compares_representations(pair):
    model = plx.models.Gaussian(5, std=1.0)
    metric = model_metric_factory(model, epsilon=1e-4)
    first, second = pair[0][:1], pair[1][:1]
    wanted = np.sqrt(np.mean((model(first) - model(second)) ** 2) + 1e-4)
    np.testing.assert_allclose(metric(first, second), wanted, rtol=1e-5)
    np.testing.assert_allclose(metric(first, first), 1e-2, rtol=1e-5)
    np.testing.assert_allclose(model_metric_factory(model)(first, first), 1e-5, rtol=1e-5)
    assert [leaf.shape for leaf in jax.tree.leaves(metric)] == [(1,)]


def test_model_metric_takes_trees_and_plain_functions(pair, unchecked):
    metric = model_metric_factory(lambda x: {"mean": x.mean(), "pixels": (x,)}, epsilon=0.0)
    value, gradient = eqx.filter_value_and_grad(metric)(pair[0], pair[0])
    assert value == 0
    assert not gradient.any()
    assert metric(*pair) > 0
    with pytest.raises(TypeError, match="callable"):
        model_metric_factory(3.0)  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def compiled():
    return {name: jax.jit(jax.value_and_grad(metric)) for name, metric in METRICS.items()}


@pytest.mark.parametrize("name", METRICS)
def test_metric_is_finite_on_degenerate_images(name, compiled):
    images = {key: jnp.asarray(x[None], jnp.float32) for key, x in DEGENERATE.items()}
    for first, x in images.items():
        for second, y in images.items():
            value, gradient = compiled[name](x, y)
            assert jnp.isfinite(value), (first, second)
            assert jnp.isfinite(gradient).all(), (first, second)


def test_weighted_ssim_without_contrast_is_the_plain_one(x64):
    black, dark = jnp.zeros((1, 16, 16)), jnp.full((1, 16, 16), 0.01)
    assert ssim(black, black, weighted=True) == 1
    np.testing.assert_allclose(ssim(black, dark, weighted=True), ssim(black, dark), rtol=1e-9)


@pytest.mark.parametrize("metric", IMAGE_METRICS.values(), ids=IMAGE_METRICS)
def test_range_is_warned_about_once_and_not_under_jit(metric, pair):
    high = 2 * pair[0]
    with pytest.warns(UserWarning, match=r"lie in \[0, 1\]") as caught:
        metric(pair[0], high)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jax.make_jaxpr(metric)(high, high)
        metric(*pair)
        if metric is not nlpd:
            metric(pair[0], high, data_range=2)


def test_small_images_shrink_the_window(rng, x64):
    first, second = (jnp.asarray(rng.random((1, 9, 7))) for _ in range(2))
    with pytest.warns(UserWarning, match="window of 11 x 11"):
        found = ssim_map(first, second)
    assert found.shape == (1, 3, 1)
    with pytest.warns(UserWarning, match="of 6 x 6"):
        ms_ssim(*(jnp.asarray(rng.random((2, 1, 88, 88)))))


@pytest.mark.parametrize("metric", IMAGE_METRICS.values(), ids=IMAGE_METRICS)
def test_metric_refuses_what_it_cannot_compare(metric, unchecked):
    image = jnp.zeros((3, 16, 16))
    with pytest.raises(ValueError, match="channel, height, width"):
        metric(image[0], image[0])
    with pytest.raises(ValueError, match="jax.vmap"):
        metric(image[None], image[None])
    with pytest.raises(ValueError, match=r"\(3, 16, 16\) and \(3, 16, 15\)"):
        metric(image, image[..., 1:])
    with pytest.raises(ValueError, match="same number of channels or one"):
        metric(image, image[:2])
    with pytest.raises(TypeError, match="int32"):
        metric(image.astype(int), image)
    with pytest.raises(TypeError, match="float32 and float16"):
        metric(image, image.astype(jnp.float16))


def test_mse_refuses_what_it_cannot_compare(unchecked):
    image = jnp.zeros((3, 16, 16))
    with pytest.raises(ValueError, match="same shape"):
        mse(image, image[:1])
    with pytest.raises(TypeError, match="float32 and float16"):
        mse(image, image.astype(jnp.float16))


@pytest.mark.parametrize(("floor", "is_refused"), [(5e-6, False), (2e-5, True)])
def test_distances_may_exceed_zero_at_equal_images_by_the_root_of_epsilon(floor, is_refused):
    # The limit is 1e-5, what nlpd and model metrics are there, and 5e-7 of rounding.
    refused = pytest.raises(ValueError, match="two equal images is 2e-05")
    with refused if is_refused else contextlib.nullcontext():
        plx.validate.validate_metric(lambda a, b: mse(a, b) + floor)


def test_metric_refuses_unknown_options(unchecked):
    image = jnp.zeros((1, 32, 32))
    for pad in (True, "valid", "symmetric"):
        with pytest.raises(ValueError, match="pad must be"):
            ssim(image, image, pad=pad)  # pyright: ignore[reportArgumentType]
    for powers in (0.5, [], [[1.0]]):
        with pytest.raises(ValueError, match="power_factors"):
            ms_ssim(image, image, powers)
    with pytest.raises(ValueError, match="floor"):
        ms_ssim(image, image, floor=-0.1)
    for call in (
        lambda variant: nlpd(image, image, variant=variant),
        lambda variant: normalized_laplacian_pyramid(image, variant=variant),
        NLP,
    ):
        with pytest.raises(ValueError, match="variant must be"):
            call("octave")


def test_numpy_images_are_taken(unchecked):
    image = np.full((1, 16, 16), 0.5, np.float32)
    assert ssim(image, image) == 1
