"""Eigendistortions against dense matrices that NumPy decomposes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import plenoptax as plx

from .eigen import crop, is_status


class Network(eqx.Module):
    """Two random convolutions with a smooth nonlinearity between them."""

    first: eqx.nn.Conv2d
    second: eqx.nn.Conv2d

    def __init__(self, channels, hidden):
        keys = jax.random.split(jax.random.key(0))
        self.first = eqx.nn.Conv2d(channels, hidden, 3, padding=1, key=keys[0])
        self.second = eqx.nn.Conv2d(hidden, hidden, 3, padding=1, key=keys[1])

    def __call__(self, x):
        return self.second(jnp.tanh(self.first(x)))


class Saturating(eqx.Module):
    """A random linear map with singular values from 1 to 0.3, and a saturation."""

    weights: jax.Array

    def __init__(self, rng):
        left = np.linalg.qr(rng.normal(size=(80, 64)))[0]
        right = np.linalg.qr(rng.normal(size=(64, 64)))[0]
        self.weights = jnp.asarray(left * np.geomspace(0.3, 1, 64) @ right.T)

    def __call__(self, x):
        return jnp.tanh(0.3 * (self.weights @ x.ravel()))


class WithRidge(eqx.Module):
    """A model that sees all pixels a little besides: its information has a multiple of 1 added."""

    model: Saturating
    ridge: float

    def __call__(self, x):
        return self.model(x), jnp.sqrt(jnp.asarray(self.ridge, x.dtype)) * x


def check_ends(found, singular, *, rtol=0.05):
    """As many eigenvalues of the top as of the bottom are squares of singular values."""
    k = len(found.eigenvalues) // 2
    np.testing.assert_allclose(found.eigenvalues[:k], singular[:k] ** 2, rtol=1e-5)
    np.testing.assert_allclose(found.eigenvalues[k:], singular[-k:] ** 2, rtol=rtol)


def residuals_of(found, jacobian):
    vectors = np.asarray(found.eigendistortions, np.float64).reshape(len(found.eigenvalues), -1)
    information = jacobian.T @ jacobian
    differences = vectors @ information - found.eigenvalues[:, None] * vectors
    return np.linalg.norm(differences, axis=1) / np.linalg.eigvalsh(information)[-1]


@pytest.fixture(scope="module")
def gray():
    """A network, an image, and the Jacobian as a matrix."""
    image, model = crop(16), Network(1, 4)
    return model, image, np.asarray(plx.linalg.jacobian(model, image), np.float64)


def test_network_by_block_lanczos_is_the_dense_decomposition(gray):
    model, image, jacobian = gray
    _, singular, vectors = np.linalg.svd(jacobian)
    found = plx.eigendistortions(image, model, k=3, method="block_lanczos", progress=False)
    check_ends(found, singular)
    assert found.eigenindex.tolist() == [0, 1, 2, 253, 254, 255]
    assert is_status(found.status["top"], "converged")
    assert is_status(found.status["bottom"], "converged")
    flat = np.asarray(found.eigendistortions).reshape(6, -1)
    np.testing.assert_allclose(
        np.abs(np.sum(flat * vectors[[0, 1, 2, -3, -2, -1]], 1)), 1, atol=2e-3
    )
    # They are as long as they are said to be, to the rounding of float32.
    recomputed = residuals_of(found, jacobian)
    assert recomputed.min() > 5e-7
    np.testing.assert_allclose(found.residuals, recomputed, rtol=0.01, atol=1e-7)


def test_exact_reports_the_residuals_of_the_vectors_that_it_returns(gray):
    model, image, jacobian = gray
    found = plx.eigendistortions(image, model, method="exact", progress=False)
    recomputed = residuals_of(found, jacobian)
    # Their size is the rounding of the vectors to float32.
    assert 1e-9 < recomputed.min() < recomputed.max() < 1e-7
    np.testing.assert_allclose(found.residuals, recomputed, rtol=1e-4)


BOTTOMS = {
    "Gaussian": (lambda: plx.models.Gaussian(7, std=0.7), 3),
    "CenterSurround": (lambda: plx.models.CenterSurround(15, center_std=0.8, surround_std=3), 2),
    "LinearNonlinear": (lambda: plx.models.LinearNonlinear(31, pretrained=True), 2),
}


@pytest.mark.parametrize("name", BOTTOMS)
def test_bottom_by_block_lanczos_is_that_of_a_dense_jacobian_in_float64(name):
    make, num_visible = BOTTOMS[name]
    with jax.enable_x64(True):
        jacobian = np.asarray(plx.linalg.jacobian(make(), crop(16, jnp.float64)))
    wanted = np.linalg.svd(jacobian, compute_uv=False)[-3:] ** 2
    found = plx.eigendistortions(
        crop(16), make(), k=3, which="bottom", method="block_lanczos", progress=False
    )
    assert found.eigendistortions.dtype == jnp.float32
    visible = wanted > found.floor
    assert visible.tolist() == [i < num_visible for i in range(3)]
    assert wanted[visible].min() > 1e6 * found.floor
    np.testing.assert_allclose(found.eigenvalues[visible], wanted[visible], rtol=0.05)
    assert np.all(found.eigenvalues[~visible] <= found.floor)
    assert found.null_dimension == 3 - num_visible
    assert is_status(found.status["bottom"], "converged" if visible.all() else "null_space")
    # Filters without a mean are blind to a constant, and to nothing else.
    overlap = abs(np.asarray(found.eigendistortions[-1], np.float64).sum()) / 16
    assert overlap < 0.1 if visible.all() else overlap >= 0.99


def test_a_bottom_that_is_not_proven_is_not_called_converged():
    # The smallest eigenvalue of the blur is 4e-8 of the largest, and the first of a cluster.
    image, model = crop(64), plx.models.Gaussian(7, std=1.0)
    options = {"which": "bottom", "method": "block_lanczos", "progress": False}
    found = plx.eigendistortions(image, model, **options)
    stripes = jnp.broadcast_to(jnp.eye(64)[:, None, :, None], (64, 1, 64, 64))
    blur = np.asarray(jax.vmap(model)(stripes), np.float64)[:, 0, :, 0]
    wanted = np.linalg.svd(blur, compute_uv=False)[-1] ** 4
    assert found.floor < 0.1 * wanted
    assert wanted < found.eigenvalues[-1] < 1.1 * wanted
    assert is_status(found.status["bottom"], "stagnated")


def upper_half(x):
    return jnp.tanh(x[:, :8])


@pytest.mark.parametrize("method", ["auto", "block_lanczos"])
def test_key_chooses_the_member_of_a_null_space(method):
    def last(seed):
        key = None if seed is None else jax.random.key(seed)
        found = plx.eigendistortions(crop(16), upper_half, method=method, key=key, progress=False)
        assert is_status(found.status["bottom"], "null_space")
        assert found.null_dimension == 128
        assert (found.state is None) == (method == "auto")
        return np.asarray(found.eigendistortions[-1])

    first, again, other = last(7), last(7), last(8)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(last(None), last(0))
    for change in (first, other):
        assert np.linalg.norm(change) == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(change[:, :8], 0, atol=1e-5)
    # The overlap of random directions of 128 dimensions has a standard deviation of 0.09.
    assert abs(np.sum(first * other)) < 0.4


@pytest.fixture(scope="module")
def colored():
    """A network of three channels, an image, and the Jacobian as a matrix."""
    image, model = jax.random.uniform(jax.random.key(1), (3, 12, 12)), Network(3, 6)
    return model, image, np.asarray(plx.linalg.jacobian(model, image), np.float64)


def test_eigendistortions_of_one_channel_are_those_of_its_columns(colored):
    model, image, jacobian = colored
    selected = np.zeros(image.shape, bool)
    selected[1] = True
    found = plx.eigendistortions(
        image,
        model,
        k=2,
        subspace=plx.linalg.mask(selected),
        method="block_lanczos",
        progress=False,
    )
    check_ends(found, np.linalg.svd(jacobian[:, selected.ravel()], compute_uv=False))
    changes = np.asarray(found.eigendistortions)
    assert np.all(changes[:, [0, 2]] == 0)
    np.testing.assert_allclose(np.linalg.norm(changes[:, 1], axis=(1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("method", ["auto", "block_lanczos"])
def test_eigendistortions_in_the_range_of_a_random_matrix(colored, method):
    model, image, jacobian = colored
    matrix = np.random.default_rng(3).normal(size=(image.size, 60)).astype(np.float32)
    mixing = jnp.asarray(matrix)
    subspace = plx.linalg.Linear(lambda z: (mixing @ z).reshape(image.shape), 60)
    found = plx.eigendistortions(
        image, model, k=2, subspace=subspace, method=method, progress=False
    )
    check_ends(found, np.linalg.svd(jacobian @ matrix, compute_uv=False), rtol=1e-5)
    # What is returned is in the range, and its coordinates have norm 1.
    changes = np.asarray(found.eigendistortions, np.float64).reshape(4, -1).T
    coordinates = np.linalg.lstsq(matrix, changes)[0]
    np.testing.assert_allclose(matrix @ coordinates, changes, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(coordinates, axis=0), 1, rtol=1e-5)
    lengths = np.linalg.norm(jacobian @ changes, axis=0)
    np.testing.assert_allclose(lengths**2, found.eigenvalues, rtol=1e-4)


def test_auto_iterates_where_both_sides_of_the_jacobian_are_long():
    image, model = crop(56), plx.models.Gaussian(7)
    large = plx.eigendistortions(image, model, which="top", progress=False)
    assert isinstance(large.state, plx.linalg.LanczosState)
    assert large.jacobian is None
    # The blur is separable: one matrix blurs columns and rows.
    stripes = jnp.broadcast_to(jnp.eye(56)[:, None, :, None], (56, 1, 56, 56))
    blur = np.asarray(jax.vmap(model)(stripes), np.float64)[:, 0, :, 0]
    wanted = np.linalg.svd(blur, compute_uv=False)[0] ** 4
    np.testing.assert_allclose(large.eigenvalues, wanted, rtol=1e-5)
    small = plx.eigendistortions(image, lambda x: x[:, :3, :3] ** 2, which="top", progress=False)
    assert small.state is None
    wanted = 4 * np.max(np.asarray(image[:, :3, :3])) ** 2
    np.testing.assert_allclose(small.eigenvalues, wanted, rtol=1e-5)


@pytest.mark.parametrize("ridge", [1e-3, 0.1])
def test_principal_distortions_of_two_models_are_the_generalized_ones(ridge, x64, rng):
    image = crop(8, jnp.float64)
    models = Saturating(rng), Saturating(rng)
    first, second = (np.asarray(plx.linalg.fisher_matrix(m, image)) for m in models)
    # Of the generalized ones the ridge is that of the second model, as a part of its largest
    # eigenvalue; of the principal ones it is that of both, as a part of their mean eigenvalues.
    deltas = [ridge * np.trace(each) / 64 for each in (first, second)]
    found = plx.generalized_eigendistortions(
        image,
        WithRidge(models[0], deltas[0]),
        models[1],
        ridge=deltas[1] / np.linalg.eigvalsh(second)[-1],
    )
    changes = found.eigendistortions
    principal = plx.principal_distortions(image, models, key=jax.random.key(0), ridge=ridge)
    pair, ratios = principal.distortions, principal.log_ratios
    overlaps = np.abs(np.asarray(pair).reshape(2, -1) @ np.asarray(changes).reshape(2, -1).T)
    # Which of the two comes first is not said.
    aligned = overlaps if overlaps[0, 0] > overlaps[0, 1] else overlaps[::-1]
    np.testing.assert_allclose(np.diag(aligned), 1, atol=1e-3)
    extremes = scipy.linalg.eigh(
        first + deltas[0] * np.eye(64), second + deltas[1] * np.eye(64), eigvals_only=True
    )
    best = np.log(extremes[-1] / extremes[0]) ** 2 / 4
    assert np.var(ratios) == pytest.approx(best, rel=max(1e-3, 0.1 * ridge))
