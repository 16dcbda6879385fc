import operator

import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact


def rescale(
    x: Float[Array, "*shape"], a: int | float = 0, b: int | float = 1
) -> Float[Array, "*shape"]:
    """Map the values of an array linearly, its minimum to ``a`` and its maximum to ``b``.

    Minimum and maximum are those of the whole array, not of each image. A constant array becomes
    ``a``, with a finite gradient.

    Args:
        x: Any array.
        a: New minimum.
        b: New maximum.

    Example:
        >>> import jax.numpy as jnp
        >>> from plenoptax.process import rescale
        >>> rescale(jnp.asarray([2.0, 4.0, 6.0]), a=-1, b=1)
        Array([-1.,  0.,  1.], dtype=float32)
    """
    shifted = x - x.min()
    extent = shifted.max()
    return a + (b - a) * (shifted / jnp.where(extent > 0, extent, 1))


def center_crop(
    x: Inexact[Array, "*batch height width"], output_size: int
) -> Inexact[Array, "*batch size size"]:
    """Cut out the central square.

    The pixel ``(height // 2, width // 2)`` becomes the pixel ``(size // 2, size // 2)``: the zero
    lag of an autocorrelation stays in the center.

    Args:
        x: Images.
        output_size: Height and width of the square, in pixels.

    Raises:
        TypeError: ``output_size`` is not an integer.
        ValueError: ``output_size`` is not positive, or larger than the images.

    Example:
        >>> import jax.numpy as jnp
        >>> from plenoptax.process import center_crop
        >>> center_crop(jnp.arange(15.0).reshape(3, 5), 3)[1]
        Array([6., 7., 8.], dtype=float32)
    """
    try:
        size = operator.index(output_size)
    except TypeError as error:
        raise TypeError(f"output_size must be an integer, got {output_size!r}.") from error
    height, width = x.shape[-2:]
    if not 0 < size <= min(height, width):
        raise ValueError(
            f"output_size must be from 1 to {min(height, width)} for images of "
            f"{(height, width)}, got {size}."
        )
    top, left = height // 2 - size // 2, width // 2 - size // 2
    return x[..., top : top + size, left : left + size]
