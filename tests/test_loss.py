import warnings
from collections import OrderedDict
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import plenoptax.models
from plenoptax.loss import (
    groupwise_relative_l2_norm_factory,
    l2_norm,
    mse,
    portilla_simoncelli_loss_factory,
    relative_sse,
    SoftMaximum,
    WeightedSum,
    ZScored,
)
from plenoptax.regularize import penalize_range, penalize_total_variation


REFERENCE = Path(__file__).parent / "reference" / "loss.npz"
LOSSES = {"mse": mse, "l2_norm": l2_norm, "relative_sse": relative_sse}
FACTORIES = {
    "groupwise": groupwise_relative_l2_norm_factory,
    "weighted": portilla_simoncelli_loss_factory,
}
SIZES = {"pixel_statistics": 6, "magnitude_std": 3, "var_highpass_residual": 1}


class Groups:
    """A model whose representation is its input, in the groups of Portilla and Simoncelli."""

    def __init__(self, sizes=SIZES):
        self.sizes = sizes

    def __call__(self, image):
        return image

    def convert_to_dict(self, representation):
        ends = np.cumsum(list(self.sizes.values()))[:-1]
        return OrderedDict(zip(self.sizes, jnp.split(representation, ends, -1), strict=True))

    def convert_to_tensor(self, groups):
        return jnp.concatenate([groups[key] for key in self.sizes], axis=-1)


@pytest.fixture
def reference(x64):
    with np.load(REFERENCE) as values:
        return {name: jnp.asarray(value) for name, value in values.items()}


@pytest.mark.parametrize("name", LOSSES)
def test_loss_equals_plenoptic(name, reference):
    x, y = reference["x"], reference["y"]
    np.testing.assert_allclose(LOSSES[name](x, y), reference[name], rtol=1e-13)
    single = LOSSES[name](x.astype(jnp.float32), y.astype(jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, reference[name], rtol=1e-5)


@pytest.mark.parametrize("name", FACTORIES)
def test_factory_equals_plenoptic(name, reference):
    x, y = reference["x"], reference["y"]
    factors = {"magnitude_std": 10, "pixel_statistics": np.arange(6)}
    loss = FACTORIES[name](Groups(), y)
    np.testing.assert_allclose(loss(x, y), reference[name], rtol=1e-13)
    loss = FACTORIES[name](Groups(), y, reweighting_dict=factors)
    np.testing.assert_allclose(loss(x, y), reference[f"{name}_reweighted"], rtol=1e-13)


@pytest.mark.parity
def test_losses_equal_plenoptic_side_by_side(rng, x64):
    po = pytest.importorskip("plenoptic")
    torch = pytest.importorskip("torch")
    x, y = rng.standard_normal((2, 4, 3, 5))
    for name, loss in LOSSES.items():
        theirs = getattr(po.loss, name)(torch.as_tensor(x), torch.as_tensor(y))
        np.testing.assert_allclose(loss(jnp.asarray(x), jnp.asarray(y)), theirs, rtol=1e-13)


@pytest.mark.parametrize("name", FACTORIES)
def test_factory_equals_plenoptic_on_portilla_simoncelli(name, reference):
    image, other = reference["image"], reference["other"]
    arguments = {"n_scales": 3, "spatial_corr_width": 5}
    model = plenoptax.models.PortillaSimoncelli(image.shape[-2:], **arguments)
    loss = FACTORIES[name](model, image)
    assert loss.weights.shape == model(image).shape
    target = model(image)
    value, gradient = jax.jit(jax.value_and_grad(lambda x: loss(model(x), target)))(other)
    # plenoptic's pyramid holds masks rounded to float32.
    np.testing.assert_allclose(value, reference[f"portilla_simoncelli_{name}"], rtol=2e-5)
    assert np.all(np.isfinite(gradient))


def test_losses_are_related(rng):
    x, y = jnp.asarray(rng.standard_normal((2, 3, 7)), jnp.float32)
    squares = np.sum((np.asarray(x) - np.asarray(y)) ** 2)
    np.testing.assert_allclose(mse(x, y) * 21, squares, rtol=1e-5)
    np.testing.assert_allclose(l2_norm(x, y) ** 2, squares, rtol=1e-5)
    np.testing.assert_allclose(relative_sse(x, y) * np.sum(y**2), squares, rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES.values())
def test_loss_of_a_pytree_is_that_of_its_values(loss, rng):
    x, y = jnp.asarray(rng.standard_normal((2, 11)), jnp.float32)

    def divide(v):
        return {"mean": v[0], "bands": [v[1:5].reshape(2, 2), (v[5:],)]}

    np.testing.assert_allclose(loss(divide(x), divide(y)), loss(x, y), rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES.values())
def test_loss_of_complex_values_is_that_of_their_parts(loss, rng):
    x, y = jnp.asarray(rng.standard_normal((2, 8)), jnp.float32)
    value = loss(jax.lax.complex(x[:4], x[4:]), jax.lax.complex(y[:4], y[4:]))
    assert value.dtype == jnp.float32
    # The mean over half as many values is twice as large.
    np.testing.assert_allclose(value, loss(x, y) * (2 if loss is mse else 1), rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES.values())
def test_loss_ignores_further_keywords(loss):
    x, y = jnp.ones(3), jnp.zeros(3)
    assert loss(x, y, step=3) == loss(synth_rep=x, ref_rep=y)


@pytest.mark.parametrize("loss", LOSSES.values())
def test_loss_and_gradient_are_zero_at_the_reference(loss, rng):
    for reference in (jnp.asarray(rng.standard_normal(5), jnp.float32), jnp.zeros(5)):
        value, gradient = jax.value_and_grad(loss)(reference, reference)
        assert value == 0
        np.testing.assert_array_equal(gradient, np.zeros(5))
        tangents = (jnp.ones(5), jnp.zeros(5))
        tangent = jax.jvp(loss, (reference, reference), tangents)[1]
        assert tangent == 0


@pytest.mark.parametrize("loss", LOSSES.values())
def test_loss_is_finite_against_a_zero_reference(loss):
    value, gradient = jax.value_and_grad(loss)(jnp.array([3.0, 4.0]), jnp.zeros(2))
    expected = {mse: 12.5, l2_norm: 5.0, relative_sse: 25.0}[loss]
    assert value == expected
    assert np.all(np.isfinite(gradient))
    assert np.all(gradient > 0)


@pytest.mark.parametrize("loss", LOSSES.values())
def test_loss_passes_nonfinite_values_on(loss):
    assert np.isnan(loss(jnp.array([1.0, jnp.nan]), jnp.ones(2)))
    assert np.isinf(loss(jnp.array([1.0, jnp.inf]), jnp.ones(2)))


@pytest.mark.parametrize("loss", LOSSES.values())
def test_loss_is_differentiable(loss, rng, x64):
    x, y = jnp.asarray(rng.standard_normal((2, 4)))
    check_grads(jax.jit(loss), (x, y), order=2, eps=1e-5)
    gradient = jax.jit(jax.grad(loss))(x, y)
    # Towards the reference the loss falls.
    assert float(gradient @ (y - x)) < 0


def test_loss_maps_over_a_batch(rng):
    x, y = jnp.asarray(rng.standard_normal((2, 3, 5)), jnp.float32)
    values = jax.vmap(l2_norm)(x, y)
    np.testing.assert_allclose(values, [l2_norm(a, b) for a, b in zip(x, y, strict=True)])


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (jnp.zeros((3, 1)), jnp.zeros((1, 3)), ValueError, r"\(3, 1\) .* \(1, 3\)"),
        (jnp.zeros(3), (jnp.zeros(3),), ValueError, "same structure"),
        ((), (), ValueError, "at least one array"),
        (jnp.zeros(2, jnp.int32), jnp.zeros(2, jnp.int32), TypeError, "int32"),
    ],
)
@pytest.mark.parametrize("loss", LOSSES.values())
def test_loss_refuses(loss, x, y, error, message):
    with pytest.raises(error, match=message):
        loss(x, y)


def test_groupwise_weights_are_one_over_the_norm_of_the_group(rng):
    image = jnp.asarray(rng.standard_normal((3, 10)), jnp.float32)
    loss = groupwise_relative_l2_norm_factory(Groups(), image, {"magnitude_std": 4.0})
    groups = [image[:, :6], image[:, 6:9], image[:, 9:]]
    norms = [np.linalg.norm(group) for group in groups]
    expected = np.repeat([1 / norms[0], 4 / norms[1], 1 / norms[2]], [6, 3, 1])
    np.testing.assert_allclose(loss.weights, np.tile(expected, (3, 1)), rtol=1e-5)
    # A representation twice as large differs by the norm of each group: 1, 4 and 1.
    np.testing.assert_allclose(loss(2 * image, image), np.sqrt(1 + 16 + 1), rtol=1e-5)


def test_groupwise_norm_leaves_nan_out_and_zero_groups_as_they_are():
    image = jnp.array([[0.0] * 6 + [3.0, jnp.nan, 4.0, 2.0]])
    loss = groupwise_relative_l2_norm_factory(Groups(), image)
    np.testing.assert_allclose(loss.weights, [[1] * 6 + [0.2] * 3 + [0.5]], rtol=1e-6)


def test_groupwise_norm_of_a_tree_counts_each_array_relative_to_its_norm(rng):
    x, y = (
        {"late": jnp.asarray(rng.standard_normal((2, 3)), jnp.float32), "early": (image,)}
        for image in jnp.asarray(1000 * rng.standard_normal((2, 5, 4)), jnp.float32)
    )
    loss = groupwise_relative_l2_norm_factory(lambda image: y, y["early"][0])
    pairs = [
        (np.asarray(a), np.asarray(b)) for a, b in zip(*map(jax.tree.leaves, (x, y)), strict=True)
    ]
    errors = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs]
    np.testing.assert_allclose(loss(x, y), np.hypot(*errors), rtol=1e-5)
    # The loss of Feather et al. for one layer.
    for i, name in enumerate(["early/0", "late"]):
        others = {"early/0", "late"} - {name}
        factors = dict.fromkeys(others, 0.0)
        loss = groupwise_relative_l2_norm_factory(lambda image: y, y["early"][0], factors)
        np.testing.assert_allclose(loss(x, y), errors[i], rtol=1e-5)
    gradient = jax.jit(jax.grad(loss))(y, y)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient))
    with pytest.raises(ValueError, match=r"\['early/0', 'late'\], got \['early'\]"):
        groupwise_relative_l2_norm_factory(lambda image: y, y["early"][0], {"early": 1.0})
    with pytest.raises(ValueError, match="structure of the weights"):
        loss(y["late"], y["late"])


def test_portilla_simoncelli_weights():
    loss = portilla_simoncelli_loss_factory(Groups(), jnp.zeros((2, 10)))
    np.testing.assert_array_equal(loss.weights, [[1, 1, 1, 1, 0, 0, 1, 1, 1, 100]] * 2)
    factors = {"pixel_statistics": 1, "var_highpass_residual": 1}
    loss = portilla_simoncelli_loss_factory(Groups(), jnp.zeros((2, 10)), factors)
    np.testing.assert_array_equal(loss.weights, np.ones((2, 10)))
    assert loss.weights.dtype == jnp.float32


@pytest.mark.parametrize("factory", FACTORIES.values())
def test_factory_leaves_the_users_dictionary_alone(factory):
    factors = {"magnitude_std": 2.0}
    factory(Groups(), jnp.ones((1, 10)), factors)
    assert factors == {"magnitude_std": 2.0}


@pytest.mark.parametrize("factory", FACTORIES.values())
def test_factory_loss_and_gradient_are_zero_at_the_reference(factory, rng):
    image = jnp.asarray(rng.standard_normal((1, 10)), jnp.float32)
    for target in (image, jnp.zeros((1, 10))):
        value, gradient = jax.value_and_grad(factory(Groups(), target))(target, target)
        assert value == 0
        np.testing.assert_array_equal(gradient, np.zeros((1, 10)))


@pytest.mark.parametrize("factory", FACTORIES.values())
def test_factory_loss_is_a_module_traced_once_for_all_targets(factory, rng):
    count = eqx.debug.assert_max_traces(lambda loss, x, y: loss(x, y), max_traces=1)
    traced = eqx.filter_jit(count)
    x, *targets = jnp.asarray(rng.standard_normal((3, 2, 10)), jnp.float32)
    for y in targets:
        loss = factory(Groups(), y)
        assert len(jax.tree.leaves(loss)) == 1
        np.testing.assert_allclose(traced(loss, x, y), loss(x, y), rtol=1e-5)


@pytest.mark.parametrize("factory", FACTORIES.values())
def test_factory_refuses(factory):
    image = jnp.ones((2, 10))
    with pytest.raises(ValueError, match=r"magnitude_std.*\['mean'\]"):
        factory(Groups(), image, {"mean": 2.0})
    with pytest.raises(
        ValueError, match=r"'magnitude_std' must broadcast to .* got the shape \(4,\)"
    ):
        factory(Groups(), image, {"magnitude_std": np.ones(4)})
    with pytest.raises(TypeError, match="convert_to_dict"):
        factory(lambda x: x, image)
    with pytest.raises(ValueError, match=r"\(2, 10\).*\(2, 9\)"):
        factory(Groups(), image)(jnp.ones((2, 9)), jnp.ones((2, 9)))


def test_portilla_simoncelli_factory_wants_known_sizes_unless_it_is_told_the_weights():
    model = Groups({"pixel_statistics": 4, "var_highpass_residual": 2})
    image = jnp.ones((1, 6))
    with pytest.raises(ValueError, match="'pixel_statistics' must have the size 6, got 4"):
        portilla_simoncelli_loss_factory(model, image)
    with pytest.raises(ValueError, match="'var_highpass_residual' must have the size 1, got 2"):
        portilla_simoncelli_loss_factory(model, image, {"pixel_statistics": 1})
    factors = {"pixel_statistics": 2, "var_highpass_residual": 3}
    loss = portilla_simoncelli_loss_factory(model, image, factors)
    np.testing.assert_array_equal(loss.weights, [[2, 2, 2, 2, 3, 3]])


@pytest.mark.parametrize("missing", ["pixel_statistics", "var_highpass_residual"])
def test_portilla_simoncelli_factory_warns_of_missing_statistics(missing):
    sizes = {key: size for key, size in SIZES.items() if key != missing}
    image = jnp.ones((1, sum(sizes.values())))
    with pytest.warns(UserWarning, match=missing):
        loss = portilla_simoncelli_loss_factory(Groups(sizes), image)
    assert loss.weights.shape == image.shape
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        groupwise_relative_l2_norm_factory(Groups(sizes), image)


def test_weighted_sum_adds_losses_up(rng):
    x, y = jnp.asarray(rng.standard_normal((2, 6)), jnp.float32)
    loss = WeightedSum([mse, l2_norm, relative_sse], np.array([2.0, 0.0, -3.0]))
    np.testing.assert_allclose(loss(x, y), 2 * mse(x, y) - 3 * relative_sse(x, y), rtol=1e-5)
    assert loss(x, y, step=3) == loss(x, y)
    tree = {"a": x[:2], "b": (x[2:],)}
    assert WeightedSum([mse], [1.0])(tree, tree) == 0


def test_weighted_sum_adds_penalties_up():
    image = jnp.array([[[0.0, 2.0], [0.0, 2.0]]])
    penalty = WeightedSum([penalize_range, penalize_total_variation], [1.0, 0.25])
    assert penalty(image) == 2 + 0.25 * 4
    nested = WeightedSum([penalty, penalize_range], [2.0, 1.0])
    assert nested(image) == 2 * 3 + 2


def test_soft_maximum_lies_between_the_mean_and_the_maximum(rng, x64):
    x, y = jnp.asarray(rng.standard_normal((2, 50)))
    terms, weights = (mse, l2_norm, relative_sse), np.array([3.0, 0.2, 1.0])
    values = np.array([float(w * loss(x, y)) for loss, w in zip(terms, weights, strict=True)])
    found = []
    for temperature in (1e-3, 0.1, 1.0, 10.0, 1e6):
        loss = SoftMaximum(terms, weights, temperature=temperature)
        expected = temperature * np.log(np.mean(np.exp((values - values.max()) / temperature)))
        np.testing.assert_allclose(loss(x, y), expected + values.max(), rtol=1e-9)
        found.append(float(loss(x, y)))
    assert np.all(np.diff(found) < 0)
    np.testing.assert_allclose(found[0], values.max(), atol=1.2e-3)
    np.testing.assert_allclose(found[-1], values.mean(), rtol=1e-5)
    assert SoftMaximum(terms)(x, x) == 0


def test_soft_maximum_gives_the_gradient_to_the_largest_term():
    target = jnp.zeros(2)
    loss = SoftMaximum(
        [lambda x, y: mse(x[:1], y[:1]), lambda x, y: mse(x[1:], y[1:])], temperature=0.01
    )
    gradient = jax.grad(loss)(jnp.array([1.0, 2.0]), target)
    np.testing.assert_allclose(gradient, [0, 4], atol=1e-6)
    gradient = jax.grad(loss)(jnp.array([2.0, 2.0]), target)
    np.testing.assert_allclose(gradient, [2, 2], rtol=1e-6)
    huge = jax.value_and_grad(loss)(jnp.array([1e15, 1e15]), target)
    assert all(np.all(np.isfinite(value)) for value in huge)


def test_z_scored_loss_counts_in_standard_deviations(rng):
    values = rng.standard_normal((40, 5)) * np.geomspace(1e-3, 1e3, 5) + 7
    mean, deviation = values.mean(0), values.std(0)
    loss = ZScored(mean, deviation, l2_norm)
    x = jnp.asarray(mean + deviation * np.arange(5), jnp.float32)
    y = jnp.asarray(mean, jnp.float32)
    np.testing.assert_allclose(loss(x, y), np.sqrt(30), rtol=1e-2)
    relative = ZScored(mean, deviation, relative_sse)
    z = jnp.asarray(mean + deviation, jnp.float32)
    np.testing.assert_allclose(relative(y, z), 1, rtol=1e-2)


def test_z_scored_loss_of_a_tree_leaves_what_does_not_vary_as_it_is():
    mean = {"a": jnp.array([1.0, 5.0]), "b": (jnp.array(2.0),)}
    deviation = {"a": jnp.array([0.5, 0.0]), "b": (jnp.array(4.0),)}
    x = {"a": jnp.array([2.0, 6.0]), "b": (jnp.array(10.0),)}
    value, gradient = jax.value_and_grad(ZScored(mean, deviation))(x, mean)
    np.testing.assert_allclose(value, (4 + 1 + 4) / 3)
    np.testing.assert_allclose(gradient["a"], np.array([2 / 0.5, 1.0]) * 2 / 3, rtol=1e-6)


# Made inside of the tests, to be of the precision that is enabled there.
COMBINED = {
    "weighted sum": lambda: WeightedSum([mse, l2_norm], [0.3, 2.0]),
    "soft maximum": lambda: SoftMaximum([mse, l2_norm], [0.3, 2.0], temperature=0.5),
    "z-scored": lambda: ZScored(np.arange(4.0), np.arange(1.0, 5.0), l2_norm),
}


@pytest.mark.parametrize("name", COMBINED)
def test_combined_loss_is_differentiable_in_either_precision(name, rng, x64):
    x, y = jnp.asarray(rng.standard_normal((2, 4)))
    loss = COMBINED[name]()
    check_grads(jax.jit(lambda x: loss(x, y)), (x,), order=1, modes=["rev"], eps=1e-5)
    value, gradient = jax.value_and_grad(loss)(x, x)
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros(4))
    assert loss(x, y).dtype == jnp.float64
    single = loss(x.astype(jnp.float32), y.astype(jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, loss(x, y), rtol=1e-5)


def test_weights_of_combinations_are_no_reason_to_retrace():
    count = eqx.debug.assert_max_traces(lambda loss, x: loss(x, x), max_traces=1)
    evaluate = eqx.filter_jit(count)
    for scale in (1.0, 2.0):
        evaluate(SoftMaximum([mse], [scale], temperature=scale), jnp.ones(2))


@pytest.mark.parametrize("combination", [WeightedSum, SoftMaximum])
def test_combinations_refuse(combination):
    for terms, weights in (([], []), ([mse], [1.0, 2.0]), ([mse, l2_norm], 1.0)):
        with pytest.raises(ValueError, match="one number for each"):
            combination(terms, weights)


def test_combinations_refuse_what_cannot_be_called(unchecked):
    with pytest.raises(TypeError, match="a loss or a penalty"):
        WeightedSum(["mse"], [1.0])


def test_z_scored_loss_refuses():
    with pytest.raises(ValueError, match="standard deviation must have the structure"):
        ZScored({"a": jnp.ones(2)}, jnp.ones(2))
    with pytest.raises(ValueError, match=r"same shapes, got \[\(2,\)\] and \[\(3,\)\]"):
        ZScored(jnp.ones(2), jnp.ones(3))
    loss = ZScored(jnp.ones(2), jnp.ones(2))
    with pytest.raises(ValueError, match="representation must have the structure"):
        loss((jnp.ones(2),), (jnp.ones(2),))
    with pytest.raises(ValueError, match=r"shape of the mean, \(2,\), got \(3,\)"):
        loss(jnp.ones(3), jnp.ones(3))
