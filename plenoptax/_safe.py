"""Square roots and divisions that are finite at zero, including their gradients."""

from typing import TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


Numbers = TypeVar("Numbers", Float[Array, "..."], Float[np.ndarray, "..."])


def safe_sqrt(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Compute the square root, with gradient 0 at 0, where it would be infinite."""
    # A test for equality with zero, unlike a test for positive values, preserves NaN.
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


def safe_divisor(x: Numbers) -> Numbers:
    """Replace 0 by 1, for division; computed on the host for a NumPy array."""
    return x.__array_namespace__().where(x == 0, 1, x)
