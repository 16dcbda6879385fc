"""What an end of a spectrum is called, where the directions are exhausted or a rank is small."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx

from .test_eigensolvers import is_status, make


SPECTRA = {"clustered": np.geomspace(1, 1e-4, 100), "null": np.r_[np.geomspace(1, 1e-5, 98), 0, 0]}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_exhausted_directions_end_with_exact_pairs(rng, x64, dtype, name):
    operator, _ = make(rng, SPECTRA[name], dtype=dtype)
    _, singular, rows = np.linalg.svd(np.asarray(operator.dense(), np.float64))
    solver = plx.linalg.BlockLanczos(operator, 2, capacity=40)
    state = solver.init(key=jax.random.key(3))
    draws = np.asarray(state.noise, np.float64)
    pairs, state = plx.linalg.solve(solver, state, progress=False)
    assert pairs.num_products <= 2 * 100 + solver.block_size
    assert is_status(pairs.status["top"], "converged")
    assert is_status(pairs.status["bottom"], "null_space" if name == "null" else "converged")
    assert pairs.null_dimension == (2 if name == "null" else 0)
    vectors, epsilon = np.asarray(pairs.vectors, np.float64), float(jnp.finfo(dtype).eps)
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
