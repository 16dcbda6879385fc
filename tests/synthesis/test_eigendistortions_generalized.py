import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx

from .eigen import is_status


IMAGE = np.full((1, 3, 2), 0.5)


def gains(*numbers):
    """A model that sees each pixel with a gain of its own."""

    def model(image):
        return jnp.asarray(numbers, image.dtype).reshape(image.shape) * image

    return model


def compare(first, second, **options):
    return plx.generalized_eigendistortions(
        jnp.asarray(IMAGE), gains(*first), gains(*second), **options
    )


def test_what_both_models_see_does_not_depend_on_the_ridge(x64):
    found = compare([1, 2, 3, 1, 1, 1], [1, 1, 1, 1, 1, 2])
    np.testing.assert_allclose(found.ridges, [1e-4, 1e-3, 1e-2])
    deltas = 4 * found.ridges
    wanted = [[9 / (1 + delta), 1 / (4 + delta)] for delta in deltas]
    np.testing.assert_allclose(found.ratios_of_ridges, wanted)
    np.testing.assert_array_equal(found.ratios, found.ratios_of_ridges[1])
    np.testing.assert_allclose(found.angles, 0, atol=1e-5)
    assert not found.is_ridge_dominated.any()
    assert is_status(found.status["top"], "converged")
    assert is_status(found.status["bottom"], "converged")
    assert "ridge_dominated" not in str(found)


def test_a_number_that_the_ridge_made_is_named(x64):
    # The second model is blind to the second pixel: the ratio is that of the first to the ridge.
    found = compare([1, 3, 1, 1, 1, 1], [2, 0, 2, 2, 2, 4])
    np.testing.assert_allclose(found.ratios_of_ridges[:, 0], 9 / (16 * found.ridges))
    np.testing.assert_allclose(found.angles[:, 0], 0, atol=1e-5)
    assert found.is_ridge_dominated.tolist() == [True, False]
    assert is_status(found.status["top"], "ridge_dominated")
    assert is_status(found.status["bottom"], "converged")
    for text in ("5625 562.5 56.25 0.0 ridge_dominated", "top: The ridge determines"):
        assert text in " ".join(str(found).split())
    # A subspace that the second model sees leaves it out.
    seen = plx.linalg.mask(np.asarray([1, 0, 1, 1, 1, 1]).reshape(IMAGE.shape) > 0)
    rest = compare([1, 3, 1, 1, 1, 1], [2, 0, 2, 2, 2, 4], subspace=seen)
    np.testing.assert_allclose(rest.ratios[0], 1 / (4 + 16e-3))
    assert rest.eigendistortions.shape == (2, 1, 3, 2)
    np.testing.assert_array_equal(rest.eigendistortions[:, 0, 0, 1], 0)


def test_a_direction_that_the_ridge_made_is_named(x64):
    # With a small ridge the last pixel has the largest ratio, with a large one the first, and in
    # the ratio itself there is less than a factor of 3.
    found = compare([1.5, 1, 1, 1, 1, 0.1], [1, 1, 1, 1, 1, 0.05], ridge=1e-3)
    ratios = found.ratios_of_ridges[:, 0]
    np.testing.assert_allclose(
        ratios,
        np.maximum(2.25 / (1 + found.ridges), 0.01 / (0.0025 + found.ridges)),
    )
    assert ratios.max() < 3 * ratios.min()
    np.testing.assert_allclose(found.angles[:, 0], [0, 90, 90], atol=1e-5)
    assert found.is_ridge_dominated[0]


def test_what_the_first_model_does_not_see_is_no_number_of_the_ridge(x64):
    found = compare([0, 2, 3, 1, 1, 1], [1, 1, 1, 1, 1, 2])
    assert found.ratios[1] == pytest.approx(0, abs=1e-12)
    assert found.is_ridge_dominated.tolist() == [False, False]


def test_wrong_arguments_are_refused(x64, unchecked):
    with pytest.raises(ValueError, match="whole number"):
        compare([1] * 6, [1] * 6, k=1.5)
    with pytest.raises(ValueError, match="ridge must be a finite number above 0"):
        compare([1] * 6, [1] * 6, ridge=0.0)
    with pytest.raises(ValueError, match="which sees none"):
        compare([1] * 6, [0] * 6)


class Complex(eqx.Module):
    """A saturating response and complex ones; or the same as real numbers alone."""

    weights: jax.Array
    as_real: bool = eqx.field(static=True)

    def __call__(self, image):
        real, imaginary = self.weights @ image.ravel()
        if self.as_real:
            return jnp.concatenate([jnp.tanh(real), real, imaginary])
        return jnp.tanh(real), jax.lax.complex(real, imaginary)


@pytest.mark.parametrize("variances", [None, 4.0, np.linspace(1, 9, 9)])
def test_detectability_of_complex_responses_is_that_of_their_parts(rng, variances):
    image = jnp.asarray(IMAGE, jnp.float32)
    weights = jnp.asarray(rng.normal(size=(2, 3, 6)), jnp.float32)
    noise = None if variances is None else plx.linalg.GaussianNoise(variances)
    found, wanted = (
        plx.equal_detectability(
            plx.eigendistortions(image, model, noise=noise, progress=False),
            model,
            0.03,
            noise=noise,
        )
        for model in (Complex(weights, False), Complex(weights, True))
    )
    np.testing.assert_allclose(found.measured, wanted.measured, rtol=1e-5)
    assert found.is_linear[0]
