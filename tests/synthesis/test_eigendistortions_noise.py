import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx
from plenoptax.linalg import EigenStatus
from plenoptax.synthesis import _eigendistortions_methods


def variance(rates):
    """Noise that grows steeply with the rates of OnOff, which lie between 0.68 and 0.73."""
    return (rates - 0.6) ** 2


def poisson(rates, slopes):
    """The information in counts over 3 seconds whose gain has a standard deviation of 1/2."""
    counts = 3 * rates
    weights = 9 / (counts + counts**2 / 4)
    return slopes.T @ (weights[:, None] * slopes)


def gaussian(rates, slopes):
    """That in the mean, and that in the variance: half the squared slope of its logarithm."""
    weights = 1 / variance(rates) + (2 / (rates - 0.6)) ** 2 / 2
    return slopes.T @ (weights[:, None] * slopes)


NOISES = {
    "Poisson": (lambda: plx.linalg.PoissonNoise(3.0, dispersion=0.5), poisson),
    "Gaussian": (lambda: plx.linalg.GaussianNoise(variance), gaussian),
}
SELECTED = np.zeros((1, 16, 16), bool)
SELECTED[:, 2:14, 3:13] = True


@pytest.fixture(scope="module")
def image():
    with jax.enable_x64(True):
        return plx.data.brick().astype(jnp.float64)[:, 100:116, 100:116]


@pytest.fixture(scope="module")
def model():
    return plx.models.OnOff(31, pretrained=True)


@pytest.fixture(scope="module")
def information(image, model):
    """A function of the name of a noise: the Fisher information by its formula, in NumPy."""

    @functools.cache
    def make(name):
        with jax.enable_x64(True):
            slopes = np.asarray(plx.linalg.jacobian(model, image))
            return NOISES[name][1](np.asarray(model(image)).ravel(), slopes)

    return make


@pytest.mark.parametrize("name", NOISES)
def test_information_with_noise_is_the_formula_and_not_that_of_equal_noise(
    x64, image, model, information, name
):
    found = plx.linalg.fisher_matrix(model, image, noise=NOISES[name][0]())
    np.testing.assert_allclose(found, information(name), atol=1e-12 * np.max(found))
    plain = np.linalg.eigvalsh(plx.linalg.fisher_matrix(model, image))
    ratios = np.linalg.eigvalsh(found)[[0, -1]] / plain[[0, -1]]
    # No one variance for all responses would give both ends.
    assert abs(ratios[0] / ratios[1] - 1) > 1e-3


@pytest.mark.parametrize(("name", "is_region"), [("Poisson", False), ("Gaussian", True)])
def test_eigendistortions_with_noise_are_those_of_the_dense_information(
    x64, image, model, information, monkeypatch, name, is_region
):
    noise, full, made = NOISES[name][0](), information(name), []
    inside = SELECTED.ravel() if is_region else np.ones(256, bool)
    subspace = plx.linalg.mask(SELECTED) if is_region else None
    values = np.linalg.eigvalsh(full[np.ix_(inside, inside)])
    wanted = values[[-1, -2, 1, 0]]
    make = _eigendistortions_methods.local_spectrum

    def record(operator, *rest, **options):
        made.append(operator)
        return make(operator, *rest, **options)

    monkeypatch.setattr(_eigendistortions_methods, "local_spectrum", record)
    options = dict(noise=noise, subspace=subspace, progress=False)
    dense = plx.eigendistortions(image, model, method="exact", **options)
    np.testing.assert_allclose(dense.eigenvalues, values[::-1], rtol=1e-9)
    found = plx.eigendistortions(image, model, k=2, method="block_lanczos", **options)
    np.testing.assert_allclose(found.eigenvalues[:2], wanted[:2], rtol=1e-6)
    np.testing.assert_allclose(found.eigenvalues[2:], wanted[2:], rtol=0.05)
    for end in found.status.values():
        assert bool(end == EigenStatus.converged)
    changes = np.asarray(found.eigendistortions).reshape(4, -1)
    assert np.all(changes[:, ~inside] == 0)
    rayleigh = np.einsum("ki,ij,kj->k", changes, full, changes)
    np.testing.assert_allclose(rayleigh, found.eigenvalues, rtol=1e-9)
    # The preconditioner is made from the noisy information about all pixels, also for a region.
    (operator,) = made
    np.testing.assert_allclose(operator.fisher(jnp.eye(256)), full, atol=1e-12 * full.max())


@pytest.mark.parametrize(("name", "is_region"), [("Poisson", False), ("Gaussian", True)])
def test_equal_detectability_with_noise_is_measured_in_its_units(
    x64, image, model, information, name, is_region
):
    noise = NOISES[name][0]()
    subspace = plx.linalg.mask(SELECTED) if is_region else None
    found = plx.eigendistortions(image, model, k=2, noise=noise, subspace=subspace, progress=False)
    scales = plx.equal_detectability(found, model, 1e-4, noise=noise)
    moved = scales.alpha[:, None] * np.asarray(found.eigendistortions).reshape(4, -1)
    predicted = np.sqrt(np.einsum("ki,ij,kj->k", moved, information(name), moved))
    np.testing.assert_allclose(predicted, 1e-4, rtol=1e-6)
    np.testing.assert_allclose(scales.predicted, 1e-4, rtol=1e-9)
    np.testing.assert_allclose(scales.measured, 1e-4, rtol=0.01)
    assert scales.is_linear.all()
    assert not scales.is_bound.any()
    assert not plx.equal_detectability(found, model, 1e-4).is_linear.any()


@pytest.mark.parametrize("name", [None, "Poisson"])
def test_the_bottom_of_on_off_is_the_image_itself(x64, image, model, name):
    noise = None if name is None else NOISES[name][0]()
    found = plx.eigendistortions(image, model, k=2, which="bottom", noise=noise, progress=False)
    change, flat = np.asarray(found.eigendistortions[-1]).ravel(), np.asarray(image).ravel()
    overlap = abs(change @ flat) / np.linalg.norm(flat)
    assert overlap >= 0.99
    assert overlap > abs(change.sum()) / 16
    # It is seen a little, and far less than all that is orthogonal to it.
    assert found.floor < found.eigenvalues[-1] < 1e-2 * found.eigenvalues[-2]
    assert bool(found.status["bottom"] == EigenStatus.converged)
