import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def power_of_two(size: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Return the largest power of two that is not larger than a size; no gradient passes.

    Dividing by it is exact, and makes squares of values of this size representable. It is for
    functions that are invariant to the scale of their input. It is 1 for sizes that are not finite
    or smaller than the smallest normal number.
    """
    size = jax.lax.stop_gradient(size)
    is_usable = (size >= jnp.finfo(size.dtype).tiny) & jnp.isfinite(size)
    _, exponent = jnp.frexp(jnp.where(is_usable, size, 1))
    return jnp.ldexp(jnp.ones_like(size), exponent - 1)
