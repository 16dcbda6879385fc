import warnings

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from .._axes import advise_on_axes, warn_of_axes
from .._rules import say_how_to_fit
from .._types import Scalar


def as_floats(img1: ArrayLike, img2: ArrayLike) -> tuple[Array, Array]:
    """Convert two images to arrays, and reject them unless they have one floating-point dtype."""
    first, second = jnp.asarray(img1), jnp.asarray(img2)
    for name, image in (("img1", first), ("img2", second)):
        if not jnp.issubdtype(image.dtype, jnp.floating):
            raise TypeError(
                f"{name} must be of floating point, got {image.dtype}. Divide integers by their "
                "maximum, as plenoptax.load_images does."
            )
    if first.dtype != second.dtype:
        raise TypeError(
            f"img1 and img2 must have the same dtype, got {first.dtype} and {second.dtype}. "
            "Convert one with .astype."
        )
    return first, second


def as_pair(
    img1: ArrayLike, img2: ArrayLike, data_range: int | float | Scalar = 1.0, *, stacklevel: int
) -> tuple[Float[Array, "channel height width"], Float[Array, "channel height width"]]:
    """Check two images, and broadcast their channels against each other.

    Raises:
        TypeError: If the images do not have one floating-point dtype.
        ValueError: If they do not have the shape (channel, height, width), or differ in height or
            width, or differ in the number of channels and neither has one channel; or if the range
            is not positive.

    Warns:
        UserWarning: If the last axis looks like channels; or if a value lies outside [0,
            data_range]. Under a transformation of JAX the values are unknown and not checked.
    """
    first, second = as_floats(img1, img2)
    if first.ndim != 3 or second.ndim != 3:
        raise ValueError(
            f"Images must have the shape (channel, height, width), got {first.shape} and "
            f"{second.shape}.{advise_on_axes(first.shape) or ' Map over a batch with jax.vmap.'}"
        )
    warn_of_axes(first.shape)
    channels = {first.shape[0], second.shape[0]}
    if first.shape[1:] != second.shape[1:] or len(channels - {1}) > 1:
        raise ValueError(
            "img1 and img2 must have the same height and width, and the same number of channels or "
            f"one channel, got {first.shape} and {second.shape}."
        )
    smallest = float(jnp.finfo(first.dtype).tiny)
    if not isinstance(data_range, Tracer) and not data_range >= smallest:
        raise ValueError(
            f"data_range, the largest value of a pixel, must be above 0, got {data_range}."
        )
    if not any(isinstance(x, Tracer) for x in (first, second, data_range)):
        lowest = min(float(first.min()), float(second.min()))
        highest = max(float(first.max()), float(second.max()))
        if lowest < 0 or highest > data_range:
            warnings.warn(
                f"The images must lie in [0, {float(data_range):g}], got values from {lowest:g} "
                f"to {highest:g}, so the metric may be meaningless. If an image leaves the range, "
                f"{say_how_to_fit((lowest, highest), (0.0, float(data_range)))}.",
                stacklevel=stacklevel,
            )
    shape = jnp.broadcast_shapes(first.shape, second.shape)
    return jnp.broadcast_to(first, shape), jnp.broadcast_to(second, shape)


# Red, green and blue to YIQ, with the digits that programs of image quality use.
_LUMINANCE = (0.299, 0.587, 0.114)
_CHROMA = ((0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


def as_luminance_pair(
    img1: ArrayLike,
    img2: ArrayLike,
    data_range: int | float | Scalar = 1.0,
    with_chroma: bool = False,
    *,
    stacklevel: int,
) -> tuple[Float[Array, "channel height width"], Float[Array, "channel height width"]]:
    """Check two images, and return their luminance, from 0 to 1.

    Args:
        img1: An image of one channel, which is luminance, or of three.
        img2: Another image that fits it.
        data_range: The largest value that a pixel can have.
        with_chroma: Whether images of three channels keep their chroma, I and Q, as channels 1 and
            2.
        stacklevel: That of warnings.

    Raises:
        TypeError: If the images do not have one floating-point dtype.
        ValueError: If the shapes do not fit, or the images have another number of channels.
    """
    pair = as_pair(img1, img2, data_range, stacklevel=stacklevel + 1)
    check_colors(pair[0].shape[0])
    weights = np.array([_LUMINANCE, *_CHROMA] if with_chroma else [_LUMINANCE])
    dtype = pair[0].dtype
    first, second = (image / jnp.asarray(data_range, dtype) for image in pair)
    if len(first) == 1:
        return first, second
    matrix = jnp.asarray(weights, dtype)
    return jnp.tensordot(matrix, first, 1), jnp.tensordot(matrix, second, 1)


def check_colors(num_channels: int) -> None:
    """Refuse images that have neither one channel nor three."""
    if num_channels not in (1, 3):
        raise ValueError(
            "Images must have one channel or three (red, green and blue), got "
            f"{num_channels} channels. Compare channels one by one, or choose three."
        )


def keep_within(value: Float[Array, "..."], low: float, high: float) -> Float[Array, "..."]:
    """Clip rounding errors beyond the bounds, without changing the derivatives."""
    return value + lax.stop_gradient(jnp.clip(value, low, high) - value)
