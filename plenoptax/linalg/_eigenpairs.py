from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .._rules import checked, COUNT
from .._safe import safe_divisor
from .._scale import power_of_two
from .._types import Key
from ._operator import compiled_with_operator, LinearMap


class EigenStatus(eqx.Enumeration):
    """The status of one end of a spectrum.

    Example:
        >>> import plenoptax as plx
        >>> plx.linalg.EigenStatus[plx.linalg.EigenStatus.product_limit]
        'The limit on products was reached; continue from the state.'
    """

    converged = "These are eigenvectors, to the accuracy that was asked for."
    stagnated = (
        "The eigenvalues have almost stopped changing. This does not prove them: they may be off "
        "by a few percent."
    )
    product_limit = "The limit on products was reached; continue from the state."
    unproven = (
        "The residuals are too large to prove these eigenpairs; use more directions (p), more "
        "products (q), or another method."
    )
    null_space = (
        "These vectors, or the last of them, are in the null space of the map in working "
        "precision; null vectors are not unique."
    )
    ridge_dominated = (
        "The ridge determines these ratios or directions: another ridge changes them. Report "
        "them with the ridge, or give a subspace that both models see."
    )
    nonfinite = "A product was infinite or NaN."


class Eigenpairs(NamedTuple):
    """Eigenvalues and eigenvectors of ``J^T J``, in descending order down to the rounding floor.

    Attributes:
        values: The eigenvalues, measured as ``|J v|^2``.
        vectors: The eigenvectors, one per row.
        residuals: ``|F v - l v| / l_max`` for each. For the smallest eigenvalues a small residual
            proves nothing: every vector with a small eigenvalue has one.
        indices: The indices of these among all eigenvalues, 0 for the largest.
        floor: The rounding floor: the eigenvalue below which a vector counts as null.
        null_dimension: The number of eigenvalues below the floor: exact for `exact`, otherwise a
            lower bound.
        num_products: The number of products with F that the search took.
        status: The `EigenStatus` of each end, or None for an end that was not searched.
    """

    values: Float[np.ndarray, " k"]
    vectors: Float[Array, "k n"]
    residuals: Float[np.ndarray, " k"]
    indices: np.ndarray
    floor: float
    null_dimension: int
    num_products: int
    status: dict[str, Any]


def measure(
    operator: LinearMap, vectors: Float[Array, "k n"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Measure eigenvalues as ``|J v|^2``, and the norms of ``F v - l v``."""
    scale, values, norms = (np.asarray(each, np.float64) for each in _measure(operator, vectors))
    return scale**2 * values, scale**2 * norms


@compiled_with_operator
def _measure(operator: LinearMap, vectors: Float[Array, "k n"]) -> tuple[Array, Array, Array]:
    # In units of the largest response, because squares of small responses would round to zero.
    products = operator(vectors)
    scale = power_of_two(jnp.max(jnp.abs(products), initial=0))
    products = products / scale
    values = jnp.sum(products**2, axis=1)
    residuals = operator.transpose(products) / scale - values[:, None] * vectors
    return scale, values, jnp.linalg.norm(residuals, axis=1)


def bidiagonal_floor(largest: float, dtype: jnp.dtype) -> float:
    """Return the rounding floor of eigenvalues when J, not F, is applied in working precision."""
    # Measured on front ends: rounding in products and bases leaves up to 10 eps of the largest
    # singular value.
    return float((16 * jnp.finfo(dtype).eps) ** 2 * largest)


def are_resolved(
    values: Float[np.ndarray, " k"],
    norms: Float[np.ndarray, " k"],
    floor: float,
    num_null: int = 0,
    *,
    rtol: float = 0.05,
) -> bool:
    """Return whether each vector is null, or its eigenvalue is proven to be near a true one.

    Args:
        values: The eigenvalues of one end, descending.
        norms: The norms of ``F v - l v``.
        floor: The rounding floor: the eigenvalue below which a vector counts as null.
        num_null: The number of eigenvalues known to be 0; that many of the last values must be
            null.
        rtol: The allowed distance, as a fraction of the eigenvalue.
    """
    is_null = values <= floor
    is_missed = ~is_null & (np.arange(len(values)) >= len(values) - num_null)
    return bool(np.all((is_null | (norms <= rtol * values)) & ~is_missed))


def end_status(
    values: Float[np.ndarray, " k"], floor: float, *, is_proven: bool, otherwise: EigenStatus
) -> EigenStatus:
    """Return the status of one end, by the proof of its pairs, not by what ended the search."""
    if not np.isfinite(values).all():
        return EigenStatus.nonfinite
    if not is_proven:
        return otherwise
    return EigenStatus.null_space if np.any(values <= floor) else EigenStatus.converged


def end_indices(k: int, n: int, which: str = "both") -> Int[np.ndarray, " ends"]:
    """Return the indices of the `k` largest and the `k` smallest of `n` descending eigenvalues."""
    return np.r_[: k * (which != "bottom"), n - k * (which != "top") : n]


def fits_densely(operator: LinearMap) -> bool:
    """Return whether the matrix of a map is small enough to be formed and decomposed."""
    sides = operator.input_size, operator.output_size
    return min(sides) <= 10_000 and sides[0] * sides[1] <= 2**28


def dense_ends(
    operator: LinearMap, k: int, noise: Float[Array, "noises n"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int] | None:
    """Compute the `k` largest and `k` smallest singular triplets from the matrix, and its rank.

    Right vectors of a null space are the projections of `noise` onto it. Return None if the matrix
    is not finite.
    """
    matrix = np.asarray(operator.dense(), np.float64)
    if not np.all(np.isfinite(matrix)):
        return None
    values, rows = _decompose(matrix, operator.dtype)
    rows = rows[values > bidiagonal_floor(values[0], operator.dtype)]
    rank, n = rows.shape
    # If the rank is less than k, both ends have null vectors, and no vector belongs to both.
    num_null = min(n - rank, max(k, 2 * k - rank))
    null = _null_members(rows, np.asarray(noise, np.float64)[:num_null])
    ends = np.concatenate([rows, null])
    right = ends[np.unique(np.r_[:k, max(len(ends) - k, 0) : len(ends)])]
    products = right @ matrix.T
    singular = np.linalg.norm(products, axis=1) * (np.arange(len(right)) < len(right) - len(null))
    left = np.where(singular[:, None] > 0, products, 0) / safe_divisor(singular)[:, None]
    return right, left, singular, rank


@checked(k=COUNT)
def exact(
    operator: LinearMap, *, k: int | None = None, which: str = "both", key: Key | None = None
) -> tuple[Eigenpairs, Float[Array, "m n"]]:
    """Compute all eigenpairs, or the `k` at each end, from the map as a matrix.

    The matrix is formed in the precision of the map and decomposed in float64. A float32 matrix is
    decomposed through ``J^T J``, or ``J J^T`` if there are fewer outputs than inputs. A float64
    matrix is decomposed itself, because squaring would lose half its digits.

    Args:
        operator: The map J.
        k: The number of eigenpairs at each end; by default all.
        which: ``"top"``, ``"bottom"`` or ``"both"``; without `k` all are found.
        key: Draws noise. Its projections onto the null space are the null vectors, the first draw
            for the last vector, the second for the one before it. By default key 0.

    Returns:
        The eigenpairs, and the matrix.

    Raises:
        ValueError: If the matrix would be too large.

    Example:
        >>> import jax.numpy as jnp, plenoptax as plx
        >>> operator = plx.linalg.linearize(lambda x: jnp.asarray([2.0, 1.0, 0.0]) * x, jnp.ones(3))
        >>> plx.linalg.exact(operator)[0].values.tolist()
        [4.0, 1.0, 0.0]
    """
    n, m = operator.input_size, operator.output_size
    if not fits_densely(operator) or (k is None and n > 10_000):
        raise ValueError(
            "The Jacobian must have at most 2**28 elements and a shorter side of at most 10000 "
            f"(without k also at most 10000 columns), got {m} x {n}. Use the method "
            "'block_lanczos', or a smaller image."
        )
    jacobian = operator.dense()
    matrix = np.asarray(jacobian, np.float64)
    if not np.all(np.isfinite(matrix)):
        raise ValueError(
            "The Jacobian must be finite, got infinite or NaN elements. Check the derivatives of "
            "the function at this point."
        )
    values, rows = _decompose(matrix, operator.dtype)
    # J was rounded once, in working precision; for float32, F is decomposed in float64.
    floor = float(jnp.finfo(operator.dtype).eps ** 2 * values[0])
    if _is_double(operator.dtype):
        floor = bidiagonal_floor(values[0], operator.dtype)
    rows = rows[values > floor]
    null_dimension = n - len(rows)
    wanted = n if k is None else min(k, n)
    chosen = np.arange(n) if k is None else end_indices(wanted, n, which)
    key = jax.random.key(0) if key is None else key
    missing = np.unique(chosen[chosen >= len(rows)])
    draw = np.asarray(jax.random.normal(key, (len(missing), n)), np.float64)
    null = dict(zip(missing, _null_members(rows, draw), strict=True))
    vectors = np.stack([rows[i] if i < len(rows) else null[i] for i in chosen])
    found = np.sum((vectors @ matrix.T) ** 2, axis=1)
    # Residuals of the returned vectors, which are rounded to the precision of the map.
    rounded = np.asarray(jnp.asarray(vectors, operator.dtype), np.float64)
    residuals = np.linalg.norm(rounded @ matrix.T @ matrix - found[:, None] * rounded, axis=1)
    ends: dict[str, Any] = {"top": EigenStatus.converged, "bottom": EigenStatus.converged}
    if null_dimension:
        ends["bottom"] = EigenStatus.null_space
    if len(rows) < (1 if k is None else wanted):
        ends["top"] = EigenStatus.null_space
    if which != "both" and k is not None:
        ends["bottom" if which == "top" else "top"] = None
    pairs = Eigenpairs(
        found,
        jnp.asarray(vectors, operator.dtype),
        residuals / max(values[0], np.finfo(float).tiny),
        chosen,
        floor,
        null_dimension,
        min(n, m),
        ends,
    )
    return pairs, jacobian


def _is_double(dtype: jnp.dtype) -> bool:
    return bool(jnp.finfo(dtype).eps <= np.finfo(np.float64).eps)


def _decompose(matrix: Float[np.ndarray, "m n"], dtype: jnp.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues of F in descending order, as many as the shorter side, and vectors."""
    if _is_double(dtype):
        _, singular, rows = np.linalg.svd(matrix, full_matrices=False)
        return singular**2, rows
    m, n = matrix.shape
    values, vectors = np.linalg.eigh(matrix.T @ matrix if n <= m else matrix @ matrix.T)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1].T
    if n <= m:
        return values, vectors
    if not values[0] > 0:
        return np.zeros(1), np.zeros((1, n))
    lifted = vectors @ matrix
    norms = np.linalg.norm(lifted, axis=1)
    # Lifting divides by the singular value, so vectors of small values lose their orthogonality.
    # The factorization restores it without changing vectors of large values.
    kept = norms**2 > 8 * np.finfo(float).eps * values[0]
    rows, mixing = np.linalg.qr((lifted[kept] / norms[kept, None]).T)
    return values[kept], (rows * np.sign(np.diag(mixing))).T


def _null_members(
    rows: Float[np.ndarray, "rank n"], draw: Float[np.ndarray, "count n"]
) -> np.ndarray:
    """Project noise onto the orthogonal complement of some rows; the first draw comes last."""
    draw = draw.T
    for _ in range(2):
        draw = draw - rows.T @ (rows @ draw)
    return np.linalg.qr(draw)[0].T[::-1]
