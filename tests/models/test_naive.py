from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plenoptax.models import Gaussian, Identity


REFERENCE = Path(__file__).parents[1] / "reference" / "naive.npz"

# As in reference/make_naive.py.
CASES = {
    "odd": {"kernel_size": 7, "std": 1.5},
    "even": {"kernel_size": 8, "std": 2.0, "pad_mode": "circular"},
    "rectangular": {"kernel_size": (3, 10), "std": 4.0, "pad_mode": "replicate"},
    "channels": {"kernel_size": (6, 5), "std": [0.7, 2.5], "pad_mode": "constant"},
    "repeated": {"kernel_size": 5, "out_channels": 2},
}


@pytest.mark.parametrize("case", CASES)
def test_gaussian_equals_plenoptic(case, x64):
    with np.load(REFERENCE) as reference:
        image, expected = reference["image"], reference[case]
    model = Gaussian(**CASES[case])
    respond = eqx.filter_jit(model)
    response = respond(jnp.asarray(image))
    assert response.shape == expected.shape
    np.testing.assert_allclose(response, expected, atol=1e-12)
    single = respond(jnp.asarray(image, jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, expected, atol=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize("kernel_size", [10, (31, 31), (4, 7)])
@pytest.mark.parametrize("pad_mode", ["reflect", "replicate", "circular", "constant"])
@pytest.mark.parametrize("std", [0.5, [1.0, 2.0, 40.0]])
def test_gaussian_equals_plenoptic_side_by_side(kernel_size, pad_mode, std, rng, x64):
    po = pytest.importorskip("plenoptic")
    torch = pytest.importorskip("torch")
    image = rng.random((1, 33, 40))
    theirs = po.models.Gaussian(kernel_size, torch.tensor(std, dtype=torch.float64), pad_mode)
    expected = theirs(torch.as_tensor(image)[None])[0].detach().numpy()
    model = Gaussian(kernel_size, std, pad_mode)
    np.testing.assert_allclose(model(jnp.asarray(image)), expected, atol=1e-12)
    np.testing.assert_allclose(model.filt, theirs.filt.detach().numpy(), atol=1e-14)


def test_gaussian_response_to_an_impulse_is_its_filter():
    model = Gaussian((5, 7), [1.0, 2.0])
    impulse = jnp.zeros((1, 17, 19)).at[0, 8, 9].set(1.0)
    np.testing.assert_allclose(model(impulse)[:, 6:11, 6:13], model.filt[:, 0], atol=1e-7)
    np.testing.assert_allclose(model.filt.sum(axis=(1, 2, 3)), 1.0, rtol=1e-6)


def test_gaussian_std_is_its_only_leaf_and_may_change_sign(rng):
    model = Gaussian(7, [1.0, 2.0])
    (std,) = jax.tree.leaves(model)
    np.testing.assert_array_equal(std, [1.0, 2.0])
    assert not std.weak_type
    image = jnp.asarray(rng.random((1, 12, 12)), jnp.float32)
    negative = eqx.tree_at(lambda m: m.std, model, -std)
    np.testing.assert_array_equal(negative(image), model(image))
    gradient = eqx.filter_grad(lambda m: jnp.var(m(image)))(model).std
    assert np.all(np.asarray(gradient) < 0)


def test_gaussian_is_traced_once_for_other_images_and_widths(rng):
    traced = eqx.filter_jit(eqx.debug.assert_max_traces(lambda m, x: m(x), max_traces=1))
    for std in (1.0, 2.5):
        image = jnp.asarray(rng.random((1, 12, 12)), jnp.float32)
        model = Gaussian(5, std)
        np.testing.assert_allclose(traced(model, image), model(image), atol=1e-6)


def test_gaussian_maps_over_a_batch(rng):
    images = jnp.asarray(rng.random((3, 1, 10, 11)), jnp.float32)
    model = Gaussian(5, [1.0, 2.0])
    responses = jax.vmap(model)(images)
    assert responses.shape == (3, 2, 10, 11)
    np.testing.assert_allclose(responses[2], model(images[2]), atol=1e-6)


@pytest.mark.parametrize("image", [jnp.zeros((1, 24, 24)), jnp.full((1, 24, 24), 0.5)])
def test_gaussian_is_finite_on_flat_images(image):
    value, gradients = eqx.filter_value_and_grad(lambda m, x: jnp.mean(m(x) ** 2))(
        Gaussian(31, [0.5, 50.0]), image
    )
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradients.std))


@pytest.mark.parametrize("shape", [(3, 8, 8), (8, 8), (1, 1, 8, 8)])
def test_gaussian_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"\(1, height, width\), got"):
        Gaussian(3)(jnp.zeros(shape))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 0}, "kernel_size"),
        ({"kernel_size": 3, "std": -1.0}, "std must be positive"),
        ({"kernel_size": 3, "std": [1.0, 2.0], "out_channels": 3}, "3 output channels"),
        ({"kernel_size": 3, "pad_mode": "zeros"}, "'zeros'"),
    ],
)
def test_gaussian_refuses_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Gaussian(**arguments)


def test_identity_returns_the_image(rng):
    image = jnp.asarray(rng.random((1, 3, 4)), jnp.float32)
    assert Identity()(image) is image
    np.testing.assert_array_equal(jax.jit(Identity())(image), image)
