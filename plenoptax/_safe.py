"""Square roots and divisions that stay finite at zero, as do their gradients."""

from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


Numbers = TypeVar("Numbers", Float[Array, "..."], Float[np.ndarray, "..."])


def safe_sqrt(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The square root, with a gradient of zero at zero, where it would be infinite."""
    # A test for equality with zero, and not for being positive, lets NaN through.
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


def safe_divisor(x: Numbers) -> Numbers:
    """The same numbers with 1 in place of 0, to divide by; on the host for a NumPy array."""
    return x.__array_namespace__().where(x == 0, 1, x)
