from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float

from .._answers import inside
from .._precision import in_single_precision
from .._rules import checked, NOT_NEGATIVE, NUMBER, Real
from .._types import Images, Scalar


@in_single_precision("img")
def penalize_range(
    img: Float[Array, "..."],
    allowed_range: Sequence[ArrayLike] = (0.0, 1.0),
    **kwargs: Any,
) -> Scalar:
    """Sum the squared distances of the pixels from a range.

    The penalty is a sum, not a mean, so its weight need not grow with the image when only a few
    pixels leave the range. It is soft: pixels may stay a little outside. For a hard constraint use
    ``plenoptax.parametrize.Pixels(bounds=...)``.

    Args:
        img: Image of any shape.
        allowed_range: Lowest and highest value without penalty, by default those of an image.
            Either may be infinite, or an array that broadcasts to the image. Set another range with
            ``functools.partial``.
        **kwargs: Ignored.

    Returns:
        The penalty, 0 inside the range. Its gradient is continuous, and 0 at both ends.

    Raises:
        ValueError: If ``allowed_range`` is not a pair with the lower bound first.
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
    is_known = not any(isinstance(bound, Tracer) for bound in allowed_range)
    if is_known and not np.all(np.asarray(allowed_range[0]) <= np.asarray(allowed_range[1])):
        raise ValueError(
            "allowed_range must be (lowest, highest) with the lower one first, got "
            f"{allowed_range[0]} and {allowed_range[1]}."
        )
    check_floating(img)
    low, high = (jnp.asarray(bound, img.dtype) for bound in allowed_range)
    excess = img - jnp.clip(img, low, high)
    return jnp.sum(excess**2)


@checked(smoothing=NOT_NEGATIVE)
@in_single_precision("image")
def penalize_total_variation(image: Images, smoothing: float = 0.0) -> Scalar:
    """Sum the size of the gradient over the pixels, which favors flat regions with sharp borders.

    The gradient consists of forward differences, 0 beyond the last row and column. Its size is
    Euclidean: the penalty of a straight edge is its length times its height.

    Args:
        image: Images; the sum includes all channels.
        smoothing: Gradient size below which the penalty is smooth, in units of pixel values.
            Smaller gradients have about their square over twice this value as penalty. With the
            default 0 the derivative jumps where the image is flat, and gradient descent with a
            fixed step size oscillates there.

    Returns:
        The sum of ``sqrt(size**2 + smoothing**2) - smoothing``.

    Raises:
        ValueError: If ``smoothing`` is negative.
        TypeError: If the image is not of floating point.

    References:
        Rudin, Osher and Fatemi (1992), Physica D 60, 259-268.

    Example:
        >>> import jax.numpy as jnp
        >>> image = jnp.zeros((1, 4, 4)).at[:, :, 2:].set(0.5)
        >>> print(penalize_total_variation(image))
        2.0
    """
    check_floating(image)
    down = jnp.diff(image, axis=-2, append=image[..., -1:, :])
    right = jnp.diff(image, axis=-1, append=image[..., -1:])
    squares = down**2 + right**2
    smoothed = squares + smoothing**2
    # Only some operations flush squares below the smallest normal number to zero.
    flat = smoothed < jnp.finfo(image.dtype).tiny
    # The difference of two roots, without cancellation.
    size = squares / (jnp.sqrt(jnp.where(flat, 1, smoothed)) + smoothing)
    return jnp.sum(jnp.where(flat, 0, size))


@checked(exponent=Real(at_least=1))
@in_single_precision("image")
def penalize_lp(
    image: Float[Array, "..."], exponent: float = 2.0, level: ArrayLike = 0.5
) -> Scalar:
    """Sum the distances of the pixels from a level, raised to a power.

    A power of 1 leaves most pixels at the level and a few far from it. High powers, such as the 6
    of Mahendran and Vedaldi, hardly affect moderate contrasts and reduce the extremes.

    Args:
        image: Image of any shape.
        exponent: The power, at least 1.
        level: The pixel value without penalty, by default mid-gray; a number or an array that
            broadcasts to the image.

    Returns:
        The sum of ``abs(image - level)**exponent``. This is the power of the norm: the gradient of
        the norm itself would depend on all pixels.

    Raises:
        ValueError: If the exponent is below 1, because the gradient at the level would be infinite.
        TypeError: If the image is not of floating point.

    References:
        Mahendran and Vedaldi (2016), International Journal of Computer Vision 120, 233-255.

    Example:
        >>> import jax.numpy as jnp
        >>> image = jnp.array([[[0.0, 0.25, 0.5, 1.0]]])
        >>> print(penalize_lp(image), penalize_lp(image, 1.0, level=0.0))
        0.5625 1.75
    """
    check_floating(image)
    difference = image - jnp.asarray(level, image.dtype)
    # At 0, the derivative of the absolute value is 1, and the second derivative of a power below 2
    # is infinite.
    zero = difference == 0
    powers = jnp.abs(jnp.where(zero, 1, difference)) ** exponent
    return jnp.sum(jnp.where(zero, 0, powers))


@in_single_precision("image")
def penalize_nonbinary(
    image: Float[Array, "..."], values: Sequence[ArrayLike] = (0.0, 1.0)
) -> Scalar:
    """Penalize pixels that differ from both of two values.

    Args:
        image: Image of any shape.
        values: The two values without penalty, by default black and white.

    Returns:
        The sum over the pixels of a squared parabola that is 0 at the two values and 1 midway
        between them. Its gradient is 0 at the two values, and also midway: start elsewhere.

    Raises:
        ValueError: If ``values`` is not a pair of different finite numbers.
        TypeError: If the image is not of floating point.

    Example:
        >>> import jax.numpy as jnp
        >>> print(penalize_nonbinary(jnp.array([[[0.0, 0.25, 0.5, 1.0]]])))
        1.5625
    """
    if len(values) != 2:
        raise ValueError(f"values must be a pair, got {values!r}.")
    rule = NUMBER
    is_known = not any(isinstance(rule("values", value), Tracer) for value in values)
    if is_known and np.any(np.asarray(values[0]) == np.asarray(values[1])):
        raise ValueError(f"values must be two different numbers, got {values!r}.")
    check_floating(image)
    low, high = (jnp.asarray(value, image.dtype) for value in values)
    half = (high - low) / 2
    return jnp.sum(((image - low) * (high - image) / half**2) ** 2)


def check_floating(image: Array) -> None:
    """Reject an image that is not of floating point."""
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise TypeError(f"The image must be of floating point, in [0, 1], got {image.dtype}.")


def allowed_range_of(penalty_function: Any, penalty_lambda: Any) -> tuple[float, float] | None:
    """Return the range of pixel values that a penalty allows.

    `penalize_range` has a range, also inside ``functools.partial`` or a compiled function. In a sum
    or soft maximum of penalties the narrowest range counts. Your own penalty has a range if it has
    an attribute ``allowed_range``.

    Args:
        penalty_function: The penalty of a problem.
        penalty_lambda: The weight of the penalty, or the schedule of the weight.

    Returns:
        Lowest and highest value. If the bounds differ between pixels, the lowest and the highest of
        all. None if the weight is 0 or the range is unknown, as in a lambda function.

    Example:
        >>> import functools
        >>> penalty_function = functools.partial(penalize_range, allowed_range=(0.0, 2.0))
        >>> allowed_range_of(penalty_function, 0.1)
        (0.0, 2.0)
        >>> allowed_range_of(penalty_function, 0) is None
        True
    """
    is_unknown = callable(penalty_lambda) or isinstance(penalty_lambda, Tracer)
    if not is_unknown and not np.any(np.asarray(penalty_lambda)):
        return None
    penalty = penalty_function
    while penalty is not None:
        keywords = getattr(penalty, "keywords", {})
        if "allowed_range" in keywords:
            return _outermost(keywords["allowed_range"])
        if penalty is penalize_range:
            return 0.0, 1.0
        if hasattr(penalty, "allowed_range"):
            return _outermost(penalty.allowed_range)
        if hasattr(penalty, "terms") and hasattr(penalty, "weights"):
            return _narrowest(penalty.terms, penalty.weights)
        penalty = inside(penalty)
    return None


def _narrowest(terms: Any, weights: Any) -> tuple[float, float] | None:
    weights = weights if isinstance(weights, Tracer) else np.asarray(weights)
    found = [allowed_range_of(*pair) for pair in zip(terms, weights, strict=True)]
    ranges = [one for one in found if one is not None]
    if not ranges:
        return None
    low, high = max(low for low, _ in ranges), min(high for _, high in ranges)
    return (low, high) if low < high else None


def _outermost(allowed_range: Any) -> tuple[float, float] | None:
    if allowed_range is None or any(isinstance(x, Tracer) for x in jax.tree.leaves(allowed_range)):
        return None
    low, high = allowed_range
    return float(np.min(low)), float(np.max(high))
