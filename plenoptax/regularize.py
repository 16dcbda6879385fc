"""Penalties on an image, to be added to the loss of a synthesis."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ._types import Scalar


def penalize_range(
    img: Float[Array, "..."],
    allowed_range: Sequence[ArrayLike] = (0.0, 1.0),
    **kwargs: Any,
) -> Scalar:
    """Sum the squares of how far the pixels lie outside a range.

    The penalty is a sum and not a mean, so its weight against a loss need not grow with the image
    when only a few pixels leave the range. It is soft: pixels may stay a little outside. A hard
    constraint is ``plenoptax.parametrize.Pixels(bounds=...)``.

    Args:
        img: Image of any shape.
        allowed_range: Lowest and highest value that cost nothing, by default those of an image.
            Either may be infinite, or an array that broadcasts to the image. Another range is
            fixed with ``functools.partial``.
        **kwargs: Ignored.

    Returns:
        The penalty, 0 inside the range. Its gradient is continuous, and 0 at both ends.

    Raises:
        ValueError: If ``allowed_range`` is not a pair.
        TypeError: If the image is not of floating point.

    Example:
        >>> import functools
        >>> import jax.numpy as jnp
        >>> image = jnp.array([[[-1.0, 0.5, 1.0, 3.0]]])
        >>> print(penalize_range(image))
        5.0
        >>> penalty_function = functools.partial(penalize_range, allowed_range=(-2.0, 2.0))
        >>> print(penalty_function(image))
        1.0
    """
    if len(allowed_range) != 2:
        raise ValueError(f"allowed_range must be (lowest, highest), got {allowed_range!r}.")
    if not jnp.issubdtype(img.dtype, jnp.floating):
        raise TypeError(f"The image must be of floating point, in [0, 1], got {img.dtype}.")
    low, high = (jnp.asarray(bound, img.dtype) for bound in allowed_range)
    excess = img - jnp.clip(img, low, high)
    return jnp.sum(excess**2)
