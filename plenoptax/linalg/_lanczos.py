from collections.abc import Callable
from typing import Any, final, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._rules import checked, COUNT, POSITIVE
from .._types import Key
from ._eigenpairs import bidiagonal_floor, Eigenpairs, EigenStatus, measure
from ._operator import compiled_with_operator, LinearMap
from ._orthogonal import orthonormal_rows, PRECISION, project


_TINY = float(np.finfo(np.float64).tiny)


class LanczosState(eqx.Module):
    """What the next step of ``BlockLanczos`` needs; immutable, all its leaves are arrays.

    ``J basis = images coefficients`` holds, both with orthonormal rows (rows that are not in use
    yet, and images of vectors that add no new direction, are zero).
    """

    basis: Float[Array, "capacity n"]
    images: Float[Array, "capacity m"]
    coefficients: Float[np.ndarray, "capacity capacity"]
    size: np.ndarray
    block: Float[Array, "b n"]
    noise: Float[Array, "noises n"]
    key: Array
    num_products: np.ndarray
    largest: np.ndarray
    residuals: Float[np.ndarray, "2 k"]
    is_done: np.ndarray
    is_finite: np.ndarray
    earlier: Float[np.ndarray, " k"]
    earlier_products: np.ndarray


@final
class BlockLanczos(eqx.Module):
    """Both ends of the spectrum of ``F = J^T J`` from products with J and its transpose alone.

    The two-sided (Golub-Kahan) form of block Lanczos: an orthonormal basis of directions and one
    of their images are kept, with full reorthogonalization, so that the singular values of J are
    found without squaring its condition number. It goes on with the residuals of the best pairs at
    either end that have not converged; a direction that has become dependent is redrawn, so that
    multiple eigenvalues and null spaces are found; and when the bases are full it restarts with the
    best half of them (thick restart). A preconditioner makes it a Davidson method at the bottom,
    where eigenvalues are clustered and Lanczos hardly moves.

    ``init``, ``step`` and ``finish`` are pure. A Python loop calls ``step``, one product of either
    kind with a block: it can be interrupted, and no convolution sits in a compiled loop.

    The top is accepted when ``|F v - l v| <= rtol l_max``. The bottom waits until l_max is known
    (to a tenth, if the top is not sought), and is accepted when an eigenvalue is below the floor
    ``(16 eps)^2 l_max``, when ``|F v - l v| <= 0.025 l`` (so that one lies within 2.5 % of it), or
    when it lost under 2.5 % while the products doubled, to 256 at least: it is ``stagnated`` then.

    Attributes:
        operator: The map J.
        k: How many eigenpairs at either end.
        which: ``"top"``, ``"bottom"`` or ``"both"``.
        rtol: The tolerance of the top.
        preconditioner: From a block of residuals to directions: about the inverse of F. Used for
            the bottom. By default none.
        block_size: How many directions a step adds.
        capacity: How many directions are kept at most.

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
            operator: See above.
            k: See above.
            which: See above.
            rtol: See above.
            preconditioner: See above.
            block_size: By default one for each pair sought, and at least 6.
            capacity: By default 128, more if the block is large.

        Raises:
            ValueError: If there are fewer than ``2 k`` dimensions, or `which` is unknown.
        """
        if which not in ("top", "bottom", "both"):
            raise ValueError(f"which is 'top', 'bottom' or 'both'; got {which!r}.")
        n = operator.input_size
        num_wanted = k * (2 if which == "both" else 1)
        if not 1 <= num_wanted <= n:
            raise ValueError(
                f"There are {n} eigenvectors; k={k} with which={which!r} asks for more."
            )
        self.operator = operator
        self.k = k
        self.which = which
        self.rtol = rtol
        self.preconditioner = preconditioner
        self.block_size = min(max(num_wanted, block_size or 6), n)
        self.capacity = min(max(capacity or 128, 4 * self.block_size), n)

    def init(self, *, key: Key, start: Callable | None = None) -> LanczosState:
        """The state before the first step.

        Args:
            key: Draws the first directions, and those that replace dependent ones.
            start: From the first directions, a block, to more of them to search besides, such as
                guesses of the eigenvectors.
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
            earlier=np.full(self.k, np.inf),
            earlier_products=np.asarray(1),
        )

    def is_finished(self, state: LanczosState) -> bool:
        """Whether both ends are done, or nothing finite can come."""
        return bool(state.is_done.all()) or not state.is_finite

    def step(self, state: LanczosState) -> LanczosState:
        """Add a block of directions, and choose the next one."""
        n = self.operator.input_size
        count = min(len(state.block), self.block_size, n - int(state.size))
        if state.size + count > self.capacity:
            state = self._restart(state)
        size = int(state.size)
        key, subkey = jax.random.split(jax.random.wrap_key_data(state.key))
        basis, images, columns, corner = _extend(
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
            return _replace(state, is_finite=np.asarray(False), **changes)
        state = _replace(
            state,
            basis=basis,
            images=images,
            coefficients=coefficients,
            size=np.asarray(size + count),
            **changes,
        )
        if len(state.block) > count and state.size < n:
            return _replace(state, block=state.block[count:])
        return self._choose(state)

    def _choose(self, state: LanczosState) -> LanczosState:
        """Judge the pairs at either end; the residuals of the best unfinished ones come next."""
        left, singular, right = _decompose(state)
        largest = max(float(state.largest), singular[0])
        size, epsilon = len(singular), float(jnp.finfo(self.operator.dtype).eps)
        is_null = singular <= 16 * epsilon * largest
        targets, num_top = self._targets(state, is_null)
        new, norms = _residuals(
            self.operator,
            state.basis,
            state.images,
            _pad(left[:, targets], self.capacity, self.operator.dtype),
            _pad(right[:, targets], self.capacity, self.operator.dtype),
            jnp.asarray(singular[targets], self.operator.dtype),
        )
        # Of F, as fractions of the largest eigenvalue.
        of_pair = dict(zip(targets, np.asarray(norms) * singular[targets], strict=True))
        wanted = min(self.k, size)
        top = np.asarray([of_pair.get(i, np.inf) for i in range(wanted)])
        bottom = np.asarray([of_pair.get(size - 1 - i, np.inf) for i in range(wanted)])
        lowest = singular[::-1][:wanted] ** 2
        is_done = state.is_done.copy()
        # The largest eigenvalue must be known before anything can be called small.
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
        if size == self.operator.input_size:
            is_done[:] = True
        if self.preconditioner is not None and num_top < len(targets):
            new = jnp.concatenate([new[:num_top], self.preconditioner(new[num_top:])])
        return _replace(
            state,
            block=new,
            largest=np.asarray(largest),
            residuals=np.stack([_fill(top, self.k), _fill(bottom, self.k)])
            / max(largest**2, _TINY),
            is_done=is_done,
            earlier=earlier,
            earlier_products=np.asarray(earlier_products),
        )

    def _targets(self, state: LanczosState, is_null: np.ndarray) -> tuple[np.ndarray, int]:
        """The pairs to go on with, those of the top first, and how many those are."""
        size, (no_top, no_bottom) = len(is_null), state.is_done
        width = min(self.block_size, size)
        num_top = 0 if no_top else width if no_bottom else width // 2
        upward = np.flatnonzero(~is_null)[::-1]
        # A pair below the floor is settled; what is left of it is rounding.
        upward = np.concatenate([upward, np.flatnonzero(is_null)])
        if (~is_null).sum() < width:
            upward = np.arange(size)[::-1]
        bottom = [i for i in upward if i >= num_top][: width - num_top]
        return np.asarray([*range(num_top), *bottom]), num_top

    def _restart(self, state: LanczosState) -> LanczosState:
        left, singular, right = _decompose(state)
        size = len(singular)
        half = max(self.capacity // 2 - self.block_size, 2 * self.k)
        no_top, no_bottom = state.is_done
        num_top = self.k if no_top and self.which != "bottom" else half // 2
        num_top = 1 if self.which == "bottom" else half - self.k if no_bottom else num_top
        kept = np.r_[0:num_top, size - (half - num_top) : size]
        dtype = self.operator.dtype
        return _replace(
            state,
            basis=_rotate(state.basis, _pad(right[:, kept], self.capacity, dtype)),
            images=_rotate(state.images, _pad(left[:, kept], self.capacity, dtype)),
            coefficients=np.diag(_fill(singular[kept], self.capacity, 0.0)),
            size=np.asarray(len(kept)),
        )

    def finish(self, state: LanczosState) -> Eigenpairs:
        """The eigenpairs of a state.

        Of a null space the members given are the projections of the first directions drawn by the
        key, so that the last vector is that of the first of them.
        """
        _, singular, right = _decompose(state)
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
        top = np.arange(wanted) if self.which != "bottom" else np.arange(0)
        bottom = np.arange(size - wanted, size) if self.which != "top" else np.arange(0)
        chosen = np.concatenate([top, bottom])
        mixing = _pad(right[:, chosen], len(state.basis), state.basis.dtype)
        vectors = _rotate(state.basis, mixing)[: len(chosen)]
        values, norms = measure(self.operator, vectors)
        is_proven = (values <= floor) | (norms <= 0.05 * values) | (size == n)
        return Eigenpairs(
            values,
            vectors,
            norms / max(largest, _TINY),
            np.concatenate([top, bottom + n - size]),
            floor,
            max(num_null, n - self.operator.output_size),
            int(state.num_products),
            self._status(state, is_proven[-self.k :], values[-1:] <= floor),
        )

    def _status(
        self, state: LanczosState, is_proven: np.ndarray, is_null: np.ndarray
    ) -> dict[str, Any]:
        names = EigenStatus.product_limit, EigenStatus.converged
        top, bottom = (names[int(is_done)] for is_done in state.is_done)
        if state.is_done[1] and not is_proven.all():
            bottom = EigenStatus.stagnated
        # One that is left out counts among the pairs with the smallest value.
        if is_null.any():
            bottom = EigenStatus.null_space
        ends = {"top": top, "bottom": bottom}
        if not state.is_finite:
            ends = dict.fromkeys(ends, EigenStatus.nonfinite)
        return {end: ends[end] if self.which in ("both", end) else None for end in ends}


def _decompose(state: LanczosState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    size = int(state.size)
    left, singular, right = np.linalg.svd(state.coefficients[:size, :size])
    return left, singular, right.T


def _replace(state: LanczosState, **changes: Any) -> LanczosState:
    names = list(changes)
    return eqx.tree_at(lambda s: [getattr(s, x) for x in names], state, list(changes.values()))


def _fill(values: np.ndarray, length: int, value: float = np.inf) -> np.ndarray:
    return np.pad(values, (0, length - len(values)), constant_values=value)


def _pad(columns: np.ndarray, capacity: int, dtype: jnp.dtype) -> Array:
    return jnp.asarray(np.pad(columns, ((0, capacity - len(columns)), (0, 0))), dtype)


@jax.jit
def _rotate(rows: Float[Array, "capacity n"], mixing: Float[Array, "capacity k"]) -> Array:
    rotated = jnp.matmul(mixing.T, rows, precision=PRECISION)
    return jnp.zeros_like(rows).at[: len(rotated)].set(rotated)


@compiled_with_operator
def _residuals(
    operator: LinearMap, basis: Array, images: Array, left: Array, right: Array, singular: Array
) -> tuple[Float[Array, "b n"], Float[Array, " b"]]:
    vectors = jnp.matmul(right.T, basis, precision=PRECISION)
    back = operator.transpose(jnp.matmul(left.T, images, precision=PRECISION))
    residuals = back - singular[:, None] * vectors
    return residuals, jnp.linalg.norm(residuals, axis=1)


@compiled_with_operator
def _extend(
    operator: LinearMap,
    basis: Float[Array, "capacity n"],
    images: Float[Array, "capacity m"],
    block: Float[Array, "b n"],
    size: Array,
    key: Key,
    negligible: Float[Array, ""],
) -> tuple[Array, Array, Array, Array]:
    """Append new directions to the basis, and what is new in their images to the images."""
    norms = jnp.linalg.norm(block, axis=1, keepdims=True)
    block = block / jnp.where(norms > 0, norms, 1)
    rows, weights = orthonormal_rows(block - project(basis, block)[1], 1e-4)
    drawn = jax.random.normal(key, rows.shape, rows.dtype)
    drawn = drawn / jnp.linalg.norm(drawn, axis=1, keepdims=True)
    rows = jnp.where(jnp.diag(weights)[:, None] > 0, rows, drawn)
    for _ in range(2):
        rows, _ = orthonormal_rows(rows - project(basis, rows)[1])
    products = operator(rows)
    columns, known = project(images, products)
    new, corner = orthonormal_rows(products - known, negligible)
    again, known = project(images, new)
    new, small = orthonormal_rows(new - known, 1e-2)
    columns = columns + jnp.matmul(corner, again, precision=PRECISION)
    corner = jnp.matmul(corner, small, precision=PRECISION)
    basis = jax.lax.dynamic_update_slice(basis, rows, (size, jnp.zeros_like(size)))
    images = jax.lax.dynamic_update_slice(images, new, (size, jnp.zeros_like(size)))
    return basis, images, columns, corner
