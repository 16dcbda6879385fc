"""Reports of metamers of networks, by the criteria of Feather et al."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.ad_checkpoint import checkpoint_name

import plenoptax as plx
from plenoptax.models.features import FeatureExtractor
from plenoptax.synthesis._judge import judge, verdict


SIZE = 16


class Network(eqx.Module):
    """Two layers with random weights; its class is the sign of a contrast of the second layer."""

    first: jax.Array
    second: jax.Array
    has_classifier: ClassVar[bool] = True

    def __init__(self, key):
        one, other = jax.random.split(key)
        self.first = jax.random.normal(one, (64, 3 * SIZE * SIZE)) / SIZE
        self.second = jax.random.normal(other, (32, 64)) / 8

    def __call__(self, image):
        hidden = checkpoint_name(jnp.tanh(self.first @ (image.ravel() - 0.5)), "first")
        late = checkpoint_name(jnp.tanh(self.second @ hidden), "second")
        return jnp.stack([late[:16].sum(), late[16:].sum()])


@pytest.fixture(scope="module")
def network():
    return Network(jax.random.key(3))


@pytest.fixture(scope="module")
def images():
    """200 images of noise, each with its own spectrum."""
    generator = np.random.default_rng(1)
    steps = np.fft.fftfreq(SIZE)
    frequency = np.hypot(steps[:, None], steps[None]) + 1 / SIZE
    found = []
    for _ in range(200):
        noise = np.fft.fft2(generator.standard_normal((3, SIZE, SIZE)))
        image = np.fft.ifft2(noise / frequency ** generator.uniform(0, 2)).real
        found.append(0.5 + 0.15 * image / image.std())
    return np.clip(np.stack(found), 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def target():
    return jnp.clip(plx.process.shrink(plx.data.chelsea(), 16), 0, 1)


@pytest.fixture(scope="module")
def model(network):
    return FeatureExtractor(network, ["first", "second"])


@pytest.fixture(scope="module")
def null(images, model):
    return plx.null(images, model, name="noise")


@pytest.fixture(scope="module")
def metamers(model, target):
    return plx.metamer(
        target,
        model,
        key=jax.random.key(0),
        num_seeds=2,
        optimizer=plx.lbfgs(30),
        max_steps=200,
        progress=False,
    )


def ratio(a, b):
    """The power of b over that of the difference, in dB."""
    return 10 * np.log10(np.sum(b**2) / np.sum((a - b) ** 2))


def test_measures_and_bounds_are_those_of_scipy_on_the_responses(model, images, target):
    images = images[:40]
    null = plx.null(images, model)
    noisy = jnp.clip(target + 0.1, 0, 1)
    found = judge(model, model(noisy), model(target), null)["second"]
    a, b = (np.asarray(model(x)["second"], np.float64) for x in (noisy, target))
    assert found.compares_raw
    assert found.size == 32
    np.testing.assert_allclose(found.correlation, np.corrcoef(a, b)[0, 1], rtol=1e-6)
    np.testing.assert_allclose(found.rank_correlation, scipy.stats.spearmanr(a, b)[0], rtol=1e-6)
    np.testing.assert_allclose(found.signal_to_noise, ratio(a, b), rtol=1e-6)
    rows = np.asarray(jax.vmap(lambda x: model(x)["second"])(images), np.float64)
    pairs = [(rows[i], rows[j]) for i in range(40) for j in range(i)]
    largest = [max(ratio(a, b), ratio(b, a)) for a, b in pairs]
    correlations = [np.corrcoef(a, b)[0, 1] for a, b in pairs]
    np.testing.assert_allclose(found.null_signal_to_noise, max(largest), rtol=1e-4)
    np.testing.assert_allclose(found.null_correlation, max(correlations), rtol=1e-5)
    np.testing.assert_allclose(
        found.null_quantiles.signal_to_noise, np.quantile(largest, 0.999), rtol=1e-4
    )
    below = [
        np.mean(np.less(largest, ratio(a, b))),
        np.mean(np.less(correlations, found.correlation)),
    ]
    assert found.percentile <= 100 * min(below) + 1e-9


def test_a_metamer_succeeds_with_its_class(metamers, null):
    report = metamers[0].report(null=null)
    assert report.success is True
    assert report.criterion.endswith("and of the class of the target")
    assert report.classes is not None
    assert report.classes[0] == report.classes[1]
    text = " ".join(str(report).split())
    assert f"class the network gives the image class {report.classes[0]}, that of the" in text
    assert "SNR, dB Pearson Spearman" in text
    assert "z error" not in text


def test_what_is_no_metamer_fails(metamers, model, null, target):
    problem, trace = metamers[0].problem, metamers[0].trace
    start = jax.random.uniform(jax.random.key(1), target.shape)
    scrambled = plx.data.spectral_noise(target, key=jax.random.key(2))
    stopped = plx.metamer(target, model, initial_image=start, max_steps=3, progress=False)
    for image in (start, scrambled, stopped.image):
        state = plx.init(problem, plx.lbfgs(), initial_image=image)
        assert plx.Result(problem, state, trace).report(null=null).success is False


def test_seeds_are_far_apart(metamers, target):
    start = jax.random.uniform(jax.random.key(1), target.shape)
    whole = float(jnp.sqrt(jnp.mean((start - target) ** 2)))
    assert metamers.report().pixel_distances[0] >= whole / 2


class Fickle(eqx.Module):
    """A network whose class is not in its layer: whether the first pixel is light."""

    has_classifier: ClassVar[bool] = True

    def __call__(self, image):
        layer = checkpoint_name(image[:, 1:], "layer")
        return jnp.stack([0.5 + 0 * layer.sum(), image[0, 0, 0]])


def test_another_class_is_a_failure(images, target):
    model = FeatureExtractor(Fickle(), "layer")
    dark, light = (target.at[:, 0, 0].set(value) for value in (0.1, 0.9))
    problem = plx.Metamer(dark, model)
    trace = plx.metamer(dark, model, key=jax.random.key(0), max_steps=1, progress=False).trace
    null = plx.null(images, model)
    reports = [
        plx.Result(problem, plx.init(problem, plx.lbfgs(), initial_image=one), trace).report(
            null=null
        )
        for one in (light, dark.at[:, 0, 0].set(0.4))
    ]
    assert [verdict(one.groups, null) for one in reports] == [True, True]
    assert reports[0].classes == (0, 1)
    assert reports[0].success is False
    assert "another class than the target" in reports[0].criterion
    assert "class 1, not 0" in str(reports[0])
    assert reports[1].classes == (0, 0)


def test_networks_without_classifier_have_no_class(target):
    model = FeatureExtractor(lambda x: checkpoint_name(x, "x"), "x")
    assert model.classify(target) is None
    result = plx.metamer(target, model, key=jax.random.key(0), max_steps=1, progress=False)
    assert result.report().classes is None


def test_equal_and_black_responses_have_no_nan(target):
    model = FeatureExtractor(lambda x: checkpoint_name(x, "x"), "x")
    for image, other in ((target, target), (0 * target, target), (target, 0 * target)):
        group = judge(model, model(image), model(other), None)["x"]
        assert not np.isnan(group.signal_to_noise)
    assert judge(model, model(target), model(target), None)["x"].signal_to_noise == np.inf
