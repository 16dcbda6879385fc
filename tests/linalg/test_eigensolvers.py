import signal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx
from plenoptax.linalg import EigenStatus


class Matrix(eqx.Module):
    """A matrix as a pytree, so that maps of one shape share their programs."""

    elements: jax.Array

    def __call__(self, x):
        return self.elements @ x


def make(rng, singular, m=None, dtype=jnp.float32):
    """A map with given singular values, and its matrix in float64."""
    n = len(singular)
    m = m or n
    left = np.linalg.qr(rng.normal(size=(m, m)))[0][:, :n]
    right = np.linalg.qr(rng.normal(size=(n, n)))[0]
    rank = min(m, n)
    matrix = left[:, :rank] * singular[:rank] @ right[:, :rank].T
    moved = Matrix(jnp.asarray(matrix, dtype))
    return plx.linalg.linearize(moved, jnp.zeros(n, dtype)), matrix


def is_status(value, name):
    return bool(value == getattr(EigenStatus, name))


def check_pairs(pairs, matrix, *, rtol):
    """The values are those of a dense decomposition, the vectors orthonormal eigenvectors."""
    dense = np.linalg.eigvalsh(matrix.T @ matrix)[::-1]
    vectors = np.asarray(pairs.vectors, np.float64)
    np.testing.assert_allclose(pairs.values, dense[pairs.indices], atol=rtol * dense[0])
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(len(vectors)), atol=1e-4)


def run(operator, k, **options):
    solver = plx.linalg.BlockLanczos(operator, k, **options)
    state = solver.init(key=jax.random.key(3))
    return plx.linalg.solve(solver, state, progress=False)[0]


def test_block_lanczos_finds_both_ends(rng):
    operator, matrix = make(rng, np.geomspace(1, 0.1, 100))
    pairs = run(operator, 3, rtol=1e-6)
    dense = np.linalg.eigvalsh(matrix.T @ matrix)
    np.testing.assert_allclose(pairs.values[:3], dense[:-4:-1], rtol=1e-5)
    np.testing.assert_allclose(pairs.values[3:], dense[2::-1], rtol=0.05)
    assert pairs.indices.tolist() == [0, 1, 2, 97, 98, 99]
    assert is_status(pairs.status["top"], "converged")
    assert is_status(pairs.status["bottom"], "converged")
    assert pairs.null_dimension == 0


def test_block_lanczos_does_not_square_the_condition(rng):
    singular = np.concatenate([np.linspace(1, 0.1, 98), [1e-4, 5e-5]])
    pairs = run(make(rng, singular)[0], 2)
    np.testing.assert_allclose(pairs.values[2:], [1e-8, 2.5e-9], rtol=0.05)


def test_block_lanczos_in_float64_reaches_1e_minus_10(rng, x64):
    singular = np.concatenate([np.linspace(1, 0.1, 98), [1e-6, 5e-7]])
    operator, matrix = make(rng, singular, dtype=jnp.float64)
    pairs = run(operator, 2, rtol=1e-12)
    check_pairs(pairs, matrix, rtol=1e-10)
    np.testing.assert_allclose(pairs.values[2:], [1e-12, 2.5e-13], rtol=0.01)


def test_block_lanczos_finds_all_copies_of_multiple_eigenvalues(rng):
    singular = np.asarray([2.0] * 4 + [1.0] * 92 + [0.5] * 4)
    pairs = run(make(rng, singular)[0], 4)
    np.testing.assert_allclose(pairs.values, [4.0] * 4 + [0.25] * 4, rtol=1e-5)


def test_block_lanczos_names_a_null_space_and_gives_its_canonical_member(rng):
    operator, matrix = make(rng, np.linspace(1, 0.3, 100), m=70)
    solver = plx.linalg.BlockLanczos(operator, 2)
    state = solver.init(key=jax.random.key(3))
    noise = np.asarray(state.noise, np.float64)
    pairs, _ = plx.linalg.solve(solver, state, progress=False)
    assert is_status(pairs.status["bottom"], "null_space")
    assert pairs.null_dimension == 30
    assert np.all(pairs.values[2:] < pairs.floor)
    rows = np.linalg.svd(matrix, full_matrices=False)[2]
    member = noise[0] - rows.T @ (rows @ noise[0])
    member /= np.linalg.norm(member)
    assert abs(member @ np.asarray(pairs.vectors[-1], np.float64)) > 0.999


@pytest.mark.parametrize("singular", [np.zeros(20), np.eye(20)[0], np.ones(20)])
def test_block_lanczos_survives_degenerate_maps(rng, singular):
    pairs = run(make(rng, singular)[0], 2)
    np.testing.assert_allclose(pairs.values[:1], singular[:1] ** 2, atol=1e-5)
    np.testing.assert_allclose(pairs.values[-2:], singular[-2:] ** 2, atol=1e-5)
    assert np.isfinite(pairs.residuals).all()


def test_block_lanczos_restarts_in_bounded_memory(rng):
    operator, matrix = make(rng, np.geomspace(1, 0.01, 100))
    solver = plx.linalg.BlockLanczos(operator, 2, capacity=40)
    pairs, state = plx.linalg.solve(solver, solver.init(key=jax.random.key(0)), progress=False)
    assert state.basis.shape == (40, 100)
    assert pairs.num_products > 80
    basis = np.asarray(state.basis[: int(state.size)], np.float64)
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-4)
    np.testing.assert_allclose(pairs.values[:2], matrix_values(matrix)[:2], rtol=1e-4)


def matrix_values(matrix):
    return np.linalg.svd(matrix, compute_uv=False) ** 2


def test_preconditioner_speeds_up_the_bottom(rng):
    singular = np.geomspace(1, 1e-3, 100)
    operator, matrix = make(rng, singular)
    inverse = np.linalg.inv(matrix.T @ matrix + 1e-7 * np.eye(100))
    inverse = jnp.asarray(inverse * rng.uniform(0.9, 1.1), jnp.float32)
    solver = plx.linalg.BlockLanczos(operator, 1, preconditioner=lambda rows: rows @ inverse)
    state = solver.init(key=jax.random.key(0))
    pairs, _ = plx.linalg.solve(solver, state, max_products=60, progress=False)
    np.testing.assert_allclose(pairs.values, singular[[0, -1]] ** 2, rtol=0.05)
    assert is_status(pairs.status["bottom"], "converged")
    solver = plx.linalg.BlockLanczos(operator, 1)
    plain, _ = plx.linalg.solve(solver, state, max_products=60, progress=False)
    assert is_status(plain.status["bottom"], "product_limit")


def test_resuming_is_the_same_as_not_stopping(rng):
    operator, _ = make(rng, np.geomspace(1, 0.01, 100))
    solver = plx.linalg.BlockLanczos(operator, 2, capacity=40)
    start = solver.init(key=jax.random.key(1))
    _, whole = plx.linalg.solve(solver, start, max_products=120, progress=False)
    _, half = plx.linalg.solve(solver, start, max_products=50, progress=False)
    assert 50 <= int(half.num_products) < int(whole.num_products)
    _, resumed = plx.linalg.solve(solver, half, max_products=120, progress=False)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)


def test_limit_and_nonfinite_are_named(rng):
    operator, _ = make(rng, np.geomspace(1, 1e-3, 100))
    solver = plx.linalg.BlockLanczos(operator, 1)
    pairs, _ = plx.linalg.solve(
        solver, solver.init(key=jax.random.key(1)), max_products=12, progress=False
    )
    assert is_status(pairs.status["bottom"], "product_limit")
    broken = plx.linalg.linearize(lambda x: jnp.sqrt(x - x), jnp.ones(20))
    pairs = run(broken, 1)
    assert is_status(pairs.status["top"], "nonfinite")
    assert is_status(pairs.status["bottom"], "nonfinite")


def test_interrupt_keeps_the_state(rng, unchecked):
    operator, _ = make(rng, np.geomspace(1, 1e-3, 100))
    inner = plx.linalg.BlockLanczos(operator, 1)

    class Interrupted:
        def __getattr__(self, name):
            return getattr(inner, name)

        def step(self, state):
            if state.num_products >= 18:
                signal.raise_signal(signal.SIGINT)
            return inner.step(state)

    start = inner.init(key=jax.random.key(1))
    pairs, state = plx.linalg.solve(Interrupted(), start, progress=False)
    # The step under way is finished, and no other begun.
    taken = int(state.num_products)
    assert taken > 18
    assert pairs.num_products == taken
    wanted, whole = plx.linalg.solve(inner, start, max_products=taken, progress=False)
    assert int(whole.num_products) == taken
    np.testing.assert_array_equal(pairs.values, wanted.values)


@pytest.mark.parametrize("m", [30, 50, 80])
def test_exact_is_the_dense_decomposition(rng, m):
    operator, matrix = make(rng, np.linspace(2, 0.2, 50), m=m)
    pairs, jacobian = plx.linalg.exact(operator)
    np.testing.assert_allclose(jacobian, matrix, atol=1e-6)
    check_pairs(pairs, matrix, rtol=1e-6)
    assert pairs.null_dimension == max(50 - m, 0)
    some, _ = plx.linalg.exact(operator, k=2)
    assert some.indices.tolist() == [0, 1, 48, 49]
    np.testing.assert_allclose(some.values, pairs.values[some.indices], atol=1e-6)
    assert is_status(some.status["bottom"], "null_space" if m < 50 else "converged")


def test_exact_refuses_what_is_too_large():
    operator = plx.linalg.linearize(lambda x: x, jnp.ones(20_000))
    with pytest.raises(ValueError, match="block_lanczos"):
        plx.linalg.exact(operator)


@pytest.mark.parametrize("which", ["top", "bottom"])
def test_one_end_costs_no_more_than_both(rng, which):
    operator, _ = make(rng, np.geomspace(1, 0.1, 100))
    one, both = run(operator, 2, which=which), run(operator, 2)
    end = slice(0, 2) if which == "top" else slice(2, 4)
    np.testing.assert_allclose(one.values, both.values[end], rtol=0.05)
    assert one.num_products <= both.num_products
    assert [status is None for status in one.status.values()] == [which != "top", which == "top"]


def test_the_bottom_alone_learns_the_largest_eigenvalue(rng):
    # Orthogonal noise hardly contains the one direction that is seen, and all others are null.
    operator, matrix = make(rng, np.concatenate([[1.0], np.zeros(99)]))
    pairs = run(operator, 2, which="bottom")
    assert pairs.floor == pytest.approx((16 * np.finfo(np.float32).eps) ** 2, rel=0.2)
    assert is_status(pairs.status["bottom"], "null_space")


def test_power_is_plenoptics_iteration(rng):
    singular = np.concatenate([[2.0, 1.5], np.linspace(1.2, 0.8, 20), [0.3]])
    operator, matrix = make(rng, singular)
    solver = plx.linalg.Power(operator)
    pairs, state = plx.linalg.solve(solver, solver.init(key=jax.random.key(0)), progress=False)
    check_pairs(pairs, matrix, rtol=1e-4)
    assert state.is_done.all()
    solver = plx.linalg.Power(operator, max_iter=3)
    pairs, state = plx.linalg.solve(solver, solver.init(key=jax.random.key(0)), progress=False)
    assert int(state.num_products) == 2 * 3 + 2
    assert is_status(pairs.status["top"], "product_limit")


def test_randomized_svd_agrees_with_exact(rng):
    operator, matrix = make(rng, np.concatenate([[3.0, 2.0, 1.5], np.geomspace(0.5, 0.01, 60)]))
    pairs, error = plx.linalg.randomized_svd(operator, 3, key=jax.random.key(2))
    check_pairs(pairs, matrix, rtol=1e-5)
    assert 0 < error < 1


def test_randomized_svd_is_right_where_the_range_is_smaller_than_the_block(rng):
    operator, _ = make(rng, np.concatenate([[3.0, 2.0, 1.0], np.zeros(97)]))
    pairs, error = plx.linalg.randomized_svd(operator, 3, key=jax.random.key(2), p=5)
    np.testing.assert_allclose(pairs.values, [9, 4, 1], rtol=1e-4)
    assert error < 1e-3


def test_wrong_arguments_are_refused(rng):
    operator, _ = make(rng, np.ones(4))
    with pytest.raises(ValueError, match="must be at most 4"):
        plx.linalg.BlockLanczos(operator, 3)


def test_power_goes_on_with_a_higher_limit(rng):
    operator, matrix = make(rng, np.concatenate([[2.0], np.linspace(1.2, 0.8, 20), [0.3]]))
    start = plx.linalg.Power(operator).init(key=jax.random.key(0))
    few, many = (plx.linalg.Power(operator, max_iter=limit) for limit in (4, 400))
    pairs, state = plx.linalg.solve(few, start, progress=False)
    assert state.num_steps.tolist() == [4, 4]
    assert is_status(pairs.status["top"], "product_limit")
    assert few.is_finished(state)
    assert not many.is_finished(state)
    pairs, state = plx.linalg.solve(many, state, progress=False)
    check_pairs(pairs, matrix, rtol=1e-4)
    assert is_status(pairs.status["top"], "converged")
    whole, whole_state = plx.linalg.solve(many, start, progress=False)
    # The top is iterated first, so that it does not matter that it was cut in two.
    assert state.num_steps[0] == whole_state.num_steps[0]
    np.testing.assert_array_equal(state.vectors[0], whole_state.vectors[0])
    np.testing.assert_allclose(pairs.values, whole.values, atol=1e-4)
