import jax.numpy as jnp
from jaxtyping import Array, Float

from .._precision import in_single_precision
from .._types import Scalar
from ._pair import as_floats


@in_single_precision("img1", "img2")
def mse(img1: Float[Array, "*shape"], img2: Float[Array, "*shape"]) -> Scalar:
    """Average the squared difference over all pixels.

    This metric is a baseline; it does not predict perceived quality.

    Args:
        img1: An image, or any other array.
        img2: Another image of the same shape and dtype.

    Raises:
        ValueError: If the shapes differ.
        TypeError: If the images are not of one floating-point dtype.

    Example:
        >>> import jax.numpy as jnp
        >>> print(mse(jnp.zeros((1, 2, 2)), jnp.full((1, 2, 2), 0.5)))
        0.25
    """
    first, second = as_floats(img1, img2)
    if first.shape != second.shape:
        raise ValueError(
            f"img1 and img2 must have the same shape, got {first.shape} and {second.shape}."
        )
    return jnp.mean((first - second) ** 2)
