import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._safe import safe_divisor
from .._types import Key


PRECISION = jax.lax.Precision.HIGHEST


def project(
    rows: Float[Array, "c n"], block: Float[Array, "b n"]
) -> tuple[Float[Array, "b c"], Float[Array, "b n"]]:
    """Return the coefficients of a block in orthonormal rows, and its projection on their span."""
    coefficients = jnp.matmul(block, rows.T, precision=PRECISION)
    return coefficients, jnp.matmul(coefficients, rows, precision=PRECISION)


def orthonormal_rows(
    block: Float[Array, "b n"], negligible: Float[Array, ""] | float = 0.0
) -> tuple[Float[Array, "b n"], Float[Array, "b b"]]:
    """Return orthonormal rows and a triangular matrix whose product is the block.

    This is Gram-Schmidt, applied twice. If the new part of a row is not larger than `negligible` or
    than rounding, the row becomes zero. (LAPACK's QR of a few long columns took 300 ms where this
    takes 10: 12 vectors of 65536, 2 CPU cores.)
    """
    negligible = jnp.asarray(negligible, block.dtype)

    def add(rows: Array, item: tuple[Array, Array]) -> tuple[Array, Array]:
        index, row = item
        row = row[None]
        first, known = project(rows, row)
        second, again = project(rows, row - known)
        rest = (row - known - again)[0]
        norm = jnp.linalg.norm(rest)
        rounding = 8 * jnp.finfo(block.dtype).eps * jnp.linalg.norm(row)
        is_new = norm > jnp.maximum(negligible, rounding)
        unit = jnp.where(is_new, rest / jnp.where(is_new, norm, 1), 0)
        # The remainder of a dependent row comes from rounding; it is new, but not yet orthogonal.
        unit = unit - project(rows, unit[None])[1][0]
        unit = unit / safe_divisor(jnp.linalg.norm(unit))
        coefficients = (first + second)[0].at[index].set(jnp.where(is_new, norm, 0))
        return rows.at[index].set(unit), coefficients

    items = (jnp.arange(len(block)), block)
    return jax.lax.scan(add, jnp.zeros_like(block), items)


@jax.jit
def fill_with_noise(rows: Float[Array, "b n"], key: Key) -> Float[Array, "b n"]:
    """Replace the zero rows among orthonormal rows by random rows, and orthonormalize."""
    drawn = jax.random.normal(key, rows.shape, rows.dtype)
    for _ in range(2):
        drawn = drawn - project(rows, drawn)[1]
    is_zero = jnp.all(rows == 0, axis=1, keepdims=True)
    return orthonormal_rows(jnp.where(is_zero, drawn, rows))[0]
