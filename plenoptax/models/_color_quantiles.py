from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int


Rows = Float[Array, "row number"]


def mean_of_sorted_parts(values: Rows, count: int) -> Float[Array, "row count"]:
    """Sort each row, divide it into equal parts, and return the mean of each part.

    These are averages of the quantile function, so they have the same meaning for any number of
    values. A value on the border of two parts belongs to both in proportion. Equal values share the
    gradient.

    XLA sorts integers four times as fast on the CPU as floats, or as pairs of a value and an index.
    So the bits are sorted, and the gradient finds the part of each value by comparisons.
    """

    @jax.custom_jvp
    def measure(values: Rows) -> Float[Array, "row count"]:
        ordered, number = _sort(values), values.shape[1]
        if number % count == 0:
            return jnp.mean(ordered.reshape(len(values), count, -1), axis=-1)
        borders = _borders(number, count)
        indices = np.floor(borders[:-1, None]).astype(int) + np.arange(-(-number // count) + 1)
        weights = jnp.asarray(_overlap(borders, indices, indices + 1), values.dtype)
        # The last index can be beyond the end, where its weight is 0.
        parts = ordered[:, np.minimum(indices, number - 1)]
        return count / number * jnp.sum(parts * weights[None], axis=-1)

    @measure.defjvp
    def differentiate(primals: tuple[Rows], tangents: tuple[Rows]) -> tuple[Array, Array]:
        (values,), (changes,) = primals, tangents
        return measure(values), _change_of_parts(values, changes, count)

    return measure(values)


def _change_of_parts(values: Rows, changes: Rows, count: int) -> Float[Array, "row count"]:
    """Return the derivative of the means of the parts along a direction.

    Values between two borders form a class, and so do those equal to a border. Classes follow each
    other in the order of the values, so their numbers of values are their ranks.
    """
    borders = _borders(values.shape[1], count)
    at_borders = _sort(values)[:, np.floor(borders[1:-1]).astype(int)]
    below = jnp.sum(values[:, None] > at_borders[..., None], axis=1, dtype=jnp.int32)
    up_to = jnp.sum(values[:, None] >= at_borders[..., None], axis=1, dtype=jnp.int32)
    numbers, sums = (
        jax.vmap(lambda row, index: jnp.zeros(2 * count - 1, row.dtype).at[index].add(row))(
            rows, below + up_to
        )
        for rows in (jnp.ones_like(below), changes)
    )
    stops = jnp.cumsum(numbers, axis=1)
    ends = (jnp.asarray(ranks, values.dtype)[:, None] for ranks in (stops - numbers, stops))
    shares = _overlap(borders[None].astype(values.dtype), *ends)
    weights = shares / jnp.asarray(jnp.maximum(numbers, 1), values.dtype)[:, None]
    return count / values.shape[1] * jnp.sum(weights * sums[:, None], axis=-1)


def _borders(number: int, count: int) -> Float[np.ndarray, " border"]:
    return np.arange(count + 1) * number / count


def _overlap(borders: Any, starts: Any, stops: Any) -> Any:
    """Return the lengths of the intersections of the parts, on the axis -2, with intervals."""
    xp = jnp if isinstance(starts, jax.Array) else np
    low, high = borders[..., :-1, None], borders[..., 1:, None]
    return xp.maximum(xp.minimum(high, stops) - xp.maximum(low, starts), 0)


def _sort(values: Rows) -> Rows:
    integer = {4: jnp.int32, 8: jnp.int64}[values.dtype.itemsize]
    bits = lax.bitcast_convert_type(values, integer)
    ordered = lax.sort(_mirror(bits), dimension=1, is_stable=False)
    return lax.bitcast_convert_type(_mirror(ordered), values.dtype)


def _mirror(bits: Int[Array, "row number"]) -> Int[Array, "row number"]:
    """Make the bits of negative floats decrease with the size of the float, and back."""
    return jnp.where(bits < 0, jnp.iinfo(bits.dtype).min - bits, bits)
