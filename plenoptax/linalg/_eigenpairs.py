from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._rules import checked, COUNT
from .._types import Key
from ._operator import compiled_with_operator, LinearMap


class EigenStatus(eqx.Enumeration):
    """How one end of a spectrum stands.

    Example:
        >>> import plenoptax as plx
        >>> plx.linalg.EigenStatus[plx.linalg.EigenStatus.null_space]
        'The map annihilates these vectors in working precision; they are not unique.'
    """

    converged = "These are eigenvectors, to the accuracy that was asked for."
    stagnated = (
        "The eigenvalues hardly fell any more, which does not prove them: they may be too high by "
        "some per cent."
    )
    product_limit = "The limit on products was reached first; go on from the state."
    null_space = "The map annihilates these vectors in working precision; they are not unique."
    nonfinite = "A product was infinite or not a number."


class Eigenpairs(NamedTuple):
    """Eigenvalues and eigenvectors of ``J^T J``, in descending order down to the floor.

    Attributes:
        values: The eigenvalues, measured as ``|J v|^2``.
        vectors: The eigenvectors, one a row.
        residuals: ``|F v - l v| / l_max`` of each. For the smallest eigenvalues this proves
            nothing: any vector of a small eigenvalue passes.
        indices: Which eigenvalues they are, 0 for the largest.
        floor: The eigenvalue below which a vector is as good as annihilated.
        null_dimension: How many eigenvalues are below the floor: exactly for `exact`, at least so
            many otherwise.
        num_products: How many products with F the search took.
        status: The `EigenStatus` of either end, or None for one that was not sought.
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
    """Eigenvalues as ``|J v|^2``, and the norms of ``F v - l v``."""
    values, norms = _measure(operator, vectors)
    return np.asarray(values, np.float64), np.asarray(norms, np.float64)


@compiled_with_operator
def _measure(operator: LinearMap, vectors: Float[Array, "k n"]) -> tuple[Array, Array]:
    products = operator(vectors)
    values = jnp.sum(products**2, axis=1)
    residuals = operator.transpose(products) - values[:, None] * vectors
    return values, jnp.linalg.norm(residuals, axis=1)


def bidiagonal_floor(largest: float, dtype: jnp.dtype) -> float:
    """What is left of an eigenvalue 0 when J, not F, is applied in working precision."""
    # Measured on front ends: roundings of products and bases leave up to 10 eps of it.
    return float((16 * jnp.finfo(dtype).eps) ** 2 * largest)


@checked(k=COUNT)
def exact(
    operator: LinearMap, *, k: int | None = None, which: str = "both", key: Key | None = None
) -> tuple[Eigenpairs, Float[Array, "m n"]]:
    """All eigenpairs, or the `k` at either end, from the map as a matrix.

    The matrix is formed in the precision of the map and decomposed in float64, through ``J J^T``
    where outputs are fewer than inputs.

    Args:
        operator: The map J.
        k: How many at either end; by default all of them.
        which: ``"top"``, ``"bottom"`` or ``"both"``; without `k` all are found.
        key: Draws the noise whose projection onto the null space is the last vector, and the second
            noise for the one before it. By default key 0.

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
    if n * m > 2**28 or (k is None and n > 10_000):
        raise ValueError(
            f"The Jacobian has {m} x {n} elements, too many to decompose. Use the method "
            "'block_lanczos', or a smaller image."
        )
    jacobian = operator.dense()
    matrix = np.asarray(jacobian, np.float64)
    if not np.all(np.isfinite(matrix)):
        raise ValueError("The Jacobian has elements that are infinite or not a number.")
    values, rows = _decompose(matrix)
    precision = float(jnp.finfo(operator.dtype).eps)
    # J was rounded once in working precision; F is decomposed in float64.
    floor = max(precision**2, 8 * float(np.finfo(np.float64).eps)) * float(values[0])
    rows = rows[values > floor]
    null_dimension = n - len(rows)
    wanted = n if k is None else min(k, n)
    if k is None:
        chosen = np.arange(n)
    else:
        top = np.arange(wanted) if which != "bottom" else np.arange(0)
        bottom = np.arange(n - wanted, n) if which != "top" else np.arange(0)
        chosen = np.concatenate([top, bottom])
    key = jax.random.key(0) if key is None else key
    missing = np.unique(chosen[chosen >= len(rows)])
    null = dict(zip(missing, _null_members(rows, len(missing), key=key), strict=True))
    vectors = np.stack([rows[i] if i < len(rows) else null[i] for i in chosen])
    found = np.sum((vectors @ matrix.T) ** 2, axis=1)
    # Of the vectors as they are given back: rounded to the precision of the map.
    rounded = np.asarray(jnp.asarray(vectors, operator.dtype), np.float64)
    residuals = np.linalg.norm(rounded @ matrix.T @ matrix - found[:, None] * rounded, axis=1)
    ends: dict[str, Any] = {"top": EigenStatus.converged, "bottom": EigenStatus.converged}
    if null_dimension:
        ends["bottom"] = EigenStatus.null_space
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


def _decompose(matrix: Float[np.ndarray, "m n"]) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of F in descending order, as many as the shorter side, and their vectors."""
    m, n = matrix.shape
    values, vectors = np.linalg.eigh(matrix.T @ matrix if n <= m else matrix @ matrix.T)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1].T
    if n <= m:
        return values, vectors
    lifted = vectors @ matrix
    norms = np.linalg.norm(lifted, axis=1)
    # Lifting divides by the singular value: what is small loses its orthogonality, which the
    # factorization restores without touching what is large.
    kept = norms**2 > 8 * np.finfo(float).eps * max(values[0], np.finfo(float).tiny)
    rows, mixing = np.linalg.qr((lifted[kept] / norms[kept, None]).T)
    rows = (rows * np.sign(np.diag(mixing))).T
    return values[kept] if kept.any() else values[:1], rows if kept.any() else vectors[:0] @ matrix


def _null_members(rows: Float[np.ndarray, "rank n"], count: int, *, key: Key) -> np.ndarray:
    """Projections of noise onto the complement of some rows, the one drawn first at the end."""
    n = rows.shape[1]
    draw = np.asarray(jax.random.normal(key, (count, n)), np.float64).T
    for _ in range(2):
        draw = draw - rows.T @ (rows @ draw)
    return np.linalg.qr(draw)[0].T[::-1]
