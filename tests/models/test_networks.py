import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx
from plenoptax.models import networks
from plenoptax.models.networks import _steps, _tables

from ..reference.make_networks import CASES, describe, draw_image, draw_weights, REAL
from .networks import capture, drawn, load_trained, shapes_of, TABLES


REFERENCE = np.load(pathlib.Path(__file__).parents[1] / "reference" / "networks.npz")


def largest_error(label, layers):
    """The largest difference from torchvision in mean, deviation or one of eight values.

    It is relative to the mean and the deviation. Names and shapes have to be the same.
    """
    assert set(layers) == set(REFERENCE[f"{label}_names"])
    rows = zip(
        *(REFERENCE[f"{label}_{part}"] for part in ("names", "values", "sizes")), strict=True
    )
    errors = []
    for name, values, size in rows:
        assert str(layers[name].shape) == size, name
        difference = np.abs(describe(layers[name]) - values).max()
        errors.append(difference / (abs(values[0]) + values[1]))
    return np.max(errors)


@pytest.mark.parametrize("name", CASES)
def test_layers_equal_those_of_torchvision(name, x64):
    _, size, has_classifier = CASES[name]
    layers = capture(drawn(name, has_classifier), jnp.asarray(draw_image(size), jnp.float64))
    assert largest_error(name, layers) <= 1e-12


@pytest.mark.parametrize("name", ["AlexNet", "ResNet18"])
def test_layers_equal_those_of_torchvision_in_single_precision(name):
    _, size, has_classifier = CASES[name]
    layers = capture(drawn(name, has_classifier), jnp.asarray(draw_image(size)))
    assert {layer.dtype for layer in layers.values()} == {jnp.dtype("float32")}
    assert largest_error(name, layers) <= 2e-5


@pytest.mark.parametrize("name", REAL)
def test_layers_of_trained_convolutions_equal_those_of_torchvision(name, x64):
    image = jnp.asarray(draw_image(CASES[name][1]), jnp.float64)
    assert largest_error(f"{name}_real", capture(load_trained(name), image)) <= 1e-12


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "real"), [*((n, False) for n in CASES), *((n, True) for n in REAL)]
)
def test_layers_equal_those_of_the_torchvision_that_is_installed(name, real, x64):
    pytest.importorskip("torchvision")
    from ..reference.make_networks import torchvision_layers

    _, size, has_classifier = CASES[name]
    model = load_trained(name) if real else drawn(name, has_classifier)
    layers = capture(model, jnp.asarray(draw_image(size), jnp.float64))
    wanted = torchvision_layers(name, real)
    assert set(layers) == set(wanted)
    for layer, value in wanted.items():
        error = np.abs(layers[layer] - value).max()
        assert error <= 1e-12 * np.abs(value).max(), layer


def center(photograph, size=224):
    """The central square of a photograph, averaged to fewer pixels."""
    height, width = photograph.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = jnp.asarray(photograph[top : top + side, left : left + side] / 255, jnp.float32)
    return jax.image.resize(jnp.moveaxis(square, -1, 0), (3, size, size), "cubic").clip(0, 1)


@pytest.mark.parametrize(("name", "classes"), [("chelsea", {281, 282, 285}), ("coffee", {967})])
def test_efficientnet_names_what_is_in_a_photograph(name, classes):
    photographs = pytest.importorskip("skimage.data")
    model = load_trained("EfficientNetLite0")
    activations = eqx.filter_jit(model)(center(getattr(photographs, name)()))
    # 281, 282 and 285 are cats, 967 is espresso.
    assert classes & set(np.argsort(activations)[-3:].tolist())


def test_the_padding_of_efficientnet_is_that_of_tensorflow():
    # The odd zero is at the end: XLA computes the same from its name.
    model = drawn("EfficientNetLite0")
    image = jnp.asarray(draw_image((33, 30)))
    layers = capture(model, image)
    for name in ("_conv_stem", "_blocks.1._depthwise_conv", "_blocks.3._depthwise_conv"):
        (step,) = (step for step in _tables.EFFICIENTNET_LITE0.body if step.name == name)
        before = {"_conv_stem": (image - 127 / 255) * 255 / 128}
        block = name.rpartition(".")[0]
        given = before.get(name, layers.get(f"{block}._swish"))
        wanted = jax.lax.conv_general_dilated(
            given[None],
            draw_weights(step.shapes | {f"{name}.weight": step.shapes["weight"]})[f"{name}.weight"],
            (2, 2),
            "SAME",
            feature_group_count=step.options["groups"],
        )[0]
        np.testing.assert_allclose(layers[name], wanted, atol=1e-4 * float(jnp.abs(wanted).max()))


@pytest.mark.parametrize("name", TABLES)
def test_names_of_layers_are_unique_and_aliases_are_among_them(name):
    names = [step.name for step in TABLES[name].body + TABLES[name].head]
    assert len(set(names)) == len(names)
    assert set(TABLES[name].aliases.values()) <= set(names)
    assert set(TABLES[name].aliases).isdisjoint(names)


def test_aliases_are_those_of_the_papers():
    vgg16, vgg19, alexnet = (TABLES[n].aliases for n in ("VGG16", "VGG19", "AlexNet"))
    assert vgg16["relu1_2"] == "features.3"
    assert vgg16["relu3_3"] == "features.15"
    assert vgg16["conv5_3"] == "features.28"
    assert vgg16["pool5"] == "features.30"
    assert vgg16["fc6"] == "classifier.0"
    assert vgg19["relu5_4"] == "features.35"
    assert [alexnet[f"relu{i}"] for i in range(1, 8)] == [
        *(f"features.{i}" for i in (1, 4, 7, 9, 11)),
        "classifier.2",
        "classifier.5",
    ]
    assert [alexnet[f"pool{i}"] for i in (1, 2, 5)] == [f"features.{i}" for i in (2, 5, 12)]
    assert TABLES["EfficientNetLite0"].aliases["stage2"] == "_blocks.4"


def test_a_network_without_classifier_says_so():
    model = drawn("AlexNet")
    assert not model.has_classifier
    assert jax.eval_shape(model, jnp.ones((3, 64, 64))).shape == (256, 6, 6)
    absent = model.absent_layers()
    assert {"flatten", "classifier.1", "classifier", "fc6", "relu7"} <= set(absent)
    assert absent["fc6"].startswith("The weights of this network have no classifier. Use ")
    assert "relu5" in model.layer_aliases()
    assert "fc6" not in model.layer_aliases()
    whole = drawn("ResNet18", classifier=True)
    assert whole.has_classifier
    assert whole.absent_layers() == {}
    without = networks.ResNet18(draw_weights(shapes_of("ResNet18")), classifier=False)
    assert not without.has_classifier


@pytest.mark.parametrize(("name", "smallest"), [("AlexNet", 63), ("VGG16", 32), ("ResNet18", 1)])
def test_the_smallest_image_has_a_representation(name, smallest):
    weights = {part: jnp.zeros(shape) for part, shape in shapes_of(name, False).items()}
    model = getattr(networks, name)(weights)
    jax.eval_shape(model, jnp.zeros((3, smallest, 2 * smallest)))
    if smallest > 1:
        with pytest.raises(ValueError, match=rf"at least {smallest} x {smallest} pixels, got"):
            jax.eval_shape(model, jnp.zeros((3, smallest - 1, 2 * smallest)))


def test_wrong_images_are_refused(unchecked):
    model = drawn("AlexNet")
    with pytest.raises(
        ValueError, match=r"shape \(3, height, width\).*got \(64, 64, 3\)\..*moveaxis"
    ):
        model(jnp.ones((64, 64, 3)))
    with pytest.raises(ValueError, match=r"got \(1, 64, 64\)\. Use repeat_gray=True"):
        model(jnp.ones((1, 64, 64)))
    with pytest.raises(ValueError, match=r"got \(2, 3, 64, 64\)"):
        model(jnp.ones((2, 3, 64, 64)))
    with pytest.raises(TypeError, match=r"got uint8\. Divide 8-bit values by 255\.$"):
        model(jnp.ones((3, 64, 64), jnp.uint8))


def test_gray_images_are_repeated_on_request(getkey):
    model = drawn("AlexNet", repeat_gray=True)
    gray = jax.random.uniform(getkey(), (1, 64, 64))
    expected = model(jnp.repeat(gray, 3, axis=0))
    np.testing.assert_array_equal(model(gray), expected)


def test_a_constant_image_has_a_finite_gradient():
    for name, size in (("AlexNet", 64), ("ResNet18", 32)):
        model = drawn(name)
        for value in (0.0, 0.5):
            image = jnp.full((3, size, size), value)
            gradient = eqx.filter_jit(jax.grad(lambda x, m: jnp.sum(m(x) ** 2)))(image, model)
            assert jnp.isfinite(gradient).all()


def test_pools_are_those_of_xla(rng):
    x = jnp.asarray(rng.standard_normal((11, 14, 3)), jnp.float32)
    for size, stride, padding in ((3, 2, 0), (3, 2, 1), (2, 2, 0)):
        edges = [(padding, padding)] * 2 + [(0, 0)]
        strides = (stride, stride, 1)
        wanted = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (size, size, 1), strides, edges)
        found = _steps.pool_maximum(x, size=size, stride=stride, padding=padding)
        np.testing.assert_array_equal(found, wanted)
    gradient = jax.grad(lambda x: _steps.pool_maximum(x, size=2, stride=2).sum())
    first = np.zeros((4, 4, 1))
    first[::2, ::2] = 1
    np.testing.assert_array_equal(gradient(jnp.ones((4, 4, 1))), first)
    corners = jnp.asarray([[0.0, 1], [1, 0]])[..., None]
    np.testing.assert_array_equal(gradient(corners)[..., 0], [[0, 1], [0, 0]])
    for place in np.ndindex(2, 2):
        assert jnp.isnan(_steps.pool_maximum(corners.at[place].set(jnp.nan), size=2, stride=2))
    np.testing.assert_allclose(_steps.pool_average(x, size=1)[0, 0], x.mean((0, 1)), atol=1e-6)


def test_a_network_is_a_model_of_metamers(getkey):
    model = drawn("AlexNet")
    image = jax.random.uniform(getkey(), (3, 64, 64))
    result = plx.metamer(image, model, key=getkey(), max_steps=3)
    losses = result.trace.losses
    assert losses.shape == (4,)
    assert losses[-1] < losses[0]


def test_a_second_image_compiles_nothing_and_maps_over_images(getkey):
    model = drawn("AlexNet")
    traces = []

    @eqx.filter_jit
    def run(model, image):
        traces.append(0)
        return model(image)

    images = jax.random.uniform(getkey(), (2, 3, 64, 64))
    one, two = (run(model, image) for image in images)
    assert len(traces) == 1
    both = jax.vmap(model)(images)
    np.testing.assert_allclose(both, jnp.stack([one, two]), atol=1e-4 * float(jnp.abs(one).max()))


def test_average_pools_are_means_of_the_pixels_inside(rng):
    x = jnp.asarray(rng.standard_normal((11, 14, 3)), jnp.float32)
    for size, stride, padding in ((3, 2, 0), (3, 2, 1), (2, 2, 0)):
        edges = [(padding, padding)] * 2 + [(0, 0)]
        window, strides = (size, size, 1), (stride, stride, 1)
        sums, counts = (
            jax.lax.reduce_window(y, 0.0, jax.lax.add, window, strides, edges)
            for y in (x, jnp.ones_like(x))
        )
        found = _steps.pool_mean(x, size=size, stride=stride, padding=padding)
        np.testing.assert_allclose(found, sums / counts, atol=1e-6)


def test_average_pooling_replaces_the_maxima_of_a_network(getkey, unchecked):
    image = jax.random.uniform(getkey(), (3, 64, 64))
    one, other = (
        capture(drawn("AlexNet", pooling=pooling), image) for pooling in ("maximum", "average")
    )
    np.testing.assert_array_equal(one["features.1"], other["features.1"])
    wanted = _steps.pool_mean(jnp.moveaxis(one["features.1"], 0, -1), size=3, stride=2)
    np.testing.assert_allclose(other["features.2"], jnp.moveaxis(wanted, -1, 0), rtol=1e-6)
    with pytest.raises(ValueError, match="pooling must be 'maximum' or 'average', got 'mean'"):
        drawn("AlexNet", pooling="mean")
    with pytest.raises(ValueError, match="'average' for EfficientNetLite0"):
        drawn("EfficientNetLite0", pooling="average")
