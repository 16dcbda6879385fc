"""Networks of Flax. Nothing here is skipped: flax is among the packages that the tests need."""

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
from flax import linen, nnx

import plenoptax as plx
from plenoptax.models.features import FeatureExtractor, layer_names


pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:flax"),
    pytest.mark.usefixtures("lenient", "close_figures"),
]
IMAGE = jax.random.uniform(jax.random.key(7), (3, 16, 16))


def channels_last(image):
    return jnp.moveaxis(image, 0, -1)


class NNXBlock(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(8, 8, (3, 3), rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return nnx.relu(self.dropout(self.conv(x)))


class NNXNetwork(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.blocks = nnx.List([NNXBlock(rngs), NNXBlock(rngs)])
        self.last = nnx.Conv(8, 4, (3, 3), rngs=rngs)

    def __call__(self, x):
        x = self.norm(self.first(x))
        for block in self.blocks:
            x = nnx.remat(lambda block, x: block(x))(block, x)
        return self.last(x)


class LinenNetwork(linen.Module):
    @linen.compact
    def __call__(self, x, train=False):
        x = linen.Conv(8, (3, 3), name="first")(x)
        x = linen.BatchNorm(use_running_average=not train, name="norm")(x)
        x = linen.remat(linen.Conv)(8, (3, 3), name="middle")(linen.relu(x))
        x = linen.Dropout(0.5, deterministic=not train, name="dropout")(x)
        return linen.Conv(4, (3, 3), name="last")(x)


def make_nnx():
    network = NNXNetwork(nnx.Rngs(0))
    network.eval()
    return network


def make_linen():
    network = LinenNetwork()
    return network.bind(network.init(jax.random.key(0), channels_last(IMAGE)))


NETWORKS = {
    "NNX": (
        make_nnx,
        [
            *("first", "norm", "blocks.0.conv", "blocks.0.dropout", "blocks.0"),
            *("blocks.1.conv", "blocks.1.dropout", "blocks.1", "last"),
        ],
        {"first": 1, "norm": 1, "blocks.0": 2, "blocks.1.conv": 3, "last": 4},
        "blocks.0",
    ),
    "linen": (
        make_linen,
        ["first", "norm", "middle", "dropout", "last"],
        {"first": 1, "norm": 1, "middle": 2, "last": 3},
        "middle",
    ),
}


@pytest.fixture(params=NETWORKS)
def case(request):
    make, *others = NETWORKS[request.param]
    return make(), *others


def layer_of(network, name, image):
    """A layer that each framework captures itself."""
    image = channels_last(image)
    if isinstance(network, nnx.Module):
        # Its variables belong to this call, because nnx.remat writes them.
        graph, state = nnx.split(network)
        network = nnx.merge(graph, jax.tree.map(lambda leaf: leaf, state))
        x = network.norm(network.first(image))
        return {"blocks.0": network.blocks[0](x), "last": network(image)}[name]
    module, variables = network.unbind()
    _, state = module.apply(variables, image, capture_intermediates=True, mutable="intermediates")
    return state["intermediates"][name]["__call__"][0]


def test_layers_are_listed_in_the_order_of_computation(case):
    network, names, *_ = case
    assert list(layer_names(network, channels_last(IMAGE))) == names


def test_responses_and_gradients_are_those_of_the_framework(case):
    network, _, _, middle = case
    model = FeatureExtractor(network, [middle, "last"], channels_last)
    found = eqx.filter_jit(model)(IMAGE)
    for name in (middle, "last"):
        np.testing.assert_allclose(found[name], layer_of(network, name, IMAGE), atol=1e-5)
    tangent = jnp.ones_like(IMAGE)
    gradients, tangents = [], []
    for one in (lambda x: model(x)[middle], lambda x: layer_of(network, middle, x)):
        gradients.append(jax.jit(jax.grad(lambda x, one=one: jnp.sum(one(x) ** 2)))(IMAGE))
        tangents.append(jax.jit(lambda x, one=one: jax.jvp(one, (x,), (tangent,))[1])(IMAGE))
    np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(*tangents, rtol=1e-4, atol=1e-4)
    several = jax.vmap(model)(jnp.stack([IMAGE, 1 - IMAGE]))["last"]
    np.testing.assert_allclose(several[1], model(1 - IMAGE)["last"], atol=1e-5)


def test_nothing_is_computed_after_the_last_layer(case):
    network, _, counts, _ = case
    found = {}
    for name in counts:
        arrays, rest = eqx.partition(FeatureExtractor(network, name, channels_last), eqx.is_array)
        lowered = jax.jit(lambda a, x, rest=rest: eqx.combine(a, rest)(x)).lower(arrays, IMAGE)
        found[name] = len(re.findall(r" convolution\(", lowered.compile().as_text()))
    assert found == counts


def test_parameters_are_leaves_and_networks_are_unchanged(case):
    network, *_ = case
    model = FeatureExtractor(network, "last", channels_last)
    leaves = [leaf for leaf in jax.tree.leaves(model) if eqx.is_inexact_array(leaf)]
    # Weights and biases of the convolutions, and four arrays of the normalization.
    assert len(leaves) == 2 * (4 if isinstance(network, nnx.Module) else 3) + 4
    arrays, rest = eqx.partition(model, eqx.is_array)
    traced = jax.make_jaxpr(lambda a, x: eqx.combine(a, rest)(x))(arrays, IMAGE)
    assert list(traced.consts) == []
    if isinstance(network, nnx.Module):
        assert type(network.first) is nnx.Conv


def test_identity_gradient_passes_the_rectifier_of_a_block():
    network = make_nnx()
    model = FeatureExtractor(network, "blocks.0", channels_last, relu_gradient="identity")

    def before(image):
        return network.blocks[0].conv(network.norm(network.first(channels_last(image))))

    found = jax.grad(lambda x: jnp.sum(model(x)["blocks.0"]))(IMAGE)
    right = jax.grad(lambda x: jnp.sum(before(x)))(IMAGE)
    np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-4)


def test_precision_follows_the_image(case, x64):
    network, *_ = case
    model = FeatureExtractor(network, "last", channels_last)
    found = model(IMAGE.astype(jnp.float64))["last"]
    assert found.dtype == jnp.float64
    np.testing.assert_allclose(found, model(IMAGE)["last"], atol=1e-5)


def test_figures_know_that_channels_are_last(case):
    network, *_ = case
    model = FeatureExtractor(network, "first", lambda image: channels_last(image)[None])
    response = model(IMAGE)
    axes = plx.plot.plot_representation(model, response)
    shown = np.asarray(axes[0].images[0].get_array())
    np.testing.assert_allclose(shown, response["first"][0].mean(-1), atol=1e-6)


class Scanned(linen.Module):
    @linen.compact
    def __call__(self, x):
        layer = linen.scan(
            lambda cell, x, _: (cell(x), None),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=2,
        )
        x, _ = layer(linen.Dense(3, name="dense"), x, None)
        return linen.Dense(2, name="outside")(x)


def bound(module):
    return module.bind(module.init(jax.random.key(0), channels_last(IMAGE)))


def in_training():
    network = NNXNetwork(nnx.Rngs(0))
    return network, lambda image: network(image)


class ModeOfItsOwn(nnx.Module):
    """A network that gives its layers the mode in each call."""

    def __init__(self):
        self.norm = nnx.BatchNorm(3, rngs=nnx.Rngs(0))
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(1))

    def __call__(self, x, train_norm=False, train_dropout=False):
        x = self.norm(x, not train_norm)
        return self.dropout(x, deterministic=not train_dropout)


def with_mode(**mode):
    network = ModeOfItsOwn()
    network.eval()
    return functools.partial(network, **mode)


LAST = channels_last(IMAGE)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: FeatureExtractor(make_nnx(), "last")(IMAGE),
            r"got \(3, 16, 16\); this network takes \(16, 16, 3\)\. .*moveaxis\(image, 0, -1\)",
        ),
        (
            lambda: FeatureExtractor(make_linen(), "last")(IMAGE),
            r"got \(3, 16, 16\); this network takes \(16, 16, 3\)\. ",
        ),
        (
            lambda: FeatureExtractor(in_training()[0], "last")(LAST),
            r"evaluation mode, got Dropout with deterministic=False at .*model\.eval\(\) with Flax",
        ),
        (
            lambda: layer_names(in_training()[1], LAST),
            r"evaluation mode, got a TraceContextError: Cannot mutate",
        ),
        (
            lambda: layer_names(functools.partial(make_linen(), train=True), LAST),
            r"evaluation mode, got a ModifyScopeVariableError: .*train=False",
        ),
        (
            lambda: layer_names(with_mode(train_norm=True), LAST),
            r"mode, got BatchNorm with use_running_average=False at norm\. .*train=False",
        ),
        (
            lambda: FeatureExtractor(with_mode(train_dropout=True), "norm")(LAST),
            r"evaluation mode, got Dropout with deterministic=False at dropout\. ",
        ),
        (lambda: layer_names(LinenNetwork(), LAST), r"bound to its variables, got LinenNetwork"),
        (lambda: layer_names((LinenNetwork(), {}), LAST), r"got tuple\. Give module\.bind\("),
        (lambda: FeatureExtractor(bound(Scanned()), "dense")(LAST), r"'dense', .* in a scan"),
    ],
)
def test_bad_input_is_named(call, message, unchecked):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_mode_given_in_each_call_may_be_that_of_evaluation():
    assert layer_names(with_mode(), LAST) == ("norm", "dropout")
    found = FeatureExtractor(with_mode(), "dropout")(LAST)["dropout"]
    np.testing.assert_allclose(found, LAST / np.sqrt(1 + 1e-5), rtol=1e-5)


FRESH = textwrap.dedent("""
    import sys
    import cloudpickle, jax, numpy as np
    import plenoptax as plx

    with open(sys.argv[1], "rb") as file:
        cases = cloudpickle.load(file)
    for path, problem, solver, wanted in cases:
        result = plx.io.load_result(path, problem, solver)
        state, _ = plx.run(problem, solver, result.state, 2, progress=False)
        print(np.array_equal(np.asarray(state.accepted_z), wanted))
""")


def test_results_are_loaded_and_continued_in_a_fresh_process(tmp_path):
    cases = []
    for name, (make, *_, layer) in NETWORKS.items():
        run = functools.partial(
            plx.metamer,
            IMAGE,
            FeatureExtractor(make(), layer, channels_last),
            key=jax.random.key(1),
            optimizer=optax.adam(0.01),
            progress=False,
        )
        result, longer = run(max_steps=2), run(max_steps=4)
        assert longer.trace.losses[-1] < result.trace.losses[0]
        plx.io.save(tmp_path / f"{name}.npz", result)
        wanted = np.asarray(longer.state.accepted_z)
        cases.append((tmp_path / f"{name}.npz", result.problem, result.solver, wanted))
    (tmp_path / "cases").write_bytes(cloudpickle.dumps(cases))
    done = subprocess.run(
        [sys.executable, "-c", FRESH, tmp_path / "cases"], capture_output=True, text=True
    )
    assert done.stdout == "True\nTrue\n", done.stderr
