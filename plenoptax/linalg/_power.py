from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .._rules import checked, COUNT, NOT_NEGATIVE, STEPS
from .._types import Key
from ._eigenpairs import (
    are_resolved,
    bidiagonal_floor,
    Eigenpairs,
    EigenStatus,
    end_indices,
    end_status,
    measure,
)
from ._operator import compiled_with_operator, LinearMap
from ._orthogonal import fill_with_noise, orthonormal_rows, PRECISION


class PowerState(eqx.Module):
    """The state that the next step of ``Power`` needs; immutable, all leaves are arrays."""

    vectors: Float[Array, "2 k n"]
    values: Float[np.ndarray, "2 k"]
    products: Float[Array, "2 k n"]
    num_steps: Int[np.ndarray, "2"]
    num_products: np.ndarray
    residuals: Float[np.ndarray, " k"]
    is_done: Bool[np.ndarray, "2"]


@final
class Power(eqx.Module):
    """The block power method (orthogonal iteration) of plenoptic; ``init``, ``step``, ``finish``.

    The top is iterated first, then the bottom with F shifted by the largest eigenvalue. Both start
    from noise. (In plenoptic they start from F times noise, which has no component in the null
    space.) The iteration stops when the eigenvalues change by no more than `stop_criterion`, in
    absolute terms, or by no more than the rounding of the largest one. This says little about the
    vectors: they are ``converged`` if ``|F v - l v| <= 0.05 l``, else ``stagnated``.
    ``BlockLanczos`` needs far fewer products. A step takes one product with F, which serves both
    the eigenvalues and the next step.

    Attributes:
        operator: The map J.
        k: The number of eigenpairs at each end.
        max_iter: The maximum number of steps at each end.
        stop_criterion: The norm of the change of the eigenvalues at which to stop.

    References:
        Golub and Van Loan (2013), Matrix Computations, fourth edition, section 8.2.4.

    Example:
        >>> import jax, jax.numpy as jnp, plenoptax as plx
        >>> function = lambda x: jnp.asarray([3.0, 2.0, 1.0]) * x
        >>> solver = plx.linalg.Power(plx.linalg.linearize(function, jnp.ones(3)))
        >>> pairs, _ = plx.linalg.solve(solver, solver.init(key=jax.random.key(0)), progress=False)
        >>> pairs.values.round(3).tolist()
        [9.0, 1.0]
    """

    operator: LinearMap
    k: int = eqx.field(static=True, default=1, converter=COUNT.of("k"))
    max_iter: int = eqx.field(static=True, default=1000, converter=COUNT.of("max_iter"))
    stop_criterion: float = eqx.field(
        static=True, default=1e-7, converter=NOT_NEGATIVE.of("stop_criterion")
    )

    def init(self, *, key: Key) -> PowerState:
        """Return the state before the first step."""
        n, dtype = self.operator.input_size, self.operator.dtype
        drawn = jax.random.normal(key, (2, self.k, n), dtype)
        return PowerState(
            vectors=drawn / jnp.linalg.norm(drawn, axis=-1, keepdims=True),
            values=np.full((2, self.k), np.inf),
            products=jnp.zeros_like(drawn),
            num_steps=np.zeros(2, int),
            num_products=np.asarray(0),
            residuals=np.full(self.k, np.inf),
            is_done=np.asarray([False, False]),
        )

    def is_finished(self, state: PowerState) -> bool:
        """Return whether both ends have converged or reached the limit (a higher one continues)."""
        return not self._unfinished(state).any()

    def _unfinished(self, state: PowerState) -> Bool[np.ndarray, "2"]:
        finite = (state.num_steps == 0) | np.isfinite(state.values).all(axis=1)
        return ~state.is_done & (state.num_steps < self.max_iter) & finite

    def step(self, state: PowerState) -> PowerState:
        """Take one iteration at the current end of the spectrum."""
        end = int(np.argmax(self._unfinished(state)))
        first = state.num_steps[end] == 0
        shift = float(state.values[0, 0]) if end else 0.0
        vectors, products, values = _iterate(
            self.operator,
            state.vectors[end],
            None if first else state.products[end],
            jnp.asarray(shift, self.operator.dtype),
        )
        values = np.asarray(values, np.float64)
        # The first change is from infinity, and a product may be infinite, too.
        with np.errstate(invalid="ignore"):
            change = np.linalg.norm(values - state.values[end])
        is_done = state.is_done.copy()
        rounding = float(jnp.finfo(self.operator.dtype).eps) * max(values[0], shift)
        is_done[end] = change <= max(self.stop_criterion, rounding)
        num_steps, all_values = state.num_steps.copy(), state.values.copy()
        num_steps[end] += 1
        all_values[end] = values
        return PowerState(
            vectors=state.vectors.at[end].set(vectors),
            values=all_values,
            products=state.products.at[end].set(products),
            num_steps=num_steps,
            num_products=np.asarray(state.num_products + self.k * (2 if first else 1)),
            residuals=np.full(self.k, change),
            is_done=is_done,
        )

    def finish(self, state: PowerState) -> Eigenpairs:
        """Return the eigenpairs of a state."""
        n = self.operator.input_size
        vectors = state.vectors.reshape(-1, n)
        values, norms = measure(self.operator, vectors)
        order = (np.argsort(-values.reshape(2, -1)) + [[0], [self.k]]).ravel()
        floor = bidiagonal_floor(values.max(), self.operator.dtype)
        values, norms = values[order], norms[order]
        status: dict[str, Any] = {}
        num_null = n - self.operator.output_size
        for i, end in enumerate(("top", "bottom")):
            part = slice(i * self.k, (i + 1) * self.k)
            # A top that has not settled must meet the tolerance of the other methods.
            rtol = 0.05 if end == "bottom" or state.is_done[i] else 1e-4
            status[end] = end_status(
                values[part],
                floor,
                is_proven=are_resolved(values[part], norms[part], floor, i * num_null, rtol=rtol),
                otherwise=EigenStatus.stagnated if state.is_done[i] else EigenStatus.product_limit,
            )
        return Eigenpairs(
            values,
            vectors[order],
            norms / max(values.max(), np.finfo(float).tiny),
            end_indices(self.k, n),
            floor,
            max(int(np.sum(values[self.k :] <= floor)), num_null),
            int(state.num_products),
            status,
        )


@compiled_with_operator
def _iterate(
    operator: LinearMap, vectors: Array, products: Array | None, shift: Array
) -> tuple[Array, Array, Array]:
    products = operator.fisher(vectors) if products is None else products
    # If the map only scales a vector, the shift leaves nothing but rounding, which noise can
    # replace.
    rounding = 8 * jnp.finfo(shift.dtype).eps * shift
    rows, _ = orthonormal_rows(products - shift * vectors, rounding)
    vectors = fill_with_noise(rows, jax.random.key(0))
    products = operator.fisher(vectors)
    return vectors, products, jnp.sum(vectors * products, axis=1)


@compiled_with_operator
def _orthonormal_products(operator: LinearMap, rows: Float[Array, "b n"]) -> Float[Array, "b n"]:
    return orthonormal_rows(operator.fisher(rows))[0]


@checked(k=COUNT, p=STEPS, q=STEPS)
def randomized_svd(
    operator: LinearMap, k: int = 1, *, key: Key, p: int = 5, q: int = 2
) -> tuple[Eigenpairs, float]:
    """Compute the largest eigenvalues from the range of F, found with noise.

    Args:
        operator: The map J.
        k: The number of eigenpairs.
        key: Draws the noise.
        p: The number of extra directions to draw.
        q: The number of further products, which sharpen the spectrum. The directions are
            orthogonalized between them.

    Returns:
        The eigenpairs, and an estimate of the error: for 20 random vectors, the mean length of the
        part of their product with F that is outside the range.

    References:
        Halko, Martinsson and Tropp (2011), SIAM Review 53, 217-288.

    Example:
        >>> import jax, jax.numpy as jnp, plenoptax as plx
        >>> operator = plx.linalg.linearize(lambda x: jnp.arange(20.0) * x, jnp.ones(20))
        >>> pairs, error = plx.linalg.randomized_svd(operator, key=jax.random.key(0), p=19)
        >>> pairs.values.round().tolist(), error < 0.1
        ([361.0], True)
    """
    n, dtype = operator.input_size, operator.dtype
    first, second = jax.random.split(key)
    width = min(k + p, n)
    rows = jax.random.normal(first, (width, n), dtype)
    for _ in range(q + 1):
        rows = _orthonormal_products(operator, rows)
    rows = fill_with_noise(rows, second)
    small = jnp.matmul(operator(rows), operator(rows).T, precision=PRECISION)
    _, mixing = jnp.linalg.eigh(small)
    vectors = jnp.matmul(mixing.T[::-1][:k], rows, precision=PRECISION)
    values, norms = measure(operator, vectors)
    probes = operator.fisher(jax.random.normal(second, (20, n), dtype))
    inside = jnp.matmul(probes, rows.T, precision=PRECISION)
    outside = probes - jnp.matmul(inside, rows, precision=PRECISION)
    largest = max(values[0], np.finfo(float).tiny)
    floor = bidiagonal_floor(largest, dtype)
    is_good = bool(np.all(norms <= 1e-4 * largest))
    top = end_status(values, floor, is_proven=is_good, otherwise=EigenStatus.unproven)
    pairs = Eigenpairs(
        values,
        vectors,
        norms / largest,
        np.arange(len(values)),
        floor,
        max(n - operator.output_size, 0),
        width * (q + 2),
        {"top": top, "bottom": None},
    )
    return pairs, float(jnp.mean(jnp.linalg.norm(outside, axis=1)))
