from collections.abc import Callable
from typing import Any, final, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._rules import checked, COUNT, POSITIVE
from .._types import Key
from ._eigenpairs import (
    are_resolved,
    bidiagonal_floor,
    dense_ends,
    Eigenpairs,
    EigenStatus,
    end_indices,
    end_status,
    fits_densely,
    measure,
)
from ._lanczos_state import (
    decompose,
    extend,
    fill,
    LanczosState,
    pad_rows,
    pair_residuals,
    replace_fields,
    rotate,
)
from ._operator import LinearMap


_TINY = float(np.finfo(np.float64).tiny)


@final
class BlockLanczos(eqx.Module):
    """Solver for both ends of the spectrum of ``F = J^T J``, by products with J and ``J^T``.

    This is the two-sided (Golub-Kahan) form of block Lanczos. It keeps an orthonormal basis of
    directions and one of their images, with full reorthogonalization, so it finds the singular
    values of J without squaring its condition number. The next block consists of the residuals of
    the best pairs at each end that have not converged. A direction that has become dependent is
    redrawn, so multiple eigenvalues and null spaces are found. When the bases are full, it restarts
    with the best half of them (thick restart). A preconditioner makes it a Davidson method at the
    bottom, where eigenvalues are clustered and Lanczos converges very slowly.

    ``init``, ``step`` and ``finish`` are pure. A Python loop calls ``step``, which multiplies one
    block by J and by ``J^T``: the loop can be interrupted, and no convolution is inside a compiled
    loop.

    The top is accepted if ``|F v - l v| <= rtol l_max``. The bottom waits until l_max is known (to
    a tenth, if the top is not searched). It is accepted if an eigenvalue is below the floor ``(16
    eps)^2 l_max``, or if ``|F v - l v| <= 0.025 l``, so that a true eigenvalue is within 2.5 %. It
    is also accepted, as ``stagnated``, if it fell by less than 2.5 % while the number of products
    doubled, to at least 256. A search with as many products as there are directions (or responses,
    if these are fewer) has cost as much as the matrix of J. It then ends with that matrix, if it
    fits into memory (``2**28`` elements), and its pairs are exact.

    Attributes:
        operator: The map J.
        k: The number of eigenpairs at each end.
        which: ``"top"``, ``"bottom"`` or ``"both"``.
        rtol: The tolerance of the top.
        preconditioner: A function from a block of residuals to directions, an approximate inverse
            of F. Used for the bottom. By default None.
        block_size: The number of directions that a step adds.
        capacity: The maximum number of directions kept.

    References:
        Golub and Kahan (1965), SIAM Journal on Numerical Analysis 2, 205-224; Wu and Stathopoulos
        (2015), SIAM Journal on Scientific Computing 37, S365-S388.

    Example:
        >>> import jax, jax.numpy as jnp, plenoptax as plx
        >>> operator = plx.linalg.linearize(lambda x: jnp.arange(40.0) * x, jnp.ones(40))
        >>> solver = plx.linalg.BlockLanczos(operator, 2)
        >>> state = solver.init(key=jax.random.key(0))
        >>> pairs, state = plx.linalg.solve(solver, state, progress=False)
        >>> pairs.values.round().tolist()
        [1521.0, 1444.0, 1.0, 0.0]
    """

    operator: LinearMap
    k: int = eqx.field(static=True)
    which: Literal["top", "bottom", "both"] = eqx.field(static=True)
    rtol: float = eqx.field(static=True)
    preconditioner: Callable | None
    block_size: int = eqx.field(static=True)
    capacity: int = eqx.field(static=True)

    @checked(k=COUNT, rtol=POSITIVE, block_size=COUNT, capacity=COUNT)
    def __init__(
        self,
        operator: LinearMap,
        k: int = 1,
        which: Literal["top", "bottom", "both"] = "both",
        *,
        rtol: float = 1e-4,
        preconditioner: Callable | None = None,
        block_size: int | None = None,
        capacity: int | None = None,
    ):
        """Set the attributes.

        Args:
            operator: The map J.
            k: The number of eigenpairs at each end.
            which: ``"top"``, ``"bottom"`` or ``"both"``.
            rtol: The tolerance of the top.
            preconditioner: An approximate inverse of F, for the bottom; see above.
            block_size: The number of directions per step, by default one for each pair, and at
                least 6.
            capacity: The maximum number of directions kept, by default 128, more if the block is
                large.

        Raises:
            ValueError: If there are fewer than ``2 k`` dimensions, or `which` is unknown.
        """
        if which not in ("top", "bottom", "both"):
            raise ValueError(f"which must be 'top', 'bottom' or 'both', got {which!r}.")
        n = operator.input_size
        num_wanted = k * (2 if which == "both" else 1)
        if not 1 <= num_wanted <= n:
            raise ValueError(
                f"The number of eigenvectors must be at most {n}, got k={k} with which={which!r}. "
                "Give a smaller k."
            )
        self.operator = operator
        self.k = k
        self.which = which
        self.rtol = rtol
        self.preconditioner = preconditioner
        self.block_size = min(max(num_wanted, block_size or 6), n)
        self.capacity = min(max(capacity or 128, 4 * self.block_size), n)

    def init(self, *, key: Key, start: Callable | None = None) -> LanczosState:
        """Return the state before the first step.

        Args:
            key: Draws the first directions, and those that replace dependent ones.
            start: A function from the first block of directions to additional directions to search,
                such as guesses of the eigenvectors.
        """
        n, dtype = self.operator.input_size, self.operator.dtype
        key, subkey = jax.random.split(key)
        noise = jax.random.normal(subkey, (self.block_size, n), dtype)
        block = noise if start is None else jnp.concatenate([noise, start(noise).astype(dtype)])
        block = block[: self.capacity]
        return LanczosState(
            basis=jnp.zeros((self.capacity, n), dtype),
            images=jnp.zeros((self.capacity, self.operator.output_size), dtype),
            coefficients=np.zeros((self.capacity, self.capacity)),
            size=np.asarray(0),
            block=block,
            noise=noise,
            key=jax.random.key_data(key),
            num_products=np.asarray(0),
            largest=np.asarray(0.0),
            residuals=np.full((2, self.k), np.inf),
            is_done=np.asarray([False, self.which == "top"]),
            is_finite=np.asarray(True),
            rank=np.asarray(-1),
            earlier=np.full(self.k, np.inf),
            earlier_products=np.asarray(1),
        )

    def is_finished(self, state: LanczosState) -> bool:
        """Return whether both ends are done, or a product was not finite."""
        return bool(state.is_done.all()) or not state.is_finite

    def step(self, state: LanczosState) -> LanczosState:
        """Add a block of directions and choose the next; end with the matrix once that is cheaper.

        Ending takes as many products as there are directions or, if fewer, responses.
        """
        n = self.operator.input_size
        if state.num_products >= self._width and fits_densely(self.operator):
            return self._end_densely(state)
        count = min(len(state.block), self.block_size, n - int(state.size))
        if state.size + count > self.capacity:
            state = self._restart(state)
        size = int(state.size)
        key, subkey = jax.random.split(jax.random.wrap_key_data(state.key))
        basis, images, columns, corner = extend(
            self.operator,
            state.basis,
            state.images,
            state.block[:count],
            jnp.asarray(size),
            subkey,
            jnp.asarray(jnp.finfo(self.operator.dtype).eps * state.largest, self.operator.dtype),
        )
        coefficients = state.coefficients.copy()
        coefficients[:, size : size + count] = np.asarray(columns).T
        coefficients[size : size + count, size : size + count] += np.asarray(corner).T
        changes = dict(
            num_products=np.asarray(state.num_products + count), key=jax.random.key_data(key)
        )
        if not np.all(np.isfinite(coefficients)):
            return replace_fields(state, is_finite=np.asarray(False), **changes)
        state = replace_fields(
            state,
            basis=basis,
            images=images,
            coefficients=coefficients,
            size=np.asarray(size + count),
            **changes,
        )
        if len(state.block) > count and state.size < n:
            return replace_fields(state, block=state.block[count:])
        return self._choose(state)

    @property
    def _width(self) -> int:
        """The number of products that form the matrix of the map."""
        return min(self.operator.input_size, self.operator.output_size)

    def _end_densely(self, state: LanczosState) -> LanczosState:
        """Compute both ends of the spectrum from the matrix of the map; return them as a state."""
        changes = dict(num_products=np.asarray(state.num_products + self._width))
        found = dense_ends(self.operator, self.k, state.noise)
        if found is None:
            return replace_fields(state, is_finite=np.asarray(False), **changes)
        right, left, singular, rank = found
        dtype = self.operator.dtype
        return replace_fields(
            state,
            basis=pad_rows(right, self.capacity, dtype),
            images=pad_rows(left, self.capacity, dtype),
            coefficients=np.diag(fill(singular, self.capacity, 0.0)),
            size=np.asarray(len(right)),
            largest=np.asarray(singular[0]),
            residuals=np.zeros((2, self.k)),
            is_done=np.ones(2, bool),
            rank=np.asarray(rank),
            **changes,
        )

    def _choose(self, state: LanczosState) -> LanczosState:
        """Judge the pairs at each end; residuals of the best unfinished ones are the next block."""
        left, singular, right = decompose(state)
        largest = max(float(state.largest), singular[0])
        size, epsilon = len(singular), float(jnp.finfo(self.operator.dtype).eps)
        is_null = singular <= 16 * epsilon * largest
        targets, num_top = self._targets(state, is_null)
        new, norms = pair_residuals(
            self.operator,
            state.basis,
            state.images,
            pad_rows(left[:, targets], self.capacity, self.operator.dtype),
            pad_rows(right[:, targets], self.capacity, self.operator.dtype),
            jnp.asarray(singular[targets], self.operator.dtype),
        )
        # The residual norms of F.
        of_pair = dict(zip(targets, np.asarray(norms) * singular[targets], strict=True))
        wanted = min(self.k, size)
        top = np.asarray([of_pair.get(i, np.inf) for i in range(wanted)])
        bottom = np.asarray([of_pair.get(size - 1 - i, np.inf) for i in range(wanted)])
        lowest = singular[::-1][:wanted] ** 2
        is_done = state.is_done.copy()
        # The largest eigenvalue must be known before an eigenvalue can count as small.
        enough = (
            top[:1] <= 0.1 * largest**2 if self.which == "bottom" else top <= self.rtol * largest**2
        )
        is_done[0] |= bool(np.all(enough)) and wanted == self.k
        settled = is_null[::-1][:wanted] | (bottom <= 0.025 * lowest)
        earlier, earlier_products = state.earlier, state.earlier_products
        if state.num_products >= 2 * earlier_products and wanted == self.k:
            settled |= (lowest >= 0.975 * earlier) & (state.num_products >= 256)
            earlier, earlier_products = lowest, state.num_products
        is_done[1] |= bool(settled.all()) and wanted == self.k and is_done[0]
        rank = state.rank
        if size == self.operator.input_size:
            is_done[:], rank = True, np.asarray(size - int(is_null.sum()))
        if self.preconditioner is not None and num_top < len(targets):
            new = jnp.concatenate([new[:num_top], self.preconditioner(new[num_top:])])
        return replace_fields(
            state,
            block=new,
            largest=np.asarray(largest),
            residuals=np.stack([fill(top, self.k), fill(bottom, self.k)]) / max(largest**2, _TINY),
            is_done=is_done,
            rank=rank,
            earlier=earlier,
            earlier_products=np.asarray(earlier_products),
        )

    def _targets(self, state: LanczosState, is_null: np.ndarray) -> tuple[np.ndarray, int]:
        """Return the pairs to continue with, those of the top first, and how many top pairs."""
        size, (no_top, no_bottom) = len(is_null), state.is_done
        width = min(self.block_size, size)
        num_top = 0 if no_top else width if no_bottom else width // 2
        upward = np.flatnonzero(~is_null)[::-1]
        # A pair below the floor is settled; its remaining value is rounding.
        upward = np.concatenate([upward, np.flatnonzero(is_null)])
        if (~is_null).sum() < width:
            upward = np.arange(size)[::-1]
        bottom = [i for i in upward if i >= num_top][: width - num_top]
        return np.asarray([*range(num_top), *bottom]), num_top

    def _restart(self, state: LanczosState) -> LanczosState:
        left, singular, right = decompose(state)
        size = len(singular)
        half = max(self.capacity // 2 - self.block_size, 2 * self.k)
        no_top, no_bottom = state.is_done
        num_top = self.k if no_top and self.which != "bottom" else half // 2
        num_top = 1 if self.which == "bottom" else half - self.k if no_bottom else num_top
        kept = np.r_[0:num_top, size - (half - num_top) : size]
        dtype = self.operator.dtype
        return replace_fields(
            state,
            basis=rotate(state.basis, pad_rows(right[:, kept], self.capacity, dtype)),
            images=rotate(state.images, pad_rows(left[:, kept], self.capacity, dtype)),
            coefficients=np.diag(fill(singular[kept], self.capacity, 0.0)),
            size=np.asarray(len(kept)),
        )

    def finish(self, state: LanczosState) -> Eigenpairs:
        """Return the eigenpairs of a state.

        The vectors of a null space are projections onto it of the first directions drawn with the
        key; the last vector is that of the first direction.
        """
        _, singular, right = decompose(state)
        n, size = self.operator.input_size, len(singular)
        largest = max([float(state.largest), *singular[:1]]) ** 2
        floor = bidiagonal_floor(largest, self.operator.dtype)
        num_null = int(np.sum(singular**2 <= floor))
        if num_null > 1:
            null = right[:, size - num_null :]
            drawn = np.asarray(state.noise[: min(self.k, num_null)] @ state.basis[:size].T, float)
            members = np.linalg.qr(null.T @ drawn.T, mode="complete")[0][:, ::-1]
            right = np.concatenate([right[:, : size - num_null], null @ members], axis=1)
        wanted = min(self.k, size)
        chosen = end_indices(wanted, size, self.which)
        mixing = pad_rows(right[:, chosen], len(state.basis), state.basis.dtype)
        vectors = rotate(state.basis, mixing)[: len(chosen)]
        values, norms = measure(self.operator, vectors)
        num_null = max(num_null, n - self.operator.output_size)
        return Eigenpairs(
            values,
            vectors,
            norms / max(largest, _TINY),
            end_indices(wanted, n, self.which),
            floor,
            num_null if state.rank < 0 else n - int(state.rank),
            int(state.num_products),
            self._status(state, values, norms, singular[chosen] ** 2, largest),
        )

    def _status(
        self,
        state: LanczosState,
        values: np.ndarray,
        norms: np.ndarray,
        exact: np.ndarray,
        largest: float,
    ) -> dict[str, Any]:
        floor = bidiagonal_floor(largest, self.operator.dtype)
        is_exact = bool(state.rank >= 0)
        if is_exact:
            # Rounding may leave the measured value of a null vector above the floor.
            values = np.minimum(values, exact)
        top, bottom = slice(self.k), slice(-self.k, None)
        num_null = self.operator.input_size - self.operator.output_size
        is_resolved = are_resolved(values[bottom], norms[bottom], floor, num_null)
        # No eigenvalue counts as small until the largest eigenvalue is known.
        limit, is_done = EigenStatus.product_limit, state.is_done
        is_known = (
            is_done[0] or state.residuals[0, 0] <= 0.1 or bool(np.all(values[bottom] <= floor))
        )
        ends = {
            "top": end_status(
                values[top],
                floor,
                is_proven=bool(is_done[0] or np.all(norms[top] <= self.rtol * largest)),
                otherwise=limit,
            ),
            "bottom": end_status(
                values[bottom],
                floor,
                is_proven=bool(is_exact or (is_known and is_resolved)),
                otherwise=EigenStatus.stagnated if is_done[1] else limit,
            ),
        }
        if not state.is_finite:
            ends = dict.fromkeys(ends, EigenStatus.nonfinite)
        return {end: ends[end] if self.which in ("both", end) else None for end in ends}
