import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plenoptax.models import PortillaSimoncelli


def test_weights_multiply_groups(model, image):
    factors = np.ones((3, 3, 2))
    factors[2, 0, 1] = 5
    weights = {"magnitude_std": 0, "cross_orientation_correlation_magnitude": factors}
    weighted = PortillaSimoncelli((32, 32), 2, 3, 5, weights=weights)
    plain = model.convert_to_dict(model(image))
    groups = weighted.convert_to_dict(weighted(image))
    assert not groups["magnitude_std"].any()
    changed = groups.pop("cross_orientation_correlation_magnitude")
    kept = plain["cross_orientation_correlation_magnitude"]
    np.testing.assert_allclose(changed, kept * factors[None], rtol=1e-5)
    for name in groups.keys() - {"magnitude_std"}:
        np.testing.assert_allclose(groups[name], plain[name], rtol=1e-5, atol=1e-6)


def test_weights_of_single_statistics(model, image, rng):
    vector = rng.random(model.num_statistics)
    weighted = PortillaSimoncelli((32, 32), 2, 3, 5, weights=vector)
    expected = jnp.asarray(vector, jnp.float32)[None] * model(image)
    np.testing.assert_allclose(weighted(image), expected, rtol=1e-6)
    np.testing.assert_allclose(
        weighted(image, [1]), model.remove_scales(expected, [1]), rtol=1e-4, atol=1e-6
    )


def test_ablated_statistics_have_no_gradient(model, image):
    @jax.jit
    def gradient(weights):
        ablated = eqx.tree_at(
            lambda model: model.weights, model, weights, is_leaf=lambda leaf: leaf is None
        )
        return jax.grad(lambda image: jnp.sum(ablated(image) ** 2))(image)

    assert not gradient(jnp.zeros(model.num_statistics)).any()
    highpass = np.array(model.statistic_groups) == "var_highpass_residual"
    only = gradient(jnp.asarray(highpass, jnp.float32))
    expected = jax.grad(lambda image: jnp.sum(model(image, ["residual_highpass"]) ** 2))(image)
    np.testing.assert_allclose(only, expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        (np.ones(3), "one for each statistic"),
        ({"magnitude_mean": 0}, "keys of weights must be among"),
        ({"magnitude_std": np.ones(5)}, "must broadcast"),
    ],
)
def test_wrong_weights(weights, match):
    with pytest.raises(ValueError, match=match):
        PortillaSimoncelli((32, 32), 2, 3, 5, weights=weights)
