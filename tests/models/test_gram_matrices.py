from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name

import plenoptax as plx
from plenoptax.models import GramMatrices
from plenoptax.models.features import FeatureExtractor

from .networks import drawn


LAYERS = ("relu1", "pool1")


@pytest.fixture(scope="module")
def network():
    return drawn("AlexNet", pooling="average")


@eqx.filter_jit
def measure(model, image):
    return model(image)


@pytest.fixture(scope="module")
def model(network):
    return GramMatrices(FeatureExtractor(network, LAYERS))


def image_of(key, shape=(3, 64, 72), dtype=None):
    return jax.random.uniform(key, shape, dtype)


def pixels(image):
    """A network that sees each pixel by itself."""
    color = checkpoint_name(jnp.tanh(image), "first")
    return checkpoint_name(jnp.concatenate([color, color[:2] ** 2]), "second")


def gram(response):
    """The Gram matrix of maps, element by element."""
    rows = np.asarray(response, np.float64).reshape(len(response), -1)
    return np.array([[np.mean(a * b) for b in rows] for a in rows])


def test_matrices_are_mean_products_of_responses(model, network, getkey, x64):
    image = image_of(getkey(), dtype=jnp.float64)
    found = measure(model, image)
    matrices = model.convert_to_dict(found)
    assert tuple(matrices) == LAYERS
    for name, response in measure(FeatureExtractor(network, LAYERS), image).items():
        wanted = gram(response)
        np.testing.assert_allclose(matrices[name], wanted, rtol=1e-12)
        np.testing.assert_allclose(found[name], wanted[np.triu_indices(len(wanted))], rtol=1e-12)


@pytest.mark.parity
def test_matrices_and_gradient_equal_those_in_torch(model, network, getkey, x64):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    image = image_of(getkey(), dtype=jnp.float64)
    weights = {
        name: torch.from_numpy(np.array(array, np.float64))
        for name, array in network.parameters.items()
    }
    x = pixels = torch.from_numpy(np.array(image))[None].requires_grad_()
    mean, deviation = (
        torch.tensor(values, dtype=torch.float64)[:, None, None]
        for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    x = (x - mean) / deviation
    weight = weights["features.0.weight"].permute(3, 2, 0, 1)
    x = functional.conv2d(x, weight, weights["features.0.bias"], stride=4, padding=2).relu()
    rows = [layer[0].flatten(1) for layer in (x, functional.avg_pool2d(x, 3, 2))]
    found = [row @ row.T / row.shape[1] for row in rows]
    ours = model.convert_to_dict(model(image)).values()
    for one, other in zip(ours, found, strict=True):
        np.testing.assert_allclose(one, other.detach().numpy(), rtol=1e-10)
    sum((matrix.triu() ** 2).sum() for matrix in found).backward()
    gradient = eqx.filter_jit(jax.grad(lambda x, m: sum(jnp.sum(v**2) for v in m(x).values())))(
        image, model
    )
    scale = np.abs(gradient).max()
    np.testing.assert_allclose(gradient, pixels.grad[0].numpy(), atol=1e-10 * scale)


def test_scrambled_pixels_are_a_metamer_of_a_network_of_pixels(getkey):
    model = GramMatrices(FeatureExtractor(pixels, ["first", "second"]))
    image = image_of(getkey())
    order = jax.random.permutation(getkey(), 64 * 72)
    scrambled = image.reshape(3, -1)[:, order].reshape(image.shape)
    for found, wanted in zip(
        measure(model, scrambled).values(), measure(model, image).values(), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_gray_is_copied_to_three_channels(model, network, getkey, unchecked):
    gray = image_of(getkey(), (1, 64, 64))
    color = jnp.repeat(gray, 3, axis=0)
    for found, wanted in zip(
        measure(model, gray).values(), measure(model, color).values(), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)
    alone = GramMatrices(FeatureExtractor(pixels, "first"), repeat_gray=False)
    assert alone(gray)["first"].shape == (1,)
    strict = GramMatrices(FeatureExtractor(network, LAYERS), repeat_gray=False)
    with pytest.raises(ValueError, match=r"jnp\.repeat\(image, 3, axis=0\)"):
        strict(gray)


def test_channels_may_be_last_and_a_batch_of_one_in_front(getkey):
    class Last(eqx.Module):
        channels_last: ClassVar[bool] = True

        def __call__(self, image):
            return checkpoint_name(pixels(image).transpose(1, 2, 0)[None], "last")

    image = image_of(getkey())
    found = GramMatrices(FeatureExtractor(Last(), "last"))(image)["last"]
    wanted = GramMatrices(FeatureExtractor(pixels, "second"))(image)["second"]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_weights_multiply_layers_and_compile_nothing(getkey):
    extractor, image = FeatureExtractor(pixels, ["first", "second"]), image_of(getkey())
    plain = GramMatrices(extractor)(image)
    traces = []

    @eqx.filter_jit
    def run(model, image):
        traces.append(0)
        return model(image)

    for weight in (2.0, 0.0):
        model = GramMatrices(extractor, weights={"second": weight})
        found = run(model, image)
        np.testing.assert_allclose(found["second"], weight * plain["second"], rtol=1e-5)
        np.testing.assert_allclose(found["first"], plain["first"], rtol=1e-5)
    assert len(traces) == 1
    second = GramMatrices(extractor, "second")
    assert second.extractor.layers == ("second",)
    np.testing.assert_array_equal(second(image)["second"], plain["second"])


def test_the_default_loss_is_the_relative_error_of_each_layer_times_its_weight(getkey):
    weights = {"first": 3.0, "second": 0.5}
    extractor = FeatureExtractor(pixels, ["first", "second"])
    plain, weighted = GramMatrices(extractor), GramMatrices(extractor, weights=weights)
    image, other = image_of(getkey()), image_of(getkey()) / 2
    target, found = plain(image), plain(other)
    relative = {
        name: np.linalg.norm(found[name] - target[name]) / np.linalg.norm(target[name])
        for name in weights
    }
    wanted = np.sqrt(sum((weights[name] * error) ** 2 for name, error in relative.items()))
    loss = weighted.default_loss(image)
    np.testing.assert_allclose(loss(weighted(other), weighted(image)), wanted, rtol=1e-5)
    without = GramMatrices(extractor, weights={"first": 0})
    loss = without.default_loss(image)(without(other), without(image))
    np.testing.assert_allclose(loss, relative["second"], rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_constant_images_have_finite_values_and_gradients(value):
    model = GramMatrices(FeatureExtractor(pixels, ["first", "second"]))
    image = jnp.full((3, 16, 16), value)
    loss = model.default_loss(image)
    slope = eqx.filter_jit(jax.value_and_grad(lambda x, m: loss(m(x), m(image))))
    for found in slope(image, model):
        assert jnp.isfinite(found).all()


def test_a_metamer_starts_from_faint_noise_and_is_reported_by_layer(getkey):
    model = GramMatrices(FeatureExtractor(pixels, ["first", "second"]))
    image = 0.2 + 0.5 * image_of(getkey(), (1, 16, 16))
    result = plx.metamer(image, model, key=getkey(), max_steps=60, progress=False)
    start = plx.Metamer(image, model).initial_image(getkey())
    assert abs(start - image.mean()).max() <= 0.05 + 1e-6
    report = result.report()
    assert set(report.groups) == {"first", "second"}
    assert all(group.relative_error < 1e-3 for group in report.groups.values())
    assert "gatys2015texture" in report.bibtex
    assert result.trace.provenance["optimizer"].startswith("LBFGS(memory_size=30,")


@pytest.mark.usefixtures("close_figures")
def test_figures_show_the_matrices(getkey):
    model = GramMatrices(FeatureExtractor(pixels, ["first", "second"]))
    representation = model(image_of(getkey()))
    axes = model.plot_representation(representation, ax=plt.figure().add_subplot())
    shown = [one.images[0].get_array() for one in axes]
    for found, wanted in zip(shown, model.convert_to_dict(representation).values(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_wrong_arguments_are_refused(model, network, getkey, unchecked):
    extractor = FeatureExtractor(pixels, ["first", "second"])
    with pytest.raises(TypeError, match="extractor must be a FeatureExtractor, got function"):
        GramMatrices(pixels)
    with pytest.raises(ValueError, match="layers must be different layers of the extractor, first"):
        GramMatrices(extractor, "third")
    with pytest.raises(ValueError, match="got first, first"):
        GramMatrices(extractor, ["first", "first"])
    with pytest.raises(ValueError, match="The keys of weights must be different layers"):
        GramMatrices(extractor, weights={"third": 1})
    with pytest.raises(ValueError, match="The weight of 'first' must be a finite number at least"):
        GramMatrices(extractor, weights={"first": -1})
    flat = FeatureExtractor(lambda x: checkpoint_name(x.ravel(), "flat"), "flat")
    with pytest.raises(ValueError, match=r"maps of one image, got the shape \(768,\) of 'flat'"):
        GramMatrices(flat)(jnp.zeros((3, 16, 16)))
    with pytest.raises(TypeError, match="must be in float32 or float64"):
        model(image_of(getkey(), dtype=jnp.bfloat16))
