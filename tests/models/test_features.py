import functools
import re
import subprocess
import sys
import textwrap

import cloudpickle
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.ad_checkpoint import checkpoint_name

import plenoptax as plx
from plenoptax.models.features import FeatureExtractor, layer_names


pytestmark = pytest.mark.usefixtures("lenient", "close_figures")
KEYS = jax.random.split(jax.random.key(0), 8)
IMAGE = jax.random.uniform(KEYS[7], (3, 16, 16))


class Block(eqx.Module):
    """A residual block that calls its rectifier twice."""

    conv: eqx.nn.Conv2d
    relu: eqx.nn.Lambda

    def __init__(self, key):
        self.conv = eqx.nn.Conv2d(8, 8, 3, padding=1, key=key)
        self.relu = eqx.nn.Lambda(jax.nn.relu)

    def __call__(self, x, key=None):
        return self.relu(x + self.conv(self.relu(x)))


def make_network():
    return eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(3, 8, 3, padding=1, key=KEYS[0]),
            eqx.nn.BatchNorm(8, "batch", mode="batch"),
            eqx.nn.Lambda(jax.nn.relu6),
            Block(KEYS[1]),
            eqx.nn.MaxPool2d(2, 2),
            Block(KEYS[2]),
            eqx.nn.Conv2d(8, 4, 3, key=KEYS[3]),
        ]
    )


TRAINING, STATE = eqx.nn.make_with_state(make_network)()
NETWORK = eqx.nn.inference_mode(TRAINING)
MODEL = eqx.Partial(NETWORK, state=STATE)
NAMES = (
    "layers.0",
    "layers.1",
    "layers.2",
    "layers.3.relu",
    "layers.3.conv",
    "layers.3.relu_1",
    "layers.3",
    "layers.4",
    "layers.5.relu",
    "layers.5.conv",
    "layers.5.relu_1",
    "layers.5",
    "layers.6",
)


def truncated(count, image, state=STATE):
    """The first layers of the network, computed without marks."""
    return NETWORK[:count](image, state=state)[0]


def marking(image):
    """A function that marks values itself, in a compiled function and in a remat."""
    x = checkpoint_name(jax.nn.relu(convolve(image, 1.0)), "first")
    x = jax.jit(lambda x: checkpoint_name(convolve(x, 2.0), "second"))(x)
    x = jax.checkpoint(lambda x: checkpoint_name(jnp.sin(convolve(x, 3.0)), "third"))(x)
    return checkpoint_name(convolve(x, 4.0), "fourth")


def convolve(x, scale):
    kernel = scale * jnp.ones((3, x.shape[0], 3, 3), x.dtype) / 27
    return jax.lax.conv(x[None], kernel, (1, 1), "SAME")[0]


def count_convolutions(model, image=IMAGE):
    arrays, rest = eqx.partition(model, eqx.is_array)
    compiled = jax.jit(lambda a, x: eqx.combine(a, rest)(x)).lower(arrays, image).compile()
    return len(re.findall(r" convolution\(", compiled.as_text()))


def test_layers_are_listed_in_the_order_of_computation():
    assert layer_names(MODEL, IMAGE) == NAMES
    assert layer_names(MODEL, jax.ShapeDtypeStruct((3, 16, 16), "float32")) == NAMES
    assert layer_names(marking, IMAGE) == ("first", "second", "third", "fourth")
    assert layer_names(eqx.filter_jit(marking), IMAGE) == layer_names(marking, IMAGE)


@pytest.mark.parametrize("network", [NETWORK, eqx.filter_jit(NETWORK)], ids=["module", "compiled"])
def test_responses_are_those_of_the_truncated_network(network):
    model = FeatureExtractor(eqx.Partial(network, state=STATE), ["layers.5", "layers.2"])
    found = model(IMAGE)
    assert list(found) == ["layers.5", "layers.2"]
    for name, count in {"layers.2": 3, "layers.5": 6}.items():
        np.testing.assert_allclose(found[name], truncated(count, IMAGE), atol=1e-6)


def test_layers_by_name_are_known_from_shapes_alone():
    names = ["layers.5", "layers.2"]
    model = FeatureExtractor(MODEL, names)
    groups = model.convert_to_dict(jax.eval_shape(model, IMAGE))
    assert list(groups) == names
    assert [group.shape for group in groups.values()] == [(8, 8, 8), (8, 16, 16)]
    response = eqx.filter_jit(model)(IMAGE)
    found = model.convert_to_dict(response)
    assert list(found) == names
    assert all(found[name] is response[name] for name in names)


def test_partial_functions_of_python_have_their_arrays_as_leaves():
    model = FeatureExtractor(functools.partial(NETWORK, state=STATE), "layers.2")
    assert len(jax.tree.leaves(model)) >= len(jax.tree.leaves(eqx.filter(MODEL, eqx.is_array)))
    assert np.array_equal(model(IMAGE)["layers.2"], truncated(3, IMAGE))


def test_layers_are_computed_under_every_transformation():
    model = FeatureExtractor(MODEL, ["layers.3.relu_1", "layers.4"])

    def of(image):
        return model(image)["layers.4"]

    def wanted(image):
        return truncated(5, image)

    def both(transform, *arguments):
        return transform(of)(*arguments), transform(wanted)(*arguments)

    tangent = jnp.ones_like(IMAGE)
    pairs = [
        both(eqx.filter_jit, IMAGE),
        both(jax.vmap, jnp.stack([IMAGE, 1 - IMAGE])),
        both(lambda f: jax.grad(lambda x: jnp.sum(f(x) ** 2)), IMAGE),
        both(lambda f: lambda x, t: jax.jvp(f, (x,), (t,))[1], IMAGE, tangent),
        both(lambda f: jax.grad(lambda x: jnp.sum(jax.checkpoint(f)(x))), IMAGE),
    ]
    for found, right in pairs:
        np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "counts"),
    [
        (MODEL, {"layers.0": 1, "layers.2": 1, "layers.3": 2, "layers.5.conv": 3, "layers.6": 4}),
        (marking, {"first": 1, "second": 2, "third": 3, "fourth": 4}),
    ],
    ids=["Equinox", "marks"],
)
def test_nothing_is_computed_after_the_last_layer(model, counts):
    found = {name: count_convolutions(FeatureExtractor(model, name)) for name in counts}
    assert found == counts


def test_own_marks_take_precedence_and_have_aliases():
    class Named(eqx.Module):
        network: eqx.nn.Sequential

        def __call__(self, image):
            x = checkpoint_name(self.network[:1](image), "features.0")
            return checkpoint_name(jax.nn.relu(x), "features.1")

        def layer_aliases(self):
            return {"relu1_1": "features.1"}

    model = Named(NETWORK)
    assert layer_names(model, IMAGE) == ("features.0", "features.1")
    found = FeatureExtractor(model, ["relu1_1", "features.1"])(IMAGE)
    assert np.array_equal(found["relu1_1"], jax.nn.relu(NETWORK.layers[0](IMAGE)))
    assert np.array_equal(found["relu1_1"], found["features.1"])
    with pytest.raises(ValueError, match=r"nearest are relu1_1"):
        FeatureExtractor(model, "relu1_2")(IMAGE)


def test_transform_comes_before_the_network():
    model = FeatureExtractor(MODEL, "layers.2", lambda image: (image - 0.5) / 0.25)
    assert np.array_equal(model(IMAGE)["layers.2"], truncated(3, (IMAGE - 0.5) / 0.25))


def test_outputs_of_several_arrays_are_named_by_their_place():
    class Pair(eqx.Module):
        def __call__(self, x):
            return {"sum": x.sum(0), "rank": 3, "double": 2 * x}

    class Network(eqx.Module):
        pair: Pair

        def __call__(self, x):
            return self.pair(x)["double"]

    assert layer_names(Network(Pair()), IMAGE) == ("pair['double']", "pair['sum']")
    found = FeatureExtractor(Network(Pair()), "pair['sum']")(IMAGE)
    assert np.array_equal(found["pair['sum']"], IMAGE.sum(0))


def test_precision_follows_the_image(x64):
    image = IMAGE.astype(jnp.float64)
    network = eqx.Partial(NETWORK[:1])
    found = FeatureExtractor(network, "layers.0")(image)["layers.0"]
    assert found.dtype == jnp.float64
    np.testing.assert_allclose(found, NETWORK.layers[0](IMAGE), atol=1e-5)


@pytest.mark.parametrize(
    "rectify",
    [
        jax.nn.relu,
        jax.nn.relu6,
        lambda x: jnp.maximum(x, 0),
        lambda x: jnp.minimum(jnp.maximum(0, x), 2.0),
        lambda x: jnp.clip(x, 0, 6),
        lambda x: jax.lax.clamp(jnp.zeros((), x.dtype), x, jnp.asarray(6, x.dtype)),
    ],
    ids=["relu", "relu6", "maximum", "bounded", "clip", "clamp"],
)
def test_identity_gradient_is_that_before_the_rectifier(rectify):
    scale = 10.0

    def network(image):
        return checkpoint_name(jnp.moveaxis(rectify(scale * (image - 0.5)), 0, -1)[None], "layer")

    exact, identity = (
        FeatureExtractor(network, "layer", relu_gradient=one) for one in ("exact", "identity")
    )
    assert np.array_equal(identity(IMAGE)["layer"], exact(IMAGE)["layer"])
    weights = jax.random.normal(KEYS[5], (1, 16, 16, 3))
    found = jax.grad(lambda x: jnp.sum(weights * identity(x)["layer"]))(IMAGE)
    np.testing.assert_allclose(found, scale * jnp.moveaxis(weights[0], -1, 0), rtol=1e-6)
    tangent = jax.jvp(identity, (IMAGE,), (jnp.ones_like(IMAGE),))[1]["layer"]
    np.testing.assert_allclose(tangent, jnp.full((1, 16, 16, 3), scale))


def test_identity_gradient_changes_only_the_last_rectifier():
    model = FeatureExtractor(MODEL, ["layers.2", "layers.3"], relu_gradient="identity")

    def before(image):
        x = truncated(3, image)
        block = NETWORK.layers[3]
        return x + block.conv(block.relu(x))

    for name, wanted in {
        "layers.2": lambda x: truncated(2, x),
        "layers.3": before,
    }.items():
        found = jax.grad(lambda x, name=name: jnp.sum(model(x)[name]))(IMAGE)
        right = jax.grad(lambda x, wanted=wanted: jnp.sum(wanted(x)))(IMAGE)
        np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rectify", [jax.nn.relu, jax.nn.relu6])
def test_dead_units_match_at_the_end_with_the_identity_gradient_only(rectify):
    kernel = jax.random.normal(jax.random.key(1), (2, 1, 3, 3))
    kernel = kernel - kernel.mean((1, 2, 3), keepdims=True)
    conv = eqx.nn.Conv2d(1, 2, 3, key=jax.random.key(0))
    values = (kernel, jnp.full((2, 1, 1), -0.1))
    conv = eqx.tree_at(lambda c: (c.weight, c.bias), conv, values)
    network = eqx.nn.Sequential([conv, eqx.nn.Lambda(rectify)])
    target = plx.data.brick()[:, 40:56, 40:56]
    start = 0.5 + 0.01 * jax.random.normal(jax.random.key(5), target.shape)
    shares, cautions = {}, {}
    for gradient in ("exact", "identity"):
        model = FeatureExtractor(network, "layers.1", relu_gradient=gradient)
        result = plx.metamer(
            target,
            model,
            initial_image=start,
            optimizer=optax.adam(0.01),
            max_steps=150,
            progress=False,
        )
        wanted, first, last = (
            np.asarray(model(image)["layers.1"]) for image in (target, start, result.image)
        )
        dead = (first == 0) & (wanted > 0)
        assert dead.mean() > 0.1
        shares[gradient] = np.mean(np.abs(last - wanted)[dead] < 0.1 * wanted[dead])
        cautions[gradient] = result.report().cautions
    assert shares["exact"] == 0
    assert shares["identity"] > 0.9
    (caution,) = cautions["exact"]
    assert caution.startswith("The gradient at the initial image is exactly 0")
    assert cautions["identity"] == ()


def looping(image):
    def body(carry, _):
        return checkpoint_name(jnp.sin(carry), "inside"), None

    return checkpoint_name(jax.lax.scan(body, image, length=2)[0], "outside")


class DropsInTheCall(eqx.Module):
    dropout: eqx.nn.Dropout

    def __call__(self, x):
        return self.dropout(x, key=KEYS[0], inference=False)


TALL = eqx.nn.Sequential([eqx.nn.Lambda(jnp.ravel), eqx.nn.Linear(3 * 32 * 32, 2, key=KEYS[4])])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: FeatureExtractor(MODEL, "layers.33")(IMAGE), r"nearest are layers\.3.*; all are"),
        (lambda: FeatureExtractor(MODEL, "x")(IMAGE), r"got 'x'\. They are layers\.0, "),
        (lambda: FeatureExtractor(looping, "inside")(IMAGE), r"got 'inside'.* in a scan\. Write"),
        (lambda: FeatureExtractor(lambda x: x, "a")(IMAGE), r"checkpoint_name, got <lambda> with"),
        (
            lambda: FeatureExtractor(MODEL, "layers.0")(jnp.moveaxis(IMAGE, 0, -1)),
            r"got \(16, 16, 3\); this network takes \(3, 16, 16\)\. .*moveaxis\(image, -1, 0\)",
        ),
        (
            lambda: FeatureExtractor(MODEL, "layers.0")(IMAGE[:1]),
            r"got \(1, 16, 16\); this network takes \(3, 16, 16\)\. .*repeat",
        ),
        (
            lambda: FeatureExtractor(TALL, "layers.1")(IMAGE),
            r"got \(3, 16, 16\); this network takes \(3, 32, 32\)\. Crop or resize",
        ),
        (
            lambda: FeatureExtractor(eqx.Partial(TRAINING, state=STATE), "layers.0"),
            r"evaluation mode, got BatchNorm with inference=False at layers\.1\. Use equinox",
        ),
        (
            lambda: FeatureExtractor(eqx.nn.Sequential([eqx.nn.Dropout(0.5)]), "layers.0"),
            r"got Dropout with inference=False at layers\.0",
        ),
        (
            lambda: layer_names(DropsInTheCall(eqx.nn.Dropout(0.5, inference=True)), IMAGE),
            r"got Dropout with inference=False at dropout",
        ),
        (
            lambda: FeatureExtractor(MODEL, "layers.6", relu_gradient="identity")(IMAGE),
            r"must end in a rectifier .*, got 'layers\.6'",
        ),
        (lambda: FeatureExtractor(MODEL, []), r"one or several different names, got \(\)"),
        (lambda: FeatureExtractor(MODEL, ["a", "a"]), r"different names, got"),
        (lambda: FeatureExtractor(MODEL, [1]), r"layers must be a name or several"),
        (lambda: FeatureExtractor(MODEL, "a", relu_gradient="none"), r"'exact' or 'identity', got"),
        (lambda: FeatureExtractor(MODEL, "a", 3), r"transform must be a function, got int"),
        (lambda: FeatureExtractor(3, "a"), r"must be an Equinox module, .* got int"),
    ],
)
def test_bad_input_is_named(call, message, unchecked):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_errors_of_the_network_itself_say_what_it_was_given():
    def network(image):
        raise KeyError("weights")

    with pytest.raises(KeyError) as caught:
        layer_names(network, IMAGE)
    assert caught.value.__notes__[-1:] == ["The network was given an image of shape (3, 16, 16)."]


def test_features_are_a_model_everywhere(tmp_path):
    model = FeatureExtractor(MODEL, ["layers.2", "layers.4"])
    plx.validate.validate_model(model, (3, 16, 16))
    images = jnp.stack([IMAGE, 1 - IMAGE])
    result = plx.metamer(
        images, model, key=jax.random.key(1), batch=True, max_steps=3, progress=False
    )
    assert all(trace.losses[-1] < trace.losses[0] for trace in result.trace)
    report = result[0].report()
    sizes = {name: group.size for name, group in report.groups.items()}
    assert sizes == {"layers.2": 8 * 16 * 16, "layers.4": 8 * 8 * 8}
    metric = plx.metric.model_metric_factory(model)
    rivals = plx.mad_competition(
        IMAGE, metric, plx.metric.mse, "max", key=jax.random.key(1), max_steps=2, progress=False
    )
    assert np.isfinite(rivals.trace.losses).all()
    # The largest singular value of the Jacobian.
    small, model = IMAGE[:, :6, :6], FeatureExtractor(MODEL, ["layers.0", "layers.2"])
    jacobian = jax.jacobian(lambda x: jnp.concatenate([*map(jnp.ravel, model(x).values())]))(small)
    largest = np.linalg.svd(jacobian.reshape(-1, small.size), compute_uv=False)[0]
    found = plx.eigendistortions(small, model, k=1, key=jax.random.key(0), progress=False)
    np.testing.assert_allclose(found.eigenvalues[0], largest**2, rtol=1e-3)


def test_figures_show_each_layer_by_its_means():
    model = FeatureExtractor(MODEL, ["layers.2", "layers.4"])
    representation = model(IMAGE)
    axes = plx.plot.plot_representation(model, representation)
    titles = [ax.get_title().split("\n")[0] for ax in axes]
    assert titles == [
        f"{name}, {what}"
        for name in ("layers.2", "layers.4")
        for what in ("mean over channels", "channels")
    ]
    shown = np.asarray(axes[2].images[0].get_array())
    np.testing.assert_allclose(shown, representation["layers.4"].mean(0), rtol=1e-6)
    doubled = {name: 2 * value for name, value in representation.items()}
    plx.plot.update_plot(axes, doubled, model)
    stems = axes[3].containers[0].markerline.get_ydata()
    np.testing.assert_allclose(stems, 2 * representation["layers.4"].mean((1, 2)), rtol=1e-5)


FRESH = textwrap.dedent("""
    import sys
    import cloudpickle, jax, numpy as np
    import plenoptax as plx

    with open(sys.argv[1], "rb") as file:
        problem, solver, wanted = cloudpickle.load(file)
    with jax.numpy_dtype_promotion("standard"):
        result = plx.io.load_result(sys.argv[2], problem, solver)
        state, _ = plx.run(problem, solver, result.state, 3, progress=False)
    print(np.array_equal(np.asarray(state.accepted_z), wanted))
""")


def test_results_are_loaded_and_continued_in_a_fresh_process(tmp_path):
    model = FeatureExtractor(MODEL, "layers.2", lambda image: 2 * image - 1)
    run = functools.partial(
        plx.metamer,
        IMAGE,
        model,
        key=jax.random.key(1),
        optimizer=optax.adam(0.01),
        progress=False,
    )
    result, longer = run(max_steps=3), run(max_steps=6)
    plx.io.save(tmp_path / "run.npz", result)
    parts = result.problem, result.solver, np.asarray(longer.state.accepted_z)
    (tmp_path / "model.pkl").write_bytes(cloudpickle.dumps(parts))
    done = subprocess.run(
        [sys.executable, "-c", FRESH, tmp_path / "model.pkl", tmp_path / "run.npz"],
        capture_output=True,
        text=True,
    )
    assert done.stdout == "True\n", done.stderr


def test_no_framework_is_imported():
    script = (
        "import sys, plenoptax\n"
        "plenoptax.models.features.FeatureExtractor\n"
        "print([name for name in ('flax', 'keras', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
