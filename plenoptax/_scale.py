import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def power_of_two(size: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The largest power of two that is no larger than a size; no gradient passes.

    Dividing by it is exact, and makes squares of what is as small as the size representable: it is
    for functions that do not change with the scale of their input. 1 for sizes that are not finite,
    or smaller than the smallest normal number.
    """
    size = jax.lax.stop_gradient(size)
    is_usable = (size >= jnp.finfo(size.dtype).tiny) & jnp.isfinite(size)
    _, exponent = jnp.frexp(jnp.where(is_usable, size, 1))
    return jnp.ldexp(jnp.ones_like(size), exponent - 1)
