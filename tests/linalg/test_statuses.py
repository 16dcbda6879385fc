"""What an end of a spectrum is called, where the directions are exhausted or a rank is small."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx

from .test_eigensolvers import is_status, make


SPECTRA = {"clustered": np.geomspace(1, 1e-4, 100), "null": np.r_[np.geomspace(1, 1e-5, 98), 0, 0]}


@pytest.mark.parametrize("name", SPECTRA)
def test_exhausted_directions_end_with_exact_pairs(rng, name):
    operator, _ = make(rng, SPECTRA[name])
    _, singular, rows = np.linalg.svd(np.asarray(operator.dense(), np.float64))
    solver = plx.linalg.BlockLanczos(operator, 2, capacity=40)
    state = solver.init(key=jax.random.key(3))
    draws = np.asarray(state.noise, np.float64)
    pairs, state = plx.linalg.solve(solver, state, progress=False)
    assert pairs.num_products <= 2 * 100 + solver.block_size
    assert is_status(pairs.status["top"], "converged")
    assert is_status(pairs.status["bottom"], "null_space" if name == "null" else "converged")
    assert pairs.null_dimension == (2 if name == "null" else 0)
    vectors, epsilon = np.asarray(pairs.vectors, np.float64), float(jnp.finfo(jnp.float32).eps)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(4), atol=50 * epsilon)
    np.testing.assert_allclose(pairs.values[:2], singular[:2] ** 2, rtol=50 * epsilon)
    if name == "null":
        assert np.all(pairs.values[2:] <= pairs.floor)
        member = rows[98:].T @ (rows[98:] @ draws[0])
        assert abs(member @ vectors[-1]) == pytest.approx(np.linalg.norm(member), rel=1e-4)
    else:
        np.testing.assert_allclose(pairs.values[2:], singular[-2:] ** 2, rtol=5e5 * epsilon)
    # What is exact is finished, and goes on as it is.
    assert solver.is_finished(state)


def search(solver, **options):
    return plx.linalg.solve(solver, solver.init(key=jax.random.key(0)), progress=False, **options)


def diagonal(*singular):
    numbers = jnp.asarray(singular, jnp.float32)
    return plx.linalg.linearize(Diagonal(numbers), jnp.zeros_like(numbers))


class Diagonal(eqx.Module):
    numbers: jax.Array

    def __call__(self, x):
        return self.numbers * x


METHODS = {
    "block_lanczos": lambda operator, k: search(plx.linalg.BlockLanczos(operator, k))[0],
    "power": lambda operator, k: search(plx.linalg.Power(operator, k))[0],
    "exact": lambda operator, k: plx.linalg.exact(operator, k=k)[0],
    "randomized_svd": lambda operator, k: plx.linalg.randomized_svd(
        operator, k, key=jax.random.key(0), q=9
    )[0],
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rank", [0, 1, 3, 12])
def test_more_are_sought_than_the_map_sees(method, rank):
    singular = np.r_[np.sqrt([4, 3, 2] + [1.0] * 9)[:rank], np.zeros(12 - rank)]
    pairs = METHODS[method](diagonal(*singular), 5)
    np.testing.assert_allclose(pairs.values[:5], singular[:5] ** 2, atol=1e-4)
    # All are directions, also those that the map annihilates, and each end is orthonormal.
    vectors = np.asarray(pairs.vectors, np.float64)
    for end in (vectors[:5], vectors[5:]):
        np.testing.assert_allclose(end @ end.T, np.eye(len(end)), atol=1e-5)
    assert is_status(pairs.status["top"], "null_space" if rank < 5 else "converged")
    if method in ("block_lanczos", "exact"):
        assert is_status(pairs.status["bottom"], "null_space" if rank < 12 else "converged")
        # Of what is annihilated, a search finds as much as it was asked for.
        assert pairs.null_dimension == 12 - rank or (rank == 0 and method == "block_lanczos")


def test_power_finds_the_null_space_that_noise_has_something_of():
    singular = np.r_[3.0, np.sqrt(np.linspace(4, 2.53, 10)), 0.0]
    pairs = METHODS["power"](diagonal(*singular), 1)
    np.testing.assert_allclose(pairs.values, [9, 0], atol=1e-4)
    assert abs(pairs.vectors[1, -1]) > 0.999
    # It stops where the eigenvalue hardly changes, which may be above the floor.
    assert pairs.values[1] <= pairs.floor or is_status(pairs.status["bottom"], "stagnated")


def test_power_does_not_call_converged_what_its_absolute_criterion_stopped():
    # Eigenvalues below the criterion change by less than it whatever the vectors are.
    singular = np.r_[1.0, np.sqrt(np.linspace(0.9, 0.1, 9)), np.sqrt([3e-8, 1e-8])]
    pairs, state = search(plx.linalg.Power(diagonal(*singular), 1, stop_criterion=1e-4))
    assert state.is_done.all()
    assert pairs.values[1] > 2e-8
    assert is_status(pairs.status["bottom"], "stagnated")
    scaled = METHODS["power"](diagonal(*np.full(12, 1.5)), 1)
    np.testing.assert_allclose(scaled.values, 2.25, rtol=1e-5)
    assert is_status(scaled.status["bottom"], "converged")


def test_a_right_bottom_is_not_called_product_limit(rng):
    # The bottom is found with the first blocks; the top, to a stricter tolerance, is not.
    operator, matrix = make(rng, np.sqrt(np.r_[np.linspace(2, 1.9, 99), 1e-3]))
    last = jnp.asarray(np.linalg.svd(matrix)[2][-1:], jnp.float32)
    solver = plx.linalg.BlockLanczos(operator, 2, rtol=1e-9, capacity=40)
    state = solver.init(
        key=jax.random.key(0), start=lambda noise: jnp.concatenate([last, noise[:5]])
    )
    pairs, _ = plx.linalg.solve(solver, state, max_products=19, progress=False)
    np.testing.assert_allclose(pairs.values[-1], 1e-3, rtol=1e-3)
    assert is_status(pairs.status["bottom"], "converged")
    assert is_status(pairs.status["top"], "product_limit")


def test_a_randomized_search_has_no_state_to_go_on_from():
    operator = diagonal(*np.linspace(1, 0.5, 12))
    pairs, _ = plx.linalg.randomized_svd(operator, 5, key=jax.random.key(0), p=1, q=0)
    assert is_status(pairs.status["top"], "unproven")
    pairs, _ = plx.linalg.randomized_svd(diagonal(*np.full(12, np.nan)), 5, key=jax.random.key(0))
    assert is_status(pairs.status["top"], "nonfinite")


def test_faint_responses_are_not_taken_for_proofs():
    # The squares of such numbers are zero in float32, and with them the residuals.
    singular = 1e-12 * np.linspace(1, 0.5, 12)
    pairs = METHODS["power"](diagonal(*singular), 5)
    exact = METHODS["exact"](diagonal(*singular), 5)
    assert abs(pairs.values[0] / exact.values[0] - 1) > 0.1
    assert is_status(pairs.status["top"], "stagnated")
    assert is_status(pairs.status["bottom"], "stagnated")


@pytest.mark.parametrize("sides", [(20, 20), (20, 30), (30, 20)])
def test_float64_is_decomposed_with_all_its_digits(rng, x64, sides):
    # Squared, 1e-9 of the largest singular value would be lost in rounding.
    singular = np.r_[np.linspace(1, 0.5, 19), 1e-9]
    left, right = (np.linalg.qr(rng.normal(size=(side, side)))[0] for side in sides)
    matrix = jnp.asarray(left[:, :20] * singular @ right[:, :20].T)
    pairs, _ = plx.linalg.exact(plx.linalg.linearize(lambda x: matrix @ x, jnp.zeros(sides[1])))
    np.testing.assert_allclose(np.sqrt(pairs.values[:20]), singular, rtol=1e-5)
    assert pairs.null_dimension == sides[1] - 20
    assert is_status(pairs.status["bottom"], "converged" if sides[1] == 20 else "null_space")
