"""The state of block Lanczos, and the arithmetic on it."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._safe import safe_divisor
from .._types import Key
from ._operator import compiled_with_operator, LinearMap
from ._orthogonal import orthonormal_rows, PRECISION, project


class LanczosState(eqx.Module):
    """The state that the next step of ``BlockLanczos`` needs; immutable, all leaves are arrays.

    ``J basis = images coefficients`` holds. Both have orthonormal rows, except for zero rows: rows
    that are not yet in use, and images of vectors that add no new direction. The rank is -1 until
    the directions are exhausted and the pairs are exact.
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
    rank: np.ndarray
    earlier: Float[np.ndarray, " k"]
    earlier_products: np.ndarray


def decompose(state: LanczosState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    size = int(state.size)
    left, singular, right = np.linalg.svd(state.coefficients[:size, :size])
    return left, singular, right.T


def replace_fields(state: LanczosState, **changes: Any) -> LanczosState:
    names = list(changes)
    return eqx.tree_at(lambda s: [getattr(s, x) for x in names], state, list(changes.values()))


def fill(values: np.ndarray, length: int, value: float = np.inf) -> np.ndarray:
    return np.pad(values, (0, length - len(values)), constant_values=value)


def pad_rows(columns: np.ndarray, capacity: int, dtype: jnp.dtype) -> Array:
    return jnp.asarray(np.pad(columns, ((0, capacity - len(columns)), (0, 0))), dtype)


@jax.jit
def rotate(rows: Float[Array, "capacity n"], mixing: Float[Array, "capacity k"]) -> Array:
    rotated = jnp.matmul(mixing.T, rows, precision=PRECISION)
    return jnp.zeros_like(rows).at[: len(rotated)].set(rotated)


@compiled_with_operator
def pair_residuals(
    operator: LinearMap, basis: Array, images: Array, left: Array, right: Array, singular: Array
) -> tuple[Float[Array, "b n"], Float[Array, " b"]]:
    vectors = jnp.matmul(right.T, basis, precision=PRECISION)
    back = operator.transpose(jnp.matmul(left.T, images, precision=PRECISION))
    residuals = back - singular[:, None] * vectors
    return residuals, jnp.linalg.norm(residuals, axis=1)


@compiled_with_operator
def extend(
    operator: LinearMap,
    basis: Float[Array, "capacity n"],
    images: Float[Array, "capacity m"],
    block: Float[Array, "b n"],
    size: Array,
    key: Key,
    negligible: Float[Array, ""],
) -> tuple[Array, Array, Array, Array]:
    """Append new directions to the basis, and the new part of their images to the images."""
    block = block / safe_divisor(jnp.linalg.norm(block, axis=1, keepdims=True))
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
